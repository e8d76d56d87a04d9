//! What the controller says of a job. Its size does not grow with nodes, pods or events.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Nodes in [`TraceJobStatus::failures`] at most.
pub const MAX_FAILURES: usize = 10;
/// Targets in [`TraceJobStatus::target_failures`] at most.
pub const MAX_TARGET_FAILURES: usize = 10;
/// Rows in [`Summary::rows`] at most.
pub const MAX_SUMMARY_ROWS: usize = 20;

/// Types of conditions. All are there from the controller's first look.
pub mod condition {
    /// It has run, and at least one node says what it saw.
    pub const COMPLETE: &str = "Complete";
    /// It is over, and no node says what it saw.
    pub const FAILED: &str = "Failed";
    /// Its user has stopped it.
    pub const SUSPENDED: &str = "Suspended";
    /// It waits or runs; its reason says how far it is, and at last how it went.
    pub const PROGRESSING: &str = "Progressing";
    /// Something is missing in what it saw: events were lost or left out, a node failed, or a container was not traced.
    pub const PARTIAL: &str = "Partial";
    /// In the order in which they are shown.
    pub const ALL: [&str; 5] = [PROGRESSING, SUSPENDED, COMPLETE, FAILED, PARTIAL];
}

/// How far a job is, and what it has seen.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TraceJobStatus {
    /// Of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Of the spec when it was started, or resumed: what the agents run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_generation: Option<i64>,
    /// The tracer's key in the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracer: Option<String>,
    /// `Progressing`, `Suspended`, `Complete`, `Failed` and `Partial`.
    pub conditions: Vec<Condition>,
    /// When it began, or was resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it had ended on the last node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Nodes that have pods to trace.
    pub nodes: Nodes,
    /// Pods that are traced.
    pub pods: i64,
    /// What was seen, on all nodes.
    pub events: Events,
    /// What it has cost, on all nodes.
    pub cost: Cost,
    /// Nodes on which it failed: the first ten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failures: Vec<Failure>,
    /// Pods and containers whose events are missing because their node's agent could not select them.
    pub untraced_targets: i64,
    /// Pods and containers that could not be selected: the first ten, those whose events are missing before the others. A container
    /// whose pod is traced as a whole lacks only its name in the rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub target_failures: Vec<TargetFailure>,
    /// Of a tracer that counts: the rows of all nodes, merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// How many nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Nodes {
    /// That should run it, or have run it.
    pub desired: i64,
    /// That run it now.
    pub running: i64,
    /// On which it has ended, with an account.
    pub ended: i64,
    /// On which it failed, or which are gone.
    pub failed: i64,
}

/// Events of all nodes: `produced = delivered + filtered + beyondLimit + sampled + lost` when the job has ended on all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Events {
    /// That happened.
    pub produced: i64,
    /// That were delivered, or are counted in a table.
    pub delivered: i64,
    /// Whose rows did not match the filter.
    pub filtered: i64,
    /// After `limits.maxEvents`.
    pub beyond_limit: i64,
    /// Left out to keep to a budget.
    pub sampled: i64,
    /// Lost, all stages together.
    pub lost: i64,
    /// Stages with a loss.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 16))]
    pub lost_by_stage: BTreeMap<String, i64>,
    /// Runs of programs that the kernel skipped: at most so many events more.
    pub missed_runs: i64,
}

/// What it has cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Cost {
    /// CPU time of its kernel programs and their readers.
    pub cpu_milliseconds: i64,
    /// Memory of its maps, rings and programs.
    pub memory_bytes: i64,
}

/// A node on which a job failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Failure {
    /// Its name.
    pub node: String,
    /// One word.
    pub reason: String,
    /// What happened, and what to do.
    #[schemars(length(max = 300))]
    pub message: String,
}

/// A pod or a container that a node's agent could not select. It is tried again as long as the pod's status says that it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetFailure {
    /// Name of its node.
    pub node: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container; empty for the pod as a whole.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// One word.
    pub reason: String,
    /// What happened, and what to do.
    #[schemars(length(max = 300))]
    pub message: String,
}

/// A table of all nodes, merged by its columns' roles. It has the columns that Kubernetes and the kernel fill, and none that a traced
/// program does: what differs in those alone is one row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// In the order in which the tracer has them.
    #[schemars(length(max = 32))]
    pub columns: Vec<String>,
    /// Value by column, the largest rows first.
    #[schemars(length(max = 20))]
    pub rows: Vec<BTreeMap<String, String>>,
    /// Rows in all: where it is more than are shown, the others were cut.
    pub total_rows: i64,
    /// Whether rows were cut.
    pub cut: bool,
    /// Columns that were left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub left_out: Vec<String>,
}
