//! One node's agent: connected while something is wanted of it, watched, and driven to what is wanted.

use super::{
    Expected, Fleet, LastTable, Node, OURS, Progress, Report, Retry, Wanted, lock,
    refused::{Refusal, is_anothers, is_known, is_not_filtered, not_filtered},
};
use client::{Join, Schema};
use fleet::said;
use proto::v1::{self, agent_client::AgentClient, stream_events_response::Item};
use std::{sync::Arc, time::Duration};
use tokio::sync::{AcquireError, SemaphorePermit};
use tonic::{Code, Status, Streaming, transport::Channel};
use tonic_types::StatusExt as _;

type Client = AgentClient<Channel>;

/// How long after the last trace its agent is left connected.
const IDLE: Duration = Duration::from_secs(30);
/// How long until an agent that does not answer is called again: at most ten seconds after it is back it has its traces.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// How long at most until an agent is called again of which nothing is wanted.
const RETRY_SURVEY: Duration = Duration::from_secs(60);
/// How long an agent may take to start a trace: the kernel looks at every path of its programs.
const START: Duration = Duration::from_secs(60);
/// How long it may take to do anything else.
const CALL: Duration = Duration::from_secs(10);
/// How long a last table may take.
const TABLE: Duration = Duration::from_secs(60);
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
    restarted(node, &first);
    heard(fleet, node, &first);
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
                Ok(Some(message)) => heard(fleet, node, &message),
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

/// Traces that an agent had, and has no more: it was started anew. They are started again, and their books kept.
fn restarted(node: &Node, first: &v1::WatchTracesResponse) {
    let mut state = lock(&node.state);
    state.running.clear();
    // Whose they are it may have forgotten.
    state.foreign.clear();
    for (uid, report) in &mut state.reports {
        report.refused.at_once();
        let over = matches!(report.progress, Progress::Ended | Progress::Failed { .. });
        let there = first.traces.iter().any(|trace| trace.uid == *uid);
        if !over && !there && report.version > 0 {
            let before = std::mem::take(&mut report.account);
            report.before.push(before);
            report.version = 0;
        }
        if !over && !there {
            report.targets.clear();
            report.target_failures.clear();
            report.targets_failed = 0;
            report.progress = Progress::Waiting;
        }
    }
}

/// Takes in what an agent says of its traces.
pub(super) fn heard(fleet: &Fleet, node: &Node, message: &v1::WatchTracesResponse) {
    for trace in &message.traces {
        {
            let expected = lock(&fleet.expected).get(&trace.uid).copied();
            let mut state = lock(&node.state);
            let state = &mut *state;
            match trace.state() {
                _ if !trace.uid.starts_with(OURS) => continue,
                _ if state.foreign.contains(&trace.uid) => continue,
                v1::State::Starting | v1::State::Running => {
                    state.running.insert(trace.uid.clone());
                }
                _ => {
                    state.running.remove(&trace.uid);
                }
            }
            let asked = state.wanted.get(&trace.uid);
            let refused = asked.and_then(|wanted| not_filtered(wanted, trace));
            let wanted = asked.map(|wanted| Expected {
                generation: wanted.generation,
                table: wanted.table,
            });
            let Some(wanted) = wanted.or(expected) else {
                continue;
            };
            if trace.generation != wanted.generation {
                continue;
            }
            let report = state.reports.entry(trace.uid.clone()).or_default();
            if report.version == 0 {
                // It has it, though the answer to its start may be lost.
                state.untold.remove(&trace.uid);
            }
            // What was said before its start was refused may be heard after it.
            if report.generation == trace.generation
                && matches!(report.progress, Progress::Failed { .. })
            {
                // One without its condition runs there until it is stopped.
                if !is_not_filtered(report) {
                    state.running.remove(&trace.uid);
                }
                continue;
            }
            report.generation = trace.generation;
            if let Some(refused) = refused {
                // Its counts are those of another trace.
                report.account = v1::Account::default();
                report.progress = refused;
                fleet.heard_of(&trace.uid);
                continue;
            }
            report.account = trace.account.clone().unwrap_or_default();
            report.target_failures.clone_from(&trace.target_failures);
            report.targets_failed = trace.targets_failed;
            // From 1: this is how a trace that an agent has, or had, is known.
            report.version = report.version.max(trace.targets_version).max(1);
            report.progress = match trace.state() {
                v1::State::Failed => Progress::Failed {
                    reason: trace.reason.clone(),
                    message: trace.message.clone(),
                },
                // Not by us, since it is wanted. The node's next agent is given it anew.
                v1::State::Ended if report.account.ended == STOPPED => Progress::Troubled {
                    reason: "Stopped".to_owned(),
                    message: "the trace was stopped early on its node: its agent stopped, or another client stopped it".to_owned(),
                },
                // Its table is fetched before it counts as ended.
                v1::State::Ended if wanted.table && report.table.is_none() => Progress::Running,
                v1::State::Ended => Progress::Ended,
                _ => Progress::Running,
            };
        }
        fleet.heard_of(&trace.uid);
    }
}

