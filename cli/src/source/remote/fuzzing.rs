//! Entry points of fuzz targets for an agent's answers.

use super::follow::Follow;
use crate::fuzzing::rendered;
use client::Schema;
use engine::Update;
use proto::v1::{StreamEventsResponse, stream_events_response::Item};
use std::{collections::VecDeque, time::Duration};

/// Reads the messages of a stream, the schema first.
pub(crate) fn stream(mut messages: impl Iterator<Item = StreamEventsResponse>) {
    let Some(Item::Schema(received)) = messages.next().and_then(|first| first.item) else {
        return;
    };
    let tracer = received.tracer.clone();
    let Ok(schema) = Schema::read(received, &tracer) else {
        return;
    };
    let second = Duration::from_secs(1);
    let mut follow = Follow::new(schema, second);
    let mut updates = VecDeque::new();
    for (at, message) in messages.enumerate() {
        if follow
            .take(message, second * at as u32, &mut updates)
            .is_err()
        {
            return;
        }
    }
    follow.cut_off(second);
    for update in updates {
        if let Update::Rows(mut batch) | Update::Table(mut batch) = update {
            let schema = follow.dataset(std::mem::take(&mut batch.dataset));
            rendered(&batch, &schema.expect("a known dataset").columns);
        }
    }
}
