//! The traces that an agent reports: they are recorded in the node's state, from which the next steps and a job's status follow.

use super::{
    super::{
        Expected, Fleet, Node, OURS, Progress, lock,
        refused::{is_not_filtered, not_filtered},
    },
    STOPPED,
};
use proto::v1;

/// Prepares traces that the agent lost in a restart for a new start, and keeps their accounts.
pub(super) fn restarted(node: &Node, first: &v1::WatchTracesResponse) {
    let mut state = lock(&node.state);
    state.running.clear();
    // The agent may have forgotten the owners.
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

/// Records the statuses that an agent reports.
pub(in super::super) fn record_statuses(
    fleet: &Fleet,
    node: &Node,
    message: &v1::WatchTracesResponse,
) {
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
            let current = state.wanted.get(&trace.uid);
            let refused = current.and_then(|wanted| not_filtered(wanted, trace));
            let wanted = current.map(|wanted| Expected {
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
                // The agent has the trace, although the response to its start may be lost.
                state.unsent.remove(&trace.uid);
            }
            // A status from before the refusal of a start may arrive after the refusal.
            if report.generation == trace.generation
                && matches!(report.progress, Progress::Failed { .. })
            {
                // A trace that runs without its condition is stopped.
                if !is_not_filtered(report) {
                    state.running.remove(&trace.uid);
                }
                continue;
            }
            report.generation = trace.generation;
            if let Some(refused) = refused {
                // The counts belong to a trace without the condition.
                report.account = v1::Account::default();
                report.progress = refused;
                fleet.notify(&trace.uid);
                continue;
            }
            report.account = trace.account.clone().unwrap_or_default();
            report.target_failures.clone_from(&trace.target_failures);
            report.targets_failed = trace.targets_failed;
            // At least 1, which marks a trace that the agent has or had.
            report.version = report.version.max(trace.targets_version).max(1);
            report.progress = match trace.state() {
                v1::State::Failed => Progress::Failed {
                    reason: trace.reason.clone(),
                    message: trace.message.clone(),
                },
                // Stopped by the agent or another client, since it is still wanted. The node's next agent receives it again.
                v1::State::Ended if report.account.ended == STOPPED => Progress::Unavailable {
                    reason: "Stopped".to_owned(),
                    message: "the trace was stopped early on its node: its agent stopped, or another client stopped it".to_owned(),
                },
                // The trace counts as ended after its table has been read.
                v1::State::Ended if wanted.table && report.table.is_none() => Progress::Running,
                v1::State::Ended => Progress::Ended,
                _ => Progress::Running,
            };
        }
        fleet.notify(&trace.uid);
    }
}