/// What is to be done on a node.
pub(crate) enum Step {
    Start(Wanted),
    Update(Wanted, u64),
    Fetch(Wanted),
    Stop,
}

/// What is not as it is wanted.
pub(super) fn steps(fleet: &Fleet, node: &Node) -> Vec<(String, Step)> {
    let (expected, now) = (lock(&fleet.expected), fleet.now());
    let state = lock(&node.state);
    let mut steps = Vec::new();
    for (uid, wanted) in &state.wanted {
        let report = state.reports.get(uid);
        let report = report.filter(|report| report.generation == wanted.generation);
        let step = match report {
            Some(report) if is_not_filtered(report) && state.running.contains(uid) => Step::Stop,
            Some(Report {
                progress: Progress::Failed { .. } | Progress::Ended,
                ..
            }) => continue,
            Some(report) if report.version > 0 => {
                let ended = !report.account.ended.is_empty();
                let as_wanted = report.targets == wanted.targets && !report.is_to_be_retried();
                match (ended, as_wanted) {
                    _ if report.account.ended == STOPPED => continue,
                    (true, _) if wanted.table && report.table.is_none() => {
                        Step::Fetch(wanted.clone())
                    }
                    (false, false) if !report.refused.is_to_wait() => {
                        Step::Update(wanted.clone(), report.version + 1)
                    }
                    _ => continue,
                }
            }
            // An agent that does not have it by now has nothing to see any more.
            _ if wanted.deadline <= now => continue,
            Some(report) if report.refused.is_to_wait() => continue,
            _ => Step::Start(wanted.clone()),
        };
        steps.push((uid.clone(), step));
    }
    let strays = state.running.iter();
    let strays =
        strays.filter(|uid| !state.wanted.contains_key(*uid) && !expected.contains_key(*uid));
    steps.extend(strays.map(|uid| (uid.clone(), Step::Stop)));
    steps
}

/// Starts, changes and stops what is not as it is wanted.
async fn drive(fleet: &Arc<Fleet>, node: &Arc<Node>, client: &Client) -> Result<(), String> {
    for (uid, step) in steps(fleet, node) {
        match step {
            Step::Start(wanted) => start(fleet, node, client, &uid, &wanted).await?,
            Step::Update(wanted, version) => {
                update(fleet, node, client, &uid, &wanted, version).await?
            }
            Step::Fetch(wanted) => fetch(fleet, node, client, &uid, &wanted).await?,
            Step::Stop => stop(node, client, uid).await?,
        }
    }
    Ok(())
}

async fn start(
    fleet: &Arc<Fleet>,
    node: &Arc<Node>,
    client: &Client,
    uid: &str,
    wanted: &Wanted,
) -> Result<(), String> {
    let left = wanted.deadline.duration_since(fleet.now());
    let left = left.unwrap_or_default().max(Duration::from_millis(1));
    let request = v1::StartTraceRequest {
        uid: uid.to_owned(),
        generation: wanted.generation,
        spec: Some(v1::TraceSpec {
            targets: wanted.targets.clone(),
            duration: prost_types::Duration::try_from(left).ok(),
            ..wanted.spec.clone()
        }),
    };
    let mut client = client.clone();
    let _one_of_many = fleet.at_once.acquire().await;
    lock(&node.state).tells(uid, fleet.now());
    let answer = tokio::time::timeout(START, client.start_trace(request)).await;
    let (progress, broken) = match answer {
        Ok(Ok(started)) => {
            let status = started.into_inner().status.unwrap_or_default();
            let refused = not_filtered(wanted, &status);
            (refused.unwrap_or(Progress::Running), None)
        }
        // It has it, with other targets or another duration left. How far it is with it, it may have said before it was wanted.
        Ok(Err(status)) if is_known(&status) => {
            let (_, first) = watch(&mut client).await?;
            heard(fleet, node, &first);
            return Ok(());
        }
        Ok(Err(status)) => refused(&status),
        Err(_) => (
            Progress::Waiting,
            Some("timeout while starting a trace".to_owned()),
        ),
    };
    answered(node, uid, wanted, progress);
    fleet.heard_of(uid);
    broken.map_or(Ok(()), Err)
}

/// Takes in what an agent has answered that was asked to start a trace.
pub(super) fn answered(node: &Node, uid: &str, wanted: &Wanted, progress: Progress) {
    let mut state = lock(&node.state);
    let report = state.reports.entry(uid.to_owned()).or_default();
    report.generation = wanted.generation;
    let runs = progress == Progress::Running;
    let failed = matches!(progress, Progress::Failed { .. });
    if matches!(progress, Progress::Troubled { .. }) {
        report.refused.again();
    }
    report.progress = progress;
    if runs {
        report.version = 1;
        report.retry = Retry::default();
        state.foreign.remove(uid);
        state.told(uid, &wanted.targets);
    }
    if failed {
        state.running.remove(uid);
    }
}

/// What an agent's refusal means: for this trace, and for the connection.
fn refused(status: &Status) -> (Progress, Option<String>) {
    let Some(Refusal { reason, message }) = Refusal::of(status) else {
        return (Progress::Waiting, Some(said(status)));
    };
    match status.code() {
        // A place may become free.
        Code::ResourceExhausted | Code::Unavailable => {
            (Progress::Troubled { reason, message }, None)
        }
        _ => (Progress::Failed { reason, message }, None),
    }
}

