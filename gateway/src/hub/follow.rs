//! Follower of one node: the traces of the job on its agent, their rows and their accounts. A broken connection is retried.

#[cfg(test)]
mod tests;

use super::{Hub, schemas::Projections};
use crate::{
    limits::NUMBERS,
    merge::{Origin, Source},
    pool::Pool,
};
use client::{Join, Schema};
use fleet::said;
use proto::v1::{self, State as Phase, StreamEventsResponse, stream_events_response::Item};
use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tonic::{Status, Streaming};

/// Delay before the first retry, and maximum delay.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Timeout of a call.
const CALL: Duration = Duration::from_secs(10);

/// Follows a node while the future is polled.
pub(super) async fn follow(
    hub: Arc<Hub>,
    name: Arc<str>,
    pool: Arc<Pool>,
    mut agents: watch::Receiver<fleet::Agents>,
) {
    let node = hub.node(&name);
    let mut wait = RETRY.0;
    loop {
        let address = agents.borrow_and_update().get(&name).cloned();
        let began = Instant::now();
        let why = match address {
            None => "there is no agent on this node".to_owned(),
            Some(address) => match attend(&hub, node, &pool, &address).await {
                Err(why) => why,
            },
        };
        tracing::debug!(node = %name, %why, "an agent");
        hub.broken(node, &why);
        // The connection worked for a while.
        if began.elapsed() > RETRY.1 {
            wait = RETRY.0;
        }
        // A new address is connected at once.
        let _ = tokio::time::timeout(wait, agents.changed()).await;
        wait = (wait * 2).min(RETRY.1);
    }
}

/// Follows a node over one connection, until it breaks.
async fn attend(
    hub: &Arc<Hub>,
    node: u32,
    pool: &Pool,
    address: &fleet::Addresses,
) -> Result<Infallible, String> {
    let connection = pool.get(address).await?;
    let attended = follow_by(hub, node, connection.client.clone()).await;
    pool.forget(address, &connection);
    attended
}

/// An open stream of a trace.
struct Open {
    stream: Streaming<StreamEventsResponse>,
    schema: Schema,
    /// Projections from the agent's columns to the job's.
    projections: Projections,
    /// Received parts of a table.
    join: Join,
    /// Received parts of each further dataset's table.
    further: Vec<Join>,
    at: Origin,
}

async fn follow_by(
    hub: &Arc<Hub>,
    node: u32,
    mut client: proto::v1::agent_client::AgentClient<tonic::transport::Channel>,
) -> Result<Infallible, String> {
    let uid = fleet::trace_uid(&hub.uid);
    let response = client.watch_traces(v1::WatchTracesRequest { uid: uid.clone() });
    let response = tokio::time::timeout(CALL, response).await;
    let watch = response.map_err(|_| "the agent does not list its traces".to_owned())?;
    let mut watch = watch.map_err(|status| said(&status))?.into_inner();
    let mut open: Option<Open> = None;
    // Generation of the trace whose stream was opened last.
    let mut finished: Option<u64> = None;
    loop {
        tokio::select! {
            // Messages of the stream are handled before later messages about the trace.
            biased;
            message = next(&mut open) => match message {
                Ok(Some(message)) => {
                    if let Some(open) = &mut open {
                        take(hub, open, message).await?;
                    }
                }
                Ok(None) => open = None,
                Err(status) => {
                    if let Some(Open { at, .. }) = open.take() {
                        // With a reason of the agent the trace has failed, otherwise the connection.
                        let reason = reason(&status).ok_or_else(|| said(&status))?;
                        hub.failed(at, &reason, status.message());
                    }
                }
            },
            message = watch.message() => {
                let message = message.map_err(|status| said(&status))?;
                let message = message.ok_or("the agent ended the connection")?;
                let trace = message.traces.into_iter().find(|trace| trace.uid == uid);
                if let Some(trace) = trace {
                    let phase = trace.state();
                    let is_new = finished != Some(trace.generation);
                    if open.is_none() && is_new && phase != Phase::Starting {
                        open = begin(hub, node, &mut client, &uid).await?;
                        finished = Some(trace.generation);
                    }
                    if let (Some(open), Some(account)) = (&open, trace.account) {
                        hub.reported(open.at, account);
                    }
                }
                hub.answered(node);
            }
        }
    }
}

async fn next(open: &mut Option<Open>) -> Result<Option<StreamEventsResponse>, Status> {
    match open {
        Some(open) => open.stream.message().await,
        None => std::future::pending().await,
    }
}

