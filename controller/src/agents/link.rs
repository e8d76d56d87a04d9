//! One node's agent: connected while something is wanted of it, watched, and driven to what is wanted.

mod drive;
mod observe;
mod table;

#[cfg(test)]
pub(crate) use drive::Step;
#[cfg(test)]
pub(super) use drive::{answered, steps, updated};
#[cfg(test)]
pub(super) use observe::heard;

use super::{Fleet, Node, Progress, lock};
use drive::drive;
use fleet::said;
use proto::v1::{self, agent_client::AgentClient};
use std::{sync::Arc, time::Duration};
use tokio::sync::{AcquireError, SemaphorePermit};
use tonic::{Streaming, transport::Channel};

type Client = AgentClient<Channel>;

/// How long after the last trace its agent is left connected.
const IDLE: Duration = Duration::from_secs(30);
/// How long until an agent that does not answer is called again: at most ten seconds after it is back it has its traces.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// How long at most until an agent is called again of which nothing is wanted.
const RETRY_SURVEY: Duration = Duration::from_secs(60);
/// How long it may take to do anything else.
const CALL: Duration = Duration::from_secs(10);
/// The agent's word for a trace that somebody ended before its time: the agent itself, where it ends; `wire::ended` of `agent`.
const STOPPED: &str = "stopped";
/// A reason that is no agent's: there is no connection.
const UNREACHABLE: &str = "AgentUnreachable";

/// Tends a node for as long as something is wanted of it, or its agent may run what nobody wants, and a little longer.
pub(super) async fn tend(fleet: Arc<Fleet>, node: Arc<Node>) {
    let mut wait = RETRY.0;
    loop {
        {
            let mut state = lock(&node.state);
            let asked = !state.suspect || state.address.is_none();
            if state.wanted.is_empty() && asked {
                // Under the same lock by which the next one who wants something looks.
                state.tended = false;
                return;
            }
        }
        match attend(&fleet, &node).await {
            Ok(()) => wait = RETRY.0,
            Err(message) => {
                tracing::debug!(node = %node.name, %message, "agent");
                troubled(&fleet, &node, &message);
                let most = match lock(&node.state).wanted.is_empty() {
                    true => RETRY_SURVEY,
                    false => RETRY.1,
                };
                // Another address, or another wish, is a reason to try at once.
                let _ = tokio::time::timeout(wait.min(most), node.wake.notified()).await;
                wait = (wait * 2).min(most);
            }
        }
    }
}

/// Tells of all traces of a node that they are not known to be well.
fn troubled(fleet: &Fleet, node: &Node, message: &str) {
    let mut told = Vec::new();
    {
        let mut state = lock(&node.state);
        let state = &mut *state;
        for (uid, wanted) in &state.wanted {
            let report = state.reports.entry(uid.clone()).or_default();
            report.generation = wanted.generation;
            if matches!(report.progress, Progress::Ended | Progress::Failed { .. }) {
                continue;
            }
            let progress = Progress::Troubled {
                reason: UNREACHABLE.to_owned(),
                message: message.to_owned(),
            };
            if report.progress != progress {
                report.progress = progress;
                told.push(uid.clone());
            }
        }
    }
    told.iter().for_each(|uid| fleet.heard_of(uid));
}

/// One connection, from its beginning to its end; an error where it did not end because nothing was wanted any more.
async fn attend(fleet: &Arc<Fleet>, node: &Arc<Node>) -> Result<(), String> {
    let (client, address, (mut watch, first)) = {
        let _one_of_many = place(fleet, node).await;
        let addresses = lock(&node.state).address.clone();
        let addresses = addresses.ok_or("there is no agent on this node")?;
        let connected = fleet.connector.connect(&addresses).await;
        let (mut client, address) = connected.map_err(|error: fleet::Error| error.to_string())?;
        // What it runs already, by this controller or one before it, is not started again.
        let watch = watch(&mut client).await?;
        (client, address, watch)
    };
    let mut served = false;
    let _connected = fleet.counters.connected();
    observe::restarted(node, &first);
    observe::heard(fleet, node, &first);
    loop {
        drive(fleet, node, &client).await?;
        let idle = lock(&node.state).wanted.is_empty();
        served |= !idle;
        // An agent that was only asked is let go at once.
        if !served && is_settled(node) {
            return Ok(());
        }
        let wait = if idle && served { IDLE } else { RETRY.1 };
        tokio::select! {
            message = watch.message() => match message {
                Ok(Some(message)) => observe::heard(fleet, node, &message),
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

/// Waits until an agent may be called: one of which something is wanted soon, and any other when its turn comes.
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

/// Whether nothing is wanted of a node, and its agent runs nothing of ours; it is suspect no more then.
fn is_settled(node: &Node) -> bool {
    let mut state = lock(&node.state);
    let settled = state.wanted.is_empty() && state.running.is_empty();
    if settled {
        state.suspect = false;
    }
    settled
}

/// Watches all traces of an agent, and what it says first: which it has.
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
