//! TraceJobs in Kubernetes: the types, the validation rules, and the definitions from both.
//!
//! `kubectl explain` shows the doc comments of fields.
#![forbid(unsafe_code)]

pub mod admission;
mod check;
mod definition;
pub mod name;
mod rules;
mod spec;
mod status;

pub use check::{Wrong, check};
pub use definition::{DEFAULT_DEADLINE_SECONDS, definition, definitions, file_schema};
pub use spec::{
    ClusterTraceJob, ClusterTraceJobSpec, Expression, Limits, Operator, Output, Selector, TraceJob,
    TraceJobSpec,
};
pub use status::{
    Cost, Events, Failure, MAX_FAILURES, MAX_SUMMARY_ROWS, MAX_TARGET_FAILURES, Nodes, Summary,
    TargetFailure, TraceJobStatus, condition,
};

/// API group of both kinds.
pub const GROUP: &str = "tracejob.dev";
/// Only version of the API group.
pub const VERSION: &str = "v1alpha1";