/// Opens the stream of the agent's trace at the next unread message; `None` if all of it has been read.
async fn begin(
    hub: &Hub,
    node: u32,
    client: &mut proto::v1::agent_client::AgentClient<tonic::transport::Channel>,
    uid: &str,
) -> Result<Option<Open>, String> {
    let newest = hub.newest(node);
    let (instance, from_sequence) = newest.map_or((0, 1), |(instance, next, _)| (instance, next));
    let request = v1::StreamEventsRequest {
        uid: uid.to_owned(),
        from_sequence,
        instance,
    };
    let stream = client.stream_events(request).await;
    let mut stream = stream.map_err(|status| said(&status))?.into_inner();
    let first = tokio::time::timeout(CALL, stream.message()).await;
    let first = first.map_err(|_| "the agent does not send a schema".to_owned())?;
    let first = first.map_err(|status| said(&status))?;
    let Some(Item::Schema(received)) = first.and_then(|first| first.item) else {
        return Err("the agent sends rows without a schema".to_owned());
    };
    let instance = received.instance;
    let (schema, projections) = hub.adopt(node, received).await?;
    if newest.is_some_and(|(known, _, over)| over && known == instance) {
        return Ok(None);
    }
    let at = hub.began(node, instance);
    Ok(Some(Open {
        stream,
        projections,
        join: Join::default(),
        further: schema.further.iter().map(|_| Join::default()).collect(),
        schema,
        at,
    }))
}

async fn take(hub: &Hub, open: &mut Open, message: StreamEventsResponse) -> Result<(), String> {
    let StreamEventsResponse {
        sequence,
        rows_before,
        item,
        ..
    } = message;
    check_numbers(sequence, rows_before)?;
    match item {
        Some(Item::Batch(received)) => {
            // After a break in the middle of a table, the whole table is requested again.
            let Some(batch) = open.join.take(received, &open.schema)? else {
                return Ok(());
            };
            let batch = Arc::new(open.projections.first.apply(batch));
            hub.check(0, &batch)?;
            if hub.table {
                hub.message_arrived(open.at, sequence);
                hub.table(open.at, 0, batch);
                return Ok(());
            }
            let source = Source {
                origin: open.at,
                before: rows_before,
                rows: batch.rows() as u32,
            };
            let arrived = Instant::now();
            // If the queue is full, this stream waits, and the agent keeps its rows.
            if hub.unmerged.send((source, batch, arrived)).await.is_ok() {
                hub.batch_arrived(open.at, sequence, rows_before, source.rows);
            }
        }
        Some(Item::Lost(lost)) => {
            hub.message_arrived(open.at, sequence);
            hub.lost(open.at, lost);
        }
        Some(Item::Account(mut account)) => {
            // The agent dropped the last table before all of it was read.
            account.complete &= !(hub.table && open.join.is_missing());
            let is_missing = |(schema, join): (&Schema, &Join)| schema.table && join.is_missing();
            let mut further = open.schema.further.iter().zip(&open.further);
            account.complete &= !further.any(is_missing);
            hub.message_arrived(open.at, sequence);
            hub.ended(open.at, account);
        }
        // The number of missing events follows from the next batch.
        Some(Item::Gap(_)) => {
            open.join.clear();
            open.further.iter_mut().for_each(Join::clear);
        }
        Some(Item::Further(received)) => further(hub, open, sequence, received)?,
        Some(Item::Schema(_) | Item::Nodes(_)) | None => {}
    }
    Ok(())
}

/// Handles a batch of a further dataset: the newest table is kept.
fn further(hub: &Hub, open: &mut Open, sequence: u64, received: v1::Further) -> Result<(), String> {
    let at = usize::try_from(received.dataset).unwrap_or(usize::MAX);
    let place = open.schema.further.get(at).zip(open.further.get_mut(at));
    let (schema, join) =
        place.ok_or_else(|| "rows of a dataset that is not in the schema".to_owned())?;
    // After a break in the middle of a table, the whole table is requested again.
    let Some(batch) = join.take(received.batch.unwrap_or_default(), schema)? else {
        return Ok(());
    };
    hub.message_arrived(open.at, sequence);
    if let Some(Some((to, projection))) = open.projections.further.get(at) {
        let batch = Arc::new(projection.apply(batch));
        hub.check(1 + to, &batch)?;
        hub.table(open.at, 1 + to, batch);
    }
    Ok(())
}

/// Checks that a number of an agent is small enough for sums.
fn check_numbers(sequence: u64, rows_before: u64) -> Result<(), String> {
    match sequence.max(rows_before) < NUMBERS {
        true => Ok(()),
        false => Err("the agent reports more rows than the limit".to_owned()),
    }
}

/// Returns the agent's reason word of a failed call; `None` if the agent has not sent the error.
fn reason(status: &Status) -> Option<String> {
    use tonic_types::StatusExt as _;
    Some(status.get_details_error_info()?.reason)
}
