//! A time span with its unit: `option::Duration`, nanoseconds in a `u64` in the kernel.

use super::{EXACT, Facts, OptKind, OptValue, OptionForm, OptionValue, misfit, span};
use crate::{
    option::Duration,
    quantity::{nanoseconds, time_text},
};
use serde_json::{Value as Json, json};
use std::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// A time span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationKind {
    /// The shortest, in nanoseconds.
    pub min: u64,
    /// The longest, in nanoseconds.
    pub max: u64,
}

/// The units up to hours: CEL, with which the API server compares durations, has no days.
const PATTERN: &str = "^([0-9]+([.][0-9]{1,9})?(ns|us|µs|ms|s|m|h))+$";

impl OptionValue for Duration {
    const KIND: OptKind = OptKind::Duration(DurationKind { min: 0, max: EXACT });
}

impl DurationKind {
    fn of(self, value: &OptValue) -> u64 {
        match value {
            OptValue::Number(nanoseconds) => *nanoseconds,
            other => misfit(&self, other),
        }
    }

    fn bounds(self) -> Option<String> {
        match (self.min, self.max) {
            (0, EXACT) => None,
            (min, EXACT) => Some(format!("at least {}", time_text(min))),
            (min, max) => Some(span(&time_text(min), &time_text(max))),
        }
    }
}

impl OptionForm for DurationKind {
    fn word(&self) -> &'static str {
        "duration"
    }
    fn placeholder(&self) -> String {
        "TIME".to_string()
    }
    fn wanted(&self) -> String {
        let bounds = self.bounds().unwrap_or_else(|| "up to 2501h".to_string());
        format!("a time with its unit, such as 250us, 10ms or 1m30s, {bounds}")
    }
    fn typed(&self) -> Option<&'static str> {
        None
    }
    fn note(&self) -> Option<String> {
        let bounds = self.bounds().map(|bounds| format!(", {bounds}"));
        Some(format!("such as 10ms{}", bounds.unwrap_or_default()))
    }
    fn explanation(&self) -> String {
        let bounds = self.bounds().map(|bounds| format!(", {bounds}"));
        format!("A time such as 10ms{}.", bounds.unwrap_or_default())
    }
    fn nothing(&self) -> OptValue {
        OptValue::Number(0)
    }
    fn sample(&self) -> OptValue {
        OptValue::Number(self.min.max(10_000_000).min(self.max))
    }
    fn fits(&self, value: &OptValue) -> bool {
        matches!(value, OptValue::Number(time) if (self.min..=self.max).contains(time))
    }
    fn parse(&self, text: &str) -> Option<OptValue> {
        let time = nanoseconds(text).filter(|_| !text.contains('d'));
        time.map(OptValue::Number)
    }
    fn text(&self, value: &OptValue) -> String {
        time_text(self.of(value))
    }
    fn read_json(&self, json: &Json) -> Option<OptValue> {
        self.parse(json.as_str()?)
    }
    fn json(&self, value: &OptValue) -> Json {
        self.text(value).into()
    }
    fn schema(&self) -> Json {
        let (min, max) = (time_text(self.min), time_text(self.max));
        json!({
            "type": "string", "maxLength": 32, "pattern": PATTERN,
            "x-kubernetes-validations": [{
                "rule": format!("duration(self) >= duration('{min}') && duration(self) <= duration('{max}')"),
                "message": format!("must be {}", self.wanted()),
            }],
        })
    }
    fn bytes(&self) -> usize {
        8
    }
    fn write(&self, value: &OptValue, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.of(value).to_le_bytes());
    }
    fn facts(&self) -> Facts {
        Facts {
            bounds: Some((self.min, self.max)),
            ..Facts::default()
        }
    }
}
