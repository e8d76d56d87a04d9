//! Targets of a trace that could not be selected when they were last named. A client reads from it what it misses, and what to send again.

use agent::Error;
use proto::v1;
use std::collections::VecDeque;

/// Failures in a trace's status: it is sent with each of its changes.
const SHOWN: usize = 32;
/// Failures that are kept, so that a target that fails again is no further one: more than the kernel has room for.
const KEPT: usize = 1024;

/// The failures, oldest first, at most one of each target.
#[derive(Debug, Default)]
pub(super) struct Failures {
    kept: VecDeque<v1::TargetFailure>,
    /// Failures that were dropped because there were more than are kept.
    dropped: u64,
}

fn is_of(failure: &v1::TargetFailure, target: Option<&v1::Target>) -> bool {
    let name = |target: &v1::Target| {
        (
            target.target.clone(),
            target.start_ticks,
            target.pod_uid.clone(),
        )
    };
    failure.target.as_ref().map(name) == target.map(name)
}

impl Failures {
    /// Records that a target could not be selected.
    pub(super) fn failed(&mut self, version: u64, target: Option<v1::Target>, error: &Error) {
        self.selected(target.as_ref());
        self.kept.push_back(v1::TargetFailure {
            version,
            target,
            reason: error.reason().word().to_owned(),
            message: error.to_string(),
        });
        if self.kept.len() > KEPT {
            self.kept.pop_front();
            self.dropped += 1;
        }
    }

    /// Records that a target is selected by now.
    pub(super) fn selected(&mut self, target: Option<&v1::Target>) {
        self.kept.retain(|failure| !is_of(failure, target));
    }

    /// The newest failures.
    pub(super) fn shown(&self) -> Vec<v1::TargetFailure> {
        let beyond = self.kept.len().saturating_sub(SHOWN);
        self.kept.iter().skip(beyond).cloned().collect()
    }

    /// The number of all failures.
    pub(super) fn count(&self) -> u64 {
        self.dropped + self.kept.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(number: usize) -> v1::Target {
        v1::Target {
            target: Some(v1::target::Target::Container(number.to_string())),
            ..v1::Target::default()
        }
    }

    fn gone() -> Error {
        Error::NoContainer("x".to_owned())
    }

    #[test]
    fn a_target_that_fails_again_is_one_failure_and_one_that_is_selected_is_none() {
        let mut failures = Failures::default();
        failures.failed(0, Some(container(1)), &gone());
        failures.failed(0, Some(container(2)), &gone());
        failures.failed(1, Some(container(1)), &gone());
        let versions = |failures: &Failures| {
            let shown = failures.shown().into_iter();
            shown.map(|failure| failure.version).collect::<Vec<_>>()
        };
        assert_eq!((versions(&failures), failures.count()), (vec![0, 1], 2));
        failures.selected(Some(&container(2)));
        assert_eq!((versions(&failures), failures.count()), (vec![1], 1));
    }

    #[test]
    fn failures_are_bounded_and_counted() {
        let mut failures = Failures::default();
        for number in 0..2000 {
            failures.failed(1, Some(container(number)), &gone());
        }
        assert_eq!(failures.shown().len(), SHOWN);
        assert_eq!(
            failures.shown().last().unwrap().target,
            Some(container(1999))
        );
        assert_eq!(failures.count(), 2000);
        assert_eq!(failures.kept.len(), KEPT);
    }
}
