//! Targets of a trace that could not be selected. A client reads here which targets are missing, and which to send again.

use super::{
    limits::{FAILURES_KEPT, FAILURES_KEPT_BYTES, FAILURES_SHOWN, MESSAGE_BYTES},
    text::cut,
};
use engine::Error;
use prost::Message;
use proto::v1;
use std::collections::VecDeque;

/// The failures, oldest first, at most one for each target.
#[derive(Debug, Default)]
pub(super) struct Failures {
    kept: VecDeque<v1::TargetFailure>,
    /// Bytes of the kept failures.
    bytes: usize,
    /// Failures that were dropped because there were more than are kept.
    dropped: u64,
}

fn is_of(failure: &v1::TargetFailure, target: Option<&v1::Target>) -> bool {
    fn name(target: &v1::Target) -> (&Option<v1::target::Target>, u64, &str) {
        (&target.target, target.start_ticks, &target.pod_uid)
    }
    failure.target.as_ref().map(name) == target.map(name)
}

/// Bytes of a failure on the wire and in memory, whichever are more.
fn size(failure: &v1::TargetFailure) -> usize {
    failure.encoded_len() + size_of::<v1::TargetFailure>()
}

impl Failures {
    /// Records that a target could not be selected.
    pub(super) fn failed(&mut self, version: u64, target: Option<v1::Target>, error: &Error) {
        self.selected(target.as_ref());
        let failure = v1::TargetFailure {
            version,
            target,
            reason: error.reason().word().to_owned(),
            message: cut(error.to_string(), MESSAGE_BYTES),
        };
        self.bytes += size(&failure);
        self.kept.push_back(failure);
        while self.kept.len() > FAILURES_KEPT || self.bytes > FAILURES_KEPT_BYTES {
            let Some(oldest) = self.kept.pop_front() else {
                return;
            };
            self.bytes -= size(&oldest);
            self.dropped += 1;
        }
    }

    /// Records that a target is selected by now.
    pub(super) fn selected(&mut self, target: Option<&v1::Target>) {
        let bytes = &mut self.bytes;
        self.kept.retain(|failure| {
            let stays = !is_of(failure, target);
            if !stays {
                *bytes -= size(failure);
            }
            stays
        });
    }

    /// The newest failures, as many as this many bytes hold.
    pub(super) fn shown(&self, mut room: usize) -> Vec<v1::TargetFailure> {
        let newest = self.kept.iter().rev().take(FAILURES_SHOWN);
        let fit = newest.take_while(|failure| {
            let left = room.checked_sub(failure.encoded_len());
            room = left.unwrap_or(0);
            left.is_some()
        });
        let mut shown: Vec<_> = fit.cloned().collect();
        shown.reverse();
        shown
    }

    /// The number of all failures.
    pub(super) fn count(&self) -> u64 {
        self.dropped + self.kept.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FAILURES_SHOWN_BYTES;

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
    fn a_target_that_fails_again_is_one_failure_and_a_selected_one_is_removed() {
        let mut failures = Failures::default();
        failures.failed(0, Some(container(1)), &gone());
        failures.failed(0, Some(container(2)), &gone());
        failures.failed(1, Some(container(1)), &gone());
        let versions = |failures: &Failures| {
            let shown = failures.shown(FAILURES_SHOWN_BYTES).into_iter();
            shown.map(|failure| failure.version).collect::<Vec<_>>()
        };
        assert_eq!((versions(&failures), failures.count()), (vec![0, 1], 2));
        failures.selected(Some(&container(2)));
        assert_eq!((versions(&failures), failures.count()), (vec![1], 1));
        failures.selected(Some(&container(1)));
        assert_eq!(failures.bytes, 0);
    }

    #[test]
    fn failures_are_bounded_in_number_and_bytes_and_counted() {
        let mut failures = Failures::default();
        for number in 0..2000 {
            failures.failed(1, Some(container(number)), &gone());
        }
        let shown = failures.shown(FAILURES_SHOWN_BYTES);
        assert_eq!(shown.len(), FAILURES_SHOWN);
        assert_eq!(shown.last().unwrap().target, Some(container(1999)));
        assert_eq!(failures.count(), 2000);
        assert_eq!(failures.kept.len(), FAILURES_KEPT);
        // Paths as long as they may be.
        for number in 0..2000 {
            let target = v1::target::Target::Cgroup(format!("{number:04096}"));
            let target = v1::Target {
                target: Some(target),
                ..v1::Target::default()
            };
            failures.failed(2, Some(target), &gone());
        }
        assert!(failures.bytes <= FAILURES_KEPT_BYTES);
        let shown = failures.shown(FAILURES_SHOWN_BYTES);
        let bytes: usize = shown.iter().map(Message::encoded_len).sum();
        assert!(bytes <= FAILURES_SHOWN_BYTES && shown.len() == 3, "{bytes}");
        assert_eq!(failures.count(), 4000);
        assert!(failures.shown(0).is_empty());
    }
}
