//! The traces that an agent reports: they are recorded in the node's state, from which the next steps and a job's status follow.

use super::{
    super::{
        Expected, Fleet, Node, OURS, Progress, lock,
        refused::{is_not_filtered, not_filtered},
    },
    STOPPED,
};
use proto::v1;

/// Traces that an agent had, and has no more: it was started anew. They are started again, and their books kept.
pub(super) fn restarted(node: &Node, first: &v1::WatchTracesResponse) {
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
pub(in super::super) fn heard(fleet: &Fleet, node: &Node, message: &v1::WatchTracesResponse) {
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
