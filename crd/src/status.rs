//! Status of a job, written by the controller. Its size does not grow with nodes, pods or events.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Maximum number of nodes in [`TraceJobStatus::failures`].
pub const MAX_FAILURES: usize = 10;
/// Maximum number of targets in [`TraceJobStatus::target_failures`].
pub const MAX_TARGET_FAILURES: usize = 10;
/// Maximum number of rows in [`Summary::rows`].
pub const MAX_SUMMARY_ROWS: usize = 20;

/// Types of conditions. The controller sets all of them at its first reconciliation.
pub mod condition {
    /// The job has ended, and at least one node reported an account.
    pub const COMPLETE: &str = "Complete";
    /// The job has ended, and no node reported an account.
    pub const FAILED: &str = "Failed";
    /// The user has suspended the job.
    pub const SUSPENDED: &str = "Suspended";
    /// The job waits or runs. The reason names its phase, and after the end its result.
    pub const PROGRESSING: &str = "Progressing";
    /// The result is incomplete: events were lost or omitted, a node failed, or a container was not traced.
    pub const PARTIAL: &str = "Partial";
    /// All condition types, in display order.
    pub const ALL: [&str; 5] = [PROGRESSING, SUSPENDED, COMPLETE, FAILED, PARTIAL];
}

/// Progress and results of a job.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TraceJobStatus {
    /// Generation of the spec that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Generation of the spec that the agents run: the one at the start, or at the last resume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_generation: Option<i64>,
    /// Key of the tracer in the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracer: Option<String>,
    /// Conditions of the job: `Progressing`, `Suspended`, `Complete`, `Failed` and `Partial`.
    pub conditions: Vec<Condition>,
    /// Time of the start, or of the last resume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// Time at which the last node finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Number of nodes with pods to trace, by state.
    pub nodes: Nodes,
    /// Number of pods that are traced.
    pub pods: i64,
    /// Event counts, summed over all nodes.
    pub events: Events,
    /// Cost of the trace, summed over all nodes.
    pub cost: Cost,
    /// Nodes on which the job failed, at most ten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failures: Vec<Failure>,
    /// Number of pods and containers whose events are missing because the agent could not select them.
    pub untraced_targets: i64,
    /// Pods and containers that could not be selected, at most ten. Targets with missing events come first. A container
    /// in a pod that is traced as a whole lacks only its name in the rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub target_failures: Vec<TargetFailure>,
    /// Table of all nodes, merged, for tracers that produce a table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// Numbers of nodes by state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Nodes {
    /// Nodes that should run the job, or have run it.
    pub desired: i64,
    /// Nodes currently running the job.
    pub running: i64,
    /// Nodes on which the job has ended with an account.
    pub ended: i64,
    /// Nodes on which the job failed, and nodes that are gone.
    pub failed: i64,
}

/// Event counts of all nodes. After the job has ended on all nodes, `produced = delivered + filtered + beyondLimit + sampled + lost`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Events {
    /// Events produced.
    pub produced: i64,
    /// Events delivered to readers or counted in a table.
    pub delivered: i64,
    /// Events that the filter excluded.
    pub filtered: i64,
    /// Events omitted after `limits.maxEvents` was reached.
    pub beyond_limit: i64,
    /// Events omitted by sampling to stay within a budget.
    pub sampled: i64,
    /// Events lost, summed over all stages.
    pub lost: i64,
    /// Events lost by stage, for stages with a loss.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 16))]
    pub lost_by_stage: BTreeMap<String, i64>,
    /// Program runs that the kernel skipped. At most this many events may be missing in addition to `lost`.
    pub missed_runs: i64,
}

/// Cost of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Cost {
    /// CPU time in milliseconds of the kernel programs and their readers.
    pub cpu_milliseconds: i64,
    /// Memory in bytes of maps, ring buffers and programs.
    pub memory_bytes: i64,
}

/// Node on which a job failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Failure {
    /// Name of the node.
    pub node: String,
    /// Reason for the failure, as one word.
    pub reason: String,
    /// Description of the failure and of the remedy.
    #[schemars(length(max = 300))]
    pub message: String,
}

/// Pod or container that the agent of a node could not select. The controller retries while the pod's status is running.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetFailure {
    /// Name of the node.
    pub node: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container; empty for the pod as a whole.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// Reason for the failure, as one word.
    pub reason: String,
    /// Description of the failure and of the remedy.
    #[schemars(length(max = 300))]
    pub message: String,
}

/// Table of all nodes, merged by the roles of its columns. Columns whose content a traced program controls are left out,
/// and rows that differ only in those columns are merged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// Names of the columns, in the tracer's order.
    #[schemars(length(max = 32))]
    pub columns: Vec<String>,
    /// Rows as maps from column name to value, largest rows first.
    #[schemars(length(max = 20))]
    pub rows: Vec<BTreeMap<String, String>>,
    /// Total number of rows, including rows that were cut.
    pub total_rows: i64,
    /// Whether rows were cut to fit the limit.
    pub cut: bool,
    /// Names of columns that were left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub left_out: Vec<String>,
}
