//! The requests to an agent that start, change and stop traces until the node is as wanted.

use super::{
    super::{
        Fleet, Node, Progress, Report, Retry, Wanted, lock,
        refused::{Refusal, is_anothers, is_known, is_not_filtered, not_filtered},
    },
    CALL, Client, STOPPED,
    observe::record_statuses,
    table::fetch,
    watch,
};
use fleet::said;
use proto::v1;
use std::{sync::Arc, time::Duration};
use tonic::{Code, Status};

/// Timeout of a start: the kernel verifies every path of the trace's programs.
const START: Duration = Duration::from_secs(60);

/// A request to a node's agent.
pub(crate) enum Step {
    Start(Wanted),
    Update(Wanted, u64),
    Fetch(Wanted),
    Stop,
}

/// Returns the requests that bring a node's traces into the wanted state.
pub(in super::super) fn steps(fleet: &Fleet, node: &Node) -> Vec<(String, Step)> {
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
            // After the deadline a trace is not started any more.
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

/// Starts, changes and stops traces until they are as wanted.
pub(super) async fn drive(
    fleet: &Arc<Fleet>,
    node: &Arc<Node>,
    client: &Client,
) -> Result<(), String> {
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
    lock(&node.state).record_sending(uid, fleet.now());
    let answer = tokio::time::timeout(START, client.start_trace(request)).await;
    let (progress, broken) = match answer {
        Ok(Ok(started)) => {
            let status = started.into_inner().status.unwrap_or_default();
            let refused = not_filtered(wanted, &status);
            (refused.unwrap_or(Progress::Running), None)
        }
        // The agent has the trace, with other targets or another remaining duration. It may have reported its state before the trace was wanted.
        Ok(Err(status)) if is_known(&status) => {
            let (_, first) = watch(&mut client).await?;
            record_statuses(fleet, node, &first);
            return Ok(());
        }
        Ok(Err(status)) => refused(&status),
        Err(_) => (
            Progress::Waiting,
            Some("timeout while starting a trace".to_owned()),
        ),
    };
    answered(node, uid, wanted, progress);
    fleet.notify(uid);
    broken.map_or(Ok(()), Err)
}

/// Records an agent's response to a start.
pub(in super::super) fn answered(node: &Node, uid: &str, wanted: &Wanted, progress: Progress) {
    let mut state = lock(&node.state);
    let report = state.reports.entry(uid.to_owned()).or_default();
    report.generation = wanted.generation;
    let runs = progress == Progress::Running;
    let failed = matches!(progress, Progress::Failed { .. });
    if matches!(progress, Progress::Unavailable { .. }) {
        report.refused.back_off();
    }
    report.progress = progress;
    if runs {
        report.version = 1;
        report.retry = Retry::default();
        state.foreign.remove(uid);
        state.record_sent(uid, &wanted.targets);
    }
    if failed {
        state.running.remove(uid);
    }
}

/// Returns the meaning of an agent's refusal for the trace, and an error if it concerns the connection.
pub(super) fn refused(status: &Status) -> (Progress, Option<String>) {
    let Some(Refusal { reason, message }) = Refusal::of(status) else {
        return (Progress::Waiting, Some(said(status)));
    };
    match status.code() {
        // A slot may become free.
        Code::ResourceExhausted | Code::Unavailable => {
            (Progress::Unavailable { reason, message }, None)
        }
        _ => (Progress::Failed { reason, message }, None),
    }
}

pub(super) async fn update(
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
    // Labels are sent with the additions.
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
    lock(&node.state).record_sending(uid, fleet.now());
    let answer = client.update_targets(tokio_stream::once(request));
    let answer = tokio::time::timeout(CALL, answer).await;
    let answer = answer.map_err(|_| "timeout while changing targets".to_owned())?;
    match answer {
        // Another client has started a trace with this uid.
        Err(status) if is_anothers(&status) => {
            let (progress, _) = refused(&status);
            answered(node, uid, wanted, progress);
            fleet.notify(uid);
        }
        // `NotFound` means that the trace has ended meanwhile and was removed by its agent.
        Err(status) if status.code() != Code::NotFound => {
            let refusal = Refusal::of(&status).ok_or_else(|| said(&status))?;
            not_updated(node, uid, wanted, refusal);
            fleet.notify(uid);
        }
        _ => updated(node, uid, wanted, version),
    }
    Ok(())
}

/// Records that an agent refuses to change the targets of a trace. The trace continues with its previous targets.
fn not_updated(node: &Node, uid: &str, wanted: &Wanted, refusal: Refusal) {
    tracing::warn!(node = %node.name, trace = %uid, reason = %refusal.reason, message = %refusal.message, "the agent refused a target update");
    if let Some(report) = lock(&node.state).reports.get_mut(uid) {
        let Report {
            refused, targets, ..
        } = report;
        refused.change(refusal, &wanted.targets, targets);
    }
}

/// Records that an agent has received the targets of an update.
pub(in super::super) fn updated(node: &Node, uid: &str, wanted: &Wanted, version: u64) {
    let mut state = lock(&node.state);
    if let Some(report) = state.reports.get_mut(uid) {
        match report.targets == wanted.targets {
            true => report.retry.back_off(),
            false => report.retry = Retry::default(),
        }
        report.version = version;
    }
    state.record_sent(uid, &wanted.targets);
}

/// Stops a trace that is not wanted any more.
pub(super) async fn stop(node: &Node, client: &Client, uid: String) -> Result<(), String> {
    let mut client = client.clone();
    let answer = client.stop_trace(v1::StopTraceRequest { uid: uid.clone() });
    let answer = tokio::time::timeout(CALL, answer).await;
    let answer = answer.map_err(|_| "timeout while stopping a trace".to_owned())?;
    let mut foreign = false;
    if let Err(status) = answer {
        let Refusal { reason, message } = Refusal::of(&status).ok_or_else(|| said(&status))?;
        tracing::warn!(node = %node.name, trace = %uid, %reason, %message, "the agent refused to stop a trace with a uid of this controller");
        // Not retried while this connection exists.
        foreign = true;
    }
    let mut state = lock(&node.state);
    state.running.remove(&uid);
    if foreign {
        state.foreign.insert(uid);
    }
    Ok(())
}
