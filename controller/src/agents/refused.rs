//! Refusals of an agent that concern one trace on one node. The request is repeated later.

use super::{Progress, Report, Retry, Wanted};
use proto::v1;
use std::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The agent's reason for a generation that it has already: `Reason` in `agent`.
const OTHER_SPEC: &str = "OtherSpec";
/// The agent's reason for a caller without permission; with `trace` in its metadata, the trace belongs to another caller.
const NOT_ALLOWED: &str = "NotAllowed";
/// Reason of this controller for an agent whose version ignores a job's condition.
const NOT_FILTERED: &str = "NotFiltered";
/// Maximum length of the list of missed targets, as long as an agent's own list.
const MISSED: usize = 32;

/// An agent's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) message: String,
}

impl Refusal {
    /// Returns the refusal in an agent's response; `None` for an error of the connection.
    pub(super) fn of(status: &Status) -> Option<Self> {
        let reason = match status.get_details_error_info() {
            Some(info) => info.reason,
            // A request that is too large is rejected before the agent can add a reason.
            None if status.code() == Code::OutOfRange => "InvalidRequest".to_owned(),
            None => return None,
        };
        let message = status.message().to_owned();
        Some(Self { reason, message })
    }
}

/// Returns whether an agent refuses to start a trace because it has the same generation already.
pub(super) fn is_known(status: &Status) -> bool {
    status.code() == Code::FailedPrecondition
        && status
            .get_details_error_info()
            .is_some_and(|info| info.reason == OTHER_SPEC)
}

/// Returns whether an agent refuses to change or stop a trace because another caller has started it.
pub(super) fn is_anothers(status: &Status) -> bool {
    status
        .get_details_error_info()
        .is_some_and(|info| info.reason == NOT_ALLOWED && info.metadata.contains_key("trace"))
}

/// Returns the failure of a trace whose agent does not apply the wanted condition.
pub(super) fn not_filtered(wanted: &Wanted, trace: &v1::TraceStatus) -> Option<Progress> {
    (wanted.spec.filter != trace.filter).then(|| Progress::Failed {
        reason: NOT_FILTERED.to_owned(),
        message: "its agent does not apply spec.output.where, so the trace was stopped there: upgrade the agent of this node".to_owned(),
    })
}

/// Returns whether a trace failed because its agent does not apply the condition. The agent still runs it.
pub(super) fn is_not_filtered(report: &Report) -> bool {
    matches!(&report.progress, Progress::Failed { reason, .. } if reason == NOT_FILTERED)
}

/// The refusals that concern a trace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused {
    /// Time of the next attempt; `None` if nothing is refused now.
    retry: Option<Retry>,
    /// The last refused change, and its targets that the agent does not have.
    last: Option<(Refusal, Vec<v1::Target>)>,
    /// The first targets that were gone before a change with them was accepted.
    missed: Vec<v1::TargetFailure>,
    /// Number of further missed targets.
    beyond: u64,
}

impl Refused {
    /// Returns whether it is too early for the next attempt.
    pub(super) fn is_to_wait(&self) -> bool {
        self.retry.is_some_and(|retry| Instant::now() < retry.at)
    }

    /// Records that a start or a change was refused, and doubles the delay of the next attempt.
    pub(super) fn back_off(&mut self) {
        match &mut self.retry {
            Some(retry) => retry.back_off(),
            None => self.retry = Some(Retry::default()),
        }
    }

    /// Allows the next attempt at once, because another agent may be running.
    pub(super) fn at_once(&mut self) {
        self.retry = None;
    }

    /// Records that a change of targets was refused. The agent has some of the targets already.
    pub(super) fn change(&mut self, refusal: Refusal, wanted: &[v1::Target], has: &[v1::Target]) {
        self.back_off();
        self.leave(wanted);
        let lacks = wanted.iter().filter(|target| !has.contains(target));
        self.last = Some((refusal, lacks.cloned().collect()));
    }

    /// Records that the agent has accepted a start or a change with these targets.
    pub(super) fn taken(&mut self, targets: &[v1::Target]) {
        self.retry = None;
        self.leave(targets);
    }

    /// Ends the last refusal. Its targets that are no longer wanted were missed.
    fn leave(&mut self, wanted: &[v1::Target]) {
        let Some((refusal, lacks)) = self.last.take() else {
            return;
        };
        for target in lacks.into_iter().filter(|target| !wanted.contains(target)) {
            match self.missed.len() < MISSED {
                true => self.missed.push(failure(&refusal, target)),
                false => self.beyond += 1,
            }
        }
    }

    /// Returns the targets that are not traced because of refusals.
    pub(crate) fn failures(&self) -> impl Iterator<Item = v1::TargetFailure> {
        let last = self.last.iter();
        let lacks = last.flat_map(|(refusal, lacks)| {
            let lacks = lacks.iter().cloned();
            lacks.map(move |target| failure(refusal, target))
        });
        self.missed.iter().cloned().chain(lacks)
    }

    /// Returns the number of missed targets outside the list.
    pub(crate) fn beyond(&self) -> u64 {
        self.beyond
    }
}

fn failure(refusal: &Refusal, target: v1::Target) -> v1::TargetFailure {
    v1::TargetFailure {
        version: 0,
        target: Some(target),
        reason: refusal.reason.clone(),
        message: refusal.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(numbers: std::ops::Range<usize>) -> Vec<v1::Target> {
        let pod = |number: usize| v1::Target {
            target: Some(v1::target::Target::Pod(number.to_string())),
            ..v1::Target::default()
        };
        numbers.map(pod).collect()
    }

    #[test]
    fn targets_of_a_refused_change_are_missing_until_they_are_taken_and_forever_once_they_are_gone()
    {
        let refusal = || Refusal {
            reason: "PolicyDenied".to_owned(),
            message: "no".to_owned(),
        };
        let mut refused = Refused::default();
        let missing = |refused: &Refused| refused.failures().count() as u64 + refused.beyond();
        refused.change(refusal(), &pods(0..100), &pods(0..40));
        refused.change(refusal(), &pods(0..100), &pods(0..40));
        assert_eq!(missing(&refused), 60);
        assert!(refused.is_to_wait());
        // Fifty are gone by now.
        refused.taken(&pods(0..50));
        assert_eq!((missing(&refused), refused.missed.len()), (50, MISSED));
        assert!(!refused.is_to_wait());
    }

    #[test]
    fn a_request_that_is_too_large_is_refused_and_a_broken_connection_refuses_nothing() {
        assert!(Refusal::of(&Status::out_of_range("too large")).is_some());
        for status in [
            Status::unavailable("gone"),
            Status::internal("h2"),
            Status::unknown("transport"),
        ] {
            assert_eq!(Refusal::of(&status), None);
        }
    }
}
