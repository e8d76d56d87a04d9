//! What a job's status says, from how far it is.

use crate::outcome::Outcome;
use crd::{TraceJobStatus, condition};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It waits for others.
    Queued(String),
    /// It runs, or waits for pods.
    Running(String),
    Suspended,
    /// It is over, and what it saw is known.
    Complete {
        /// What is missing; none where nothing is.
        partial: Option<String>,
    },
    /// It is over, and nothing is known of what it saw.
    Failed {
        reason: String,
        message: String,
    },
}

impl Phase {
    /// One word for it, which `kubectl get` shows.
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
}

/// Whether a status says that its job is over.
pub(crate) fn is_over(status: &TraceJobStatus) -> bool {
    is_true(status, condition::COMPLETE) || is_true(status, condition::FAILED)
}

/// Whether a condition holds.
pub(crate) fn is_true(status: &TraceJobStatus, type_: &str) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// Puts how far a job is into its status.
pub(crate) fn tell(status: &mut TraceJobStatus, phase: &Phase, generation: i64, now: Timestamp) {
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
        let same = before
            .iter()
            .find(|condition| condition.type_ == type_ && condition.status == state);
        status.conditions.push(Condition {
            type_: type_.to_owned(),
            status: state.to_owned(),
            reason: phase.word().to_owned(),
            message: phase.message().to_owned(),
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

/// Puts what was seen into a status.
pub(crate) fn count(status: &mut TraceJobStatus, outcome: &Outcome) {
    status.nodes = outcome.nodes.clone();
    status.events = outcome.events.clone();
    status.cost = outcome.cost.clone();
    status.failures.clone_from(&outcome.failures);
}
