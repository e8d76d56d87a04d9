//! The connection to one node's agent: it exists while traces are wanted there, and keeps them as wanted.

mod drive;
mod observe;
mod table;

#[cfg(test)]
pub(crate) use drive::Step;
#[cfg(test)]
pub(super) use drive::{answered, steps, updated};
#[cfg(test)]
pub(super) use observe::record_statuses;

use super::{Fleet, Node, Progress, lock};
use drive::drive;
use fleet::said;
use proto::v1::{self, agent_client::AgentClient};
use std::{sync::Arc, time::Duration};
use tokio::sync::{AcquireError, SemaphorePermit};
use tonic::{Streaming, transport::Channel};

type Client = AgentClient<Channel>;

/// Time after the last trace for which an agent stays connected.
const IDLE: Duration = Duration::from_secs(30);
/// First and longest delay before an agent is called again. An agent that returns has its traces within ten seconds.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// Longest delay before an agent without wanted traces is called again.
const RETRY_SURVEY: Duration = Duration::from_secs(60);
/// Timeout of all other calls.
const CALL: Duration = Duration::from_secs(10);
/// The agent's reason for a trace that was ended early by the agent or a client: `wire::ended` in `agent`.
const STOPPED: &str = "stopped";
/// Reason of this controller for an agent without a connection.
const UNREACHABLE: &str = "AgentUnreachable";

/// Drives a node while traces are wanted there, or its agent may run traces of deleted jobs.
pub(super) async fn tend(fleet: Arc<Fleet>, node: Arc<Node>) {
    let mut wait = RETRY.0;
    loop {
        {
            let mut state = lock(&node.state);
            let is_queried = !state.suspect || state.address.is_none();
            if state.wanted.is_empty() && is_queried {
                // Decided under the lock that also guards new wishes, so that none is missed.
                state.tended = false;
                return;
            }
        }
        match serve_connection(&fleet, &node).await {
            Ok(()) => wait = RETRY.0,
            Err(message) => {
                tracing::debug!(node = %node.name, %message, "agent");
                report_unreachable(&fleet, &node, &message);
                let most = match lock(&node.state).wanted.is_empty() {
                    true => RETRY_SURVEY,
                    false => RETRY.1,
                };
                // A new address or a new wish cuts the delay short.
                let _ = tokio::time::timeout(wait.min(most), node.wake.notified()).await;
                wait = (wait * 2).min(most);
            }
        }
    }
}

/// Reports all traces of a node as unreachable.
fn report_unreachable(fleet: &Fleet, node: &Node, message: &str) {
    let mut changed = Vec::new();
    {
        let mut state = lock(&node.state);
        let state = &mut *state;
        for (uid, wanted) in &state.wanted {
            let report = state.reports.entry(uid.clone()).or_default();
            report.generation = wanted.generation;
            if matches!(report.progress, Progress::Ended | Progress::Failed { .. }) {
                continue;
            }
            let progress = Progress::Unavailable {
                reason: UNREACHABLE.to_owned(),
                message: message.to_owned(),
            };
            if report.progress != progress {
                report.progress = progress;
                changed.push(uid.clone());
            }
        }
    }
    changed.iter().for_each(|uid| fleet.notify(uid));
}

/// Handles one connection until nothing is wanted any more.
///
/// # Errors
/// If the connection ends earlier.
async fn serve_connection(fleet: &Arc<Fleet>, node: &Arc<Node>) -> Result<(), String> {
    let (client, address, (mut watch, first)) = {
        let _one_of_many = place(fleet, node).await;
        let addresses = lock(&node.state).address.clone();
        let addresses = addresses.ok_or("there is no agent on this node")?;
        let connected = fleet.connector.connect(&addresses).await;
        let (mut client, address) = connected.map_err(|error: fleet::Error| error.to_string())?;
        // Traces that run already, started by this controller or a previous one, are not started again.
        let watch = watch(&mut client).await?;
        (client, address, watch)
    };
    let mut served = false;
    let _connected = fleet.counters.connected();
    observe::restarted(node, &first);
    observe::record_statuses(fleet, node, &first);
    loop {
        drive(fleet, node, &client).await?;
        let idle = lock(&node.state).wanted.is_empty();
        served |= !idle;
        // An agent that was only queried is disconnected at once.
        if !served && is_settled(node) {
            return Ok(());
        }
        let wait = if idle && served { IDLE } else { RETRY.1 };
        tokio::select! {
            message = watch.message() => match message {
                Ok(Some(message)) => observe::record_statuses(fleet, node, &message),
                Ok(None) => return Err("it ended the connection".to_owned()),
                Err(status) => return Err(said(&status)),
            },
            () = node.wake.notified() => {}
            () = tokio::time::sleep(wait) => {
                if idle && is_settled(node) {
                    return Ok(());
                }
            }
        }
        let state = lock(&node.state);
        if !state
            .address
            .iter()
            .any(|addresses| addresses.contains(&address))
        {
            return Err("its agent has moved".to_owned());
        }
    }
}

/// Waits until an agent may be called. Nodes with wanted traces have their own slots.
async fn place<'a>(fleet: &'a Fleet, node: &Node) -> Result<SemaphorePermit<'a>, AcquireError> {
    loop {
        if !lock(&node.state).wanted.is_empty() {
            return fleet.at_once.acquire().await;
        }
        tokio::select! {
            place = fleet.surveyed_at_once.acquire() => return place,
            () = node.wake.notified() => {}
        }
    }
}

/// Returns whether nothing is wanted of a node and its agent runs no trace of this controller. The node is no longer suspect then.
fn is_settled(node: &Node) -> bool {
    let mut state = lock(&node.state);
    let settled = state.wanted.is_empty() && state.running.is_empty();
    if settled {
        state.suspect = false;
    }
    settled
}

/// Watches all traces of an agent. Returns the stream and its first message, which lists them.
async fn watch(
    client: &mut Client,
) -> Result<(Streaming<v1::WatchTracesResponse>, v1::WatchTracesResponse), String> {
    let all = v1::WatchTracesRequest::default();
    let watch = client.watch_traces(all).await;
    let mut watch = watch.map_err(|status| said(&status))?.into_inner();
    let first = tokio::time::timeout(CALL, watch.message()).await;
    let first = first.map_err(|_| "the agent does not list its traces".to_owned())?;
    let first = first.map_err(|status| said(&status))?.unwrap_or_default();
    Ok((watch, first))
}

#[cfg(test)]
mod tests;
