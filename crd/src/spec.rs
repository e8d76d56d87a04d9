//! Spec of a job: the part that a user writes.

use crate::status::TraceJobStatus;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tracers::Spec;

/// Specification of a TraceJob: the tracer, its targets, its duration and its limits.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "tracejob.dev",
    version = "v1alpha1",
    kind = "TraceJob",
    namespaced,
    shortname = "tj",
    category = "tracing",
    status = "TraceJobStatus",
    doc = "Runs a tracer on pods of its namespace for a bounded time."
)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a TraceJob's spec"
)]
pub struct TraceJobSpec {
    /// Tracer to run, with its options. Exactly one key must be set.
    #[schemars(schema_with = "tracer")]
    pub tracer: Spec,
    /// Pods to trace, by label. Without `selector` and `pods`, every pod of the namespace is traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Pods to trace, by name, in addition to the pods that `selector` matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub pods: Vec<String>,
    /// Names of the containers to trace. Empty selects all containers.
    /// Only a pod whose containers are all selected is traced from its first instruction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    pub containers: Vec<String>,
    /// Labels that a node must have to run the trace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 16))]
    pub node_selector: BTreeMap<String, String>,
    /// Maximum number of nodes that run the trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_nodes: Option<u32>,
    /// Percentage of the matching nodes that run the trace, at least one node. The choice of nodes is stable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub sample_percent: Option<u32>,
    /// Maximum duration in seconds, counted from the start. Each agent enforces the deadline itself. In a cluster the default is 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub active_deadline_seconds: Option<u64>,
    /// Whether the job is suspended. Setting true stops a running job; setting false again starts a new trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Seconds after which a finished job is deleted. Without a value the job is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<u32>,
    /// Resource limits of the trace on each node. The policy of a node may set lower limits.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Rows that the trace delivers, and how readers show them.
    #[serde(default, skip_serializing_if = "Output::is_empty")]
    pub output: Output,
}

/// Specification of a ClusterTraceJob: the tracer, its targets, its duration and its limits.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "tracejob.dev",
    version = "v1alpha1",
    kind = "ClusterTraceJob",
    shortname = "ctj",
    category = "tracing",
    status = "TraceJobStatus",
    doc = "Runs a tracer on pods of several namespaces, or on whole nodes, for a bounded time."
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterTraceJobSpec {
    /// Fields shared with a TraceJob.
    #[serde(flatten)]
    pub job: TraceJobSpec,
    /// Namespaces to trace, by label. Without it, every namespace that the policy allows is traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Selector>,
    /// Whether to trace everything on the nodes, where their policy allows it. Pods cannot be selected at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<bool>,
}

/// Label selector. An empty selector matches every object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a selector such as `matchLabels: {app: checkout}`"
)]
pub struct Selector {
    /// Labels that an object must have, with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 16))]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements that an object's labels must satisfy, in addition to `matchLabels`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<Expression>,
}

/// Requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expression {
    /// Name of the label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// Comparison of the label with `values`.
    pub operator: Operator,
    /// Values to compare with, for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// Comparison operator of a label requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Operator {
    /// The label is present and has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is present.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// Resource limits of a trace on each node. A trace that exceeds a budget samples its events and counts the omitted ones. If sampling is not enough, the trace ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "limits such as `maxEvents: 100`"
)]
pub struct Limits {
    /// Number of events after which the trace ends on a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000u64))]
    pub max_events: Option<u64>,
    /// Maximum events per second on each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000u64))]
    pub events_per_second: Option<u64>,
    /// Maximum CPU on each node, in percent of one CPU, for the kernel programs and their reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub cpu_percent: Option<u32>,
    /// Maximum memory on each node in bytes: maps, ring buffer and queues. The agent checks the limit before it loads the trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 65_536, max = 17_179_869_184u64))]
    pub memory_bytes: Option<u64>,
    /// Size in bytes of the ring buffer between kernel and agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 4096, max = 1_073_741_824))]
    pub ring_bytes: Option<u32>,
}

/// Rows that a trace delivers, and how readers show them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "an output such as `summaryRows: 5`"
)]
pub struct Output {
    /// Number of rows of `status.summary`, for tracers that produce a table. The largest rows come first. 0 disables the summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 20))]
    pub summary_rows: Option<u32>,
    /// Condition that rows must match, such as `latency > 10ms && comm == "nginx"`. Each agent applies it, so other rows leave no node.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub filter: Option<String>,
    /// Columns that readers show, in this order. `+NAME` adds one to the usual columns and `-NAME` hides one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    pub columns: Vec<String>,
    /// Columns by which readers sort the rows of a table, the first one first. `-NAME` sorts in descending order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 64)))]
    pub sort: Vec<String>,
    /// Number of rows of a table that readers show, from the first one in their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub top: Option<u32>,
}

impl Limits {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Output {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn tracer(_: &mut SchemaGenerator) -> Schema {
    Schema::try_from(Spec::json_schema()).expect("the catalogue's schema is an object")
}
