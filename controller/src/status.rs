//! The conditions of a job's status, derived from its phase.

use crd::{TraceJobStatus, condition};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// The phase of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waits for other jobs.
    Queued(String),
    /// Runs, or waits for pods.
    Running(String),
    Suspended,
    /// Has ended, and at least one node has sent an account.
    Complete {
        /// What is missing; `None` if the result is complete.
        partial: Option<String>,
    },
    /// Has ended, and no node has sent an account.
    Failed {
        reason: String,
        message: String,
    },
}

impl Phase {
    /// Returns the word that `kubectl get` shows.
    pub(crate) fn word(&self) -> &str {
        match self {
            Self::Queued(_) => "Queued",
            Self::Running(_) => "Running",
            Self::Suspended => "Suspended",
            Self::Complete { partial: None } => "Complete",
            Self::Complete { partial: Some(_) } => "Partial",
            Self::Failed { reason, .. } => reason,
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::Queued(message) | Self::Running(message) | Self::Failed { message, .. } => {
                message
            }
            Self::Suspended => "its user has suspended it",
            Self::Complete { partial } => partial.as_deref().unwrap_or("nothing is missing"),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Complete { .. } | Self::Failed { .. })
    }

    /// Returns reason and message of a condition that is false.
    fn why_not(&self, type_: &str) -> (&'static str, &'static str) {
        match (self, type_) {
            (_, condition::SUSPENDED) => ("NotSuspended", "the user has not suspended the job"),
            (Self::Failed { .. }, _) => ("NoResult", "no node has sent an account"),
            (Self::Complete { .. }, condition::FAILED) => {
                ("HasResult", "at least one node has sent an account")
            }
            (Self::Complete { .. }, _) => ("NothingMissing", "nothing is missing"),
            _ => ("NotOver", "the job has not ended"),
        }
    }
}

/// Returns whether a status describes an ended job.
pub(crate) fn is_over(status: &TraceJobStatus) -> bool {
    is_true(status, condition::COMPLETE) || is_true(status, condition::FAILED)
}

/// Returns whether a condition is true.
pub(crate) fn is_true(status: &TraceJobStatus, type_: &str) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// Sets the conditions of a status.
pub(crate) fn set_conditions(
    status: &mut TraceJobStatus,
    phase: &Phase,
    generation: i64,
    now: Timestamp,
) {
    status.observed_generation = Some(generation);
    let before = std::mem::take(&mut status.conditions);
    let holds = |type_: &str| match type_ {
        condition::PROGRESSING => matches!(phase, Phase::Queued(_) | Phase::Running(_)),
        condition::SUSPENDED => matches!(phase, Phase::Suspended),
        condition::COMPLETE => matches!(phase, Phase::Complete { .. }),
        condition::FAILED => matches!(phase, Phase::Failed { .. }),
        _ => matches!(phase, Phase::Complete { partial: Some(_) }),
    };
    for type_ in condition::ALL {
        let state = if holds(type_) { "True" } else { "False" };
        let (reason, message) = match type_ {
            // Progressing always describes the phase.
            condition::PROGRESSING => (phase.word(), phase.message()),
            _ if holds(type_) => (phase.word(), phase.message()),
            _ => phase.why_not(type_),
        };
        let same = before
            .iter()
            .find(|condition| condition.type_ == type_ && condition.status == state);
        status.conditions.push(Condition {
            type_: type_.to_owned(),
            status: state.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: same.map_or(Time(now), |condition| {
                condition.last_transition_time.clone()
            }),
            observed_generation: Some(generation),
        });
    }
    if phase.is_over() && status.completion_time.is_none() {
        status.completion_time = Some(Time(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_does_not_hold_has_a_reason_of_its_own() {
        let reasons = |phase: &Phase| {
            let mut status = TraceJobStatus::default();
            set_conditions(&mut status, phase, 1, Timestamp::UNIX_EPOCH);
            let conditions = status.conditions.into_iter();
            let told = conditions.map(|one| format!("{}={} {}", one.type_, one.status, one.reason));
            told.collect::<Vec<_>>()
        };
        let failed = Phase::Failed {
            reason: "NoPods".to_owned(),
            message: String::new(),
        };
        assert_eq!(
            reasons(&failed),
            [
                "Progressing=False NoPods",
                "Suspended=False NotSuspended",
                "Complete=False NoResult",
                "Failed=True NoPods",
                "Partial=False NoResult",
            ]
        );
        assert_eq!(
            reasons(&Phase::Complete { partial: None }),
            [
                "Progressing=False Complete",
                "Suspended=False NotSuspended",
                "Complete=True Complete",
                "Failed=False HasResult",
                "Partial=False NothingMissing",
            ]
        );
        assert!(reasons(&Phase::Running(String::new())).iter().all(|told| {
            told.ends_with("=True Running")
                || told.ends_with("=False NotOver")
                || told.ends_with("NotSuspended")
        }));
    }
}
