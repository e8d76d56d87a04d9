//! The last table of a trace, which the controller summarizes in the job's status.

use super::{
    super::{Fleet, LastTable, Node, Progress, Wanted, lock},
    Client,
};
use client::{Join, Schema};
use fleet::said;
use proto::v1::{self, stream_events_response::Item};
use std::time::Duration;
use tonic::Status;
use tonic_types::StatusExt as _;

/// Timeout of receiving a last table.
const TABLE: Duration = Duration::from_secs(60);

/// Reads the last table of an ended trace.
pub(super) async fn fetch(
    fleet: &Fleet,
    node: &Node,
    client: &Client,
    uid: &str,
    wanted: &Wanted,
) -> Result<(), String> {
    let answer = tokio::time::timeout(TABLE, last_table(client, uid, &wanted.spec.tracer)).await;
    let table = match answer.map_err(|_| "timeout while receiving a table".to_owned())? {
        // The connection failed. The table is read over the next connection.
        Err(Unread::Broken(message)) => return Err(message),
        Err(Unread::Refused(message)) => Err(message),
        Ok(table) => Ok(table),
    };
    {
        let mut state = lock(&node.state);
        let report = state.reports.entry(uid.to_owned()).or_default();
        report.progress = match table {
            Ok(table) => {
                report.table = Some(table);
                Progress::Ended
            }
            Err(message) => Progress::Failed {
                reason: "TableUnreadable".to_owned(),
                message,
            },
        };
    }
    fleet.notify(uid);
    Ok(())
}

/// Reason for a missing table.
pub(super) enum Unread {
    /// The connection ended before the table was complete.
    Broken(String),
    /// The agent has no table, or sent an invalid one.
    Refused(String),
}

impl From<Status> for Unread {
    fn from(status: Status) -> Self {
        // A refusal of the agent has a reason; an error of the connection has none.
        match status.get_details_error_info() {
            Some(_) => Self::Refused(said(&status)),
            None => Self::Broken(said(&status)),
        }
    }
}

impl From<String> for Unread {
    fn from(message: String) -> Self {
        Self::Refused(message)
    }
}

pub(super) async fn last_table(
    client: &Client,
    uid: &str,
    tracer: &str,
) -> Result<LastTable, Unread> {
    let request = v1::StreamEventsRequest {
        uid: uid.to_owned(),
        from_sequence: 0,
        ..v1::StreamEventsRequest::default()
    };
    let mut stream = client.clone().stream_events(request).await?.into_inner();
    let mut schema = None;
    let (mut join, mut last) = (Join::default(), None);
    while let Some(message) = stream.message().await? {
        match message.item {
            Some(Item::Schema(received)) => schema = Some(Schema::read(received, tracer)?),
            Some(Item::Batch(batch)) => {
                let schema = schema
                    .as_ref()
                    .ok_or_else(|| "it sends rows without a schema".to_owned())?;
                last = join.take(batch, schema)?.or(last);
            }
            Some(Item::Gap(_)) => join.clear(),
            _ => {}
        }
    }
    let schema = schema.ok_or_else(|| "it sends rows without a schema".to_owned())?;
    // A table may have no rows.
    let last = last.filter(|_| !join.is_missing());
    let rows =
        last.ok_or_else(|| "the agent forgot its last table before it was read".to_owned())?;
    Ok(LastTable { schema, rows })
}
