//! TraceJobs as Kubernetes knows them: the types, the rules that a job must keep, and the definitions from both.
//!
//! Doc comments of fields are what `kubectl explain` says.
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

/// The API group of both kinds.
pub const GROUP: &str = "tracejob.dev";
/// Its only version.
pub const VERSION: &str = "v1alpha1";
