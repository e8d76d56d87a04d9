//! What an agent has refused to do for a trace: it concerns that trace on that node alone, and is asked for again later.

use super::{Progress, Report, Retry, Wanted};
use proto::v1;
use std::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The agent's word for a generation that it has already: `Reason` of `agent`.
const OTHER_SPEC: &str = "OtherSpec";
/// The agent's word for what a caller may not do: of a trace, it was started by another one.
const NOT_ALLOWED: &str = "NotAllowed";
/// A reason that is no agent's: its version ignores the condition of a job.
const NOT_FILTERED: &str = "NotFiltered";
/// Targets in the list of those that were missed: as many as an agent's own list has.
const MISSED: usize = 32;

/// An agent's words for a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) message: String,
}

impl Refusal {
    /// The refusal in an agent's answer; none where the answer is of the connection.
    pub(super) fn of(status: &Status) -> Option<Self> {
        let reason = match status.get_details_error_info() {
            Some(info) => info.reason,
            // A request that is too large is refused before anybody can give it a reason.
            None if status.code() == Code::OutOfRange => "InvalidRequest".to_owned(),
            None => return None,
        };
        let message = status.message().to_owned();
        Some(Self { reason, message })
    }
}

/// Whether an agent refuses to start a trace because it has it already, and of the same generation.
pub(super) fn is_known(status: &Status) -> bool {
    status.code() == Code::FailedPrecondition
        && status
            .get_details_error_info()
            .is_some_and(|info| info.reason == OTHER_SPEC)
}

/// Whether an agent refuses to change or stop a trace because another caller has started it.
pub(super) fn is_anothers(status: &Status) -> bool {
    status
        .get_details_error_info()
        .is_some_and(|info| info.reason == NOT_ALLOWED && info.metadata.contains_key("trace"))
}

/// The failure of a trace whose agent does not apply the condition that is wanted.
pub(super) fn not_filtered(wanted: &Wanted, trace: &v1::TraceStatus) -> Option<Progress> {
    (wanted.spec.filter != trace.filter).then(|| Progress::Failed {
        reason: NOT_FILTERED.to_owned(),
        message: "its agent does not apply spec.output.where, so the trace was stopped there: upgrade the agent of this node".to_owned(),
    })
}

/// Whether a trace failed because its agent does not apply the condition: the agent still runs it.
pub(super) fn is_not_filtered(report: &Report) -> bool {
    matches!(&report.progress, Progress::Failed { reason, .. } if reason == NOT_FILTERED)
}

/// What an agent has refused of a trace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused {
    /// When it is sent again; none where nothing is refused now.
    retry: Option<Retry>,
    /// The words for the last change that was refused, and the targets that were in it and that the agent does not have.
    last: Option<(Refusal, Vec<v1::Target>)>,
    /// Targets that were gone before a change with them was taken: the first of them.
    missed: Vec<v1::TargetFailure>,
    /// The number of these that are not in the list.
    beyond: u64,
}

impl Refused {
    /// Whether it is too early to send anything again.
    pub(super) fn is_to_wait(&self) -> bool {
        self.retry.is_some_and(|retry| Instant::now() < retry.at)
    }

    /// Records that a start or a change was refused: it is sent again later, and ever more rarely.
    pub(super) fn again(&mut self) {
        match &mut self.retry {
            Some(retry) => retry.again(),
            None => self.retry = Some(Retry::default()),
        }
    }

    /// Forgets when something is sent again: another agent may be there.
    pub(super) fn at_once(&mut self) {
        self.retry = None;
    }

    /// Records that a change to targets was refused, of which the agent has some.
    pub(super) fn change(&mut self, refusal: Refusal, wanted: &[v1::Target], has: &[v1::Target]) {
        self.again();
        self.leave(wanted);
        let lacks = wanted.iter().filter(|target| !has.contains(target));
        self.last = Some((refusal, lacks.cloned().collect()));
    }

    /// Records that the agent has taken a start or a change with these targets.
    pub(super) fn taken(&mut self, targets: &[v1::Target]) {
        self.retry = None;
        self.leave(targets);
    }

    /// The last refusal is over; what it was about, and is not wanted any more, was missed.
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

    /// Targets that are not traced because of refusals.
    pub(crate) fn failures(&self) -> impl Iterator<Item = v1::TargetFailure> {
        let last = self.last.iter();
        let lacks = last.flat_map(|(refusal, lacks)| {
            let lacks = lacks.iter().cloned();
            lacks.map(move |target| failure(refusal, target))
        });
        self.missed.iter().cloned().chain(lacks)
    }

    /// The number of further ones.
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