async fn update(
    fleet: &Fleet,
    node: &Node,
    client: &Client,
    uid: &str,
    wanted: &Wanted,
    version: u64,
) -> Result<(), String> {
    use v1::change::Change::{Add, Only};
    let change = |change| v1::Change {
        change: Some(change),
    };
    // Their labels come with the additions.
    let bare = wanted.targets.iter().map(|target| v1::Target {
        labels: None,
        ..target.clone()
    });
    let only = Only(v1::Targets {
        targets: bare.collect(),
    });
    let adds = wanted.targets.iter().cloned().map(Add);
    let request = v1::UpdateTargetsRequest {
        uid: uid.to_owned(),
        generation: wanted.generation,
        update: Some(v1::Update {
            version,
            changes: std::iter::once(only).chain(adds).map(change).collect(),
        }),
    };
    let mut client = client.clone();
    lock(&node.state).tells(uid, fleet.now());
    let answer = client.update_targets(tokio_stream::once(request));
    let answer = tokio::time::timeout(CALL, answer).await;
    let answer = answer.map_err(|_| "timeout while changing targets".to_owned())?;
    match answer {
        // Somebody else has a trace of this name there.
        Err(status) if is_anothers(&status) => {
            let (progress, _) = refused(&status);
            answered(node, uid, wanted, progress);
            fleet.heard_of(uid);
        }
        // It has ended meanwhile, and its agent has forgotten it.
        Err(status) if status.code() != Code::NotFound => {
            let refusal = Refusal::of(&status).ok_or_else(|| said(&status))?;
            not_updated(node, uid, wanted, refusal);
            fleet.heard_of(uid);
        }
        _ => updated(node, uid, wanted, version),
    }
    Ok(())
}

/// Takes in that an agent refuses to change the targets of a trace, which goes on with those that it has.
fn not_updated(node: &Node, uid: &str, wanted: &Wanted, refusal: Refusal) {
    tracing::warn!(node = %node.name, trace = %uid, reason = %refusal.reason, message = %refusal.message, "the agent refused a target update");
    if let Some(report) = lock(&node.state).reports.get_mut(uid) {
        let Report {
            refused, targets, ..
        } = report;
        refused.change(refusal, &wanted.targets, targets);
    }
}

/// Takes in that an agent has the targets that it was sent.
pub(super) fn updated(node: &Node, uid: &str, wanted: &Wanted, version: u64) {
    let mut state = lock(&node.state);
    if let Some(report) = state.reports.get_mut(uid) {
        match report.targets == wanted.targets {
            true => report.retry.again(),
            false => report.retry = Retry::default(),
        }
        report.version = version;
    }
    state.told(uid, &wanted.targets);
}

/// The last table of a trace that has ended.
async fn fetch(
    fleet: &Fleet,
    node: &Node,
    client: &Client,
    uid: &str,
    wanted: &Wanted,
) -> Result<(), String> {
    let asked = tokio::time::timeout(TABLE, last_table(client, uid, &wanted.spec.tracer)).await;
    let table = match asked.map_err(|_| "timeout while receiving a table".to_owned())? {
        // The connection's fault, and not the table's: it is fetched by the next one.
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
    fleet.heard_of(uid);
    Ok(())
}

/// Why there is no table.
enum Unread {
    /// The connection ended before it was whole.
    Broken(String),
    /// The agent has none, or one that cannot be read.
    Refused(String),
}

impl From<Status> for Unread {
    fn from(status: Status) -> Self {
        // An agent's refusal has a reason; what has none is a connection's.
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

async fn last_table(client: &Client, uid: &str, tracer: &str) -> Result<LastTable, Unread> {
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
            Some(Item::Schema(told)) => schema = Some(Schema::read(told, tracer)?),
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
    // A table without rows is one too.
    let last = last.filter(|_| !join.is_missing());
    let rows =
        last.ok_or_else(|| "the agent forgot its last table before it was read".to_owned())?;
    Ok(LastTable { schema, rows })
}

/// Ends a trace of ours that nobody wants any more.
async fn stop(node: &Node, client: &Client, uid: String) -> Result<(), String> {
    let mut client = client.clone();
    let asked = client.stop_trace(v1::StopTraceRequest { uid: uid.clone() });
    let asked = tokio::time::timeout(CALL, asked).await;
    let answer = asked.map_err(|_| "timeout while stopping a trace".to_owned())?;
    let mut foreign = false;
    if let Err(status) = answer {
        let Refusal { reason, message } = Refusal::of(&status).ok_or_else(|| said(&status))?;
        tracing::warn!(node = %node.name, trace = %uid, %reason, %message, "the agent refused to stop a trace with a uid of this controller");
        // It is left alone for as long as this connection is there.
        foreign = true;
    }
    let mut state = lock(&node.state);
    state.running.remove(&uid);
    if foreign {
        state.foreign.insert(uid);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
