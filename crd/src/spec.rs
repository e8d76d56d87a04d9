//! What a user writes.

use crate::status::TraceJobStatus;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tracers::Spec;

/// What to trace, in which pods of the job's namespace, for how long, and at what cost at most.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "tracejob.dev",
    version = "v1alpha1",
    kind = "TraceJob",
    namespaced,
    shortname = "tj",
    category = "tracing",
    status = "TraceJobStatus",
    doc = "Runs a tracer in pods of its namespace, on the nodes where they are, for a bounded time."
)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a TraceJob's spec"
)]
pub struct TraceJobSpec {
    /// Which tracer to run, and its options: exactly one key.
    #[schemars(schema_with = "tracer")]
    pub tracer: Spec,
    /// Pods by their labels. Without it and without `pods`, every pod of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Pods by name, beside those that the selector finds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub pods: Vec<String>,
    /// Only the containers of these names; all of them when it is empty.
    /// A pod is traced from its first instruction only where all its containers are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    pub containers: Vec<String>,
    /// Only on nodes that have all of these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 16))]
    pub node_selector: BTreeMap<String, String>,
    /// On so many nodes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_nodes: Option<u32>,
    /// On so many of a hundred nodes that qualify, and on one at least; always on the same ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub sample_percent: Option<u32>,
    /// How long it runs at most, from its start. The agents keep it by themselves. In a cluster 300 where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub active_deadline_seconds: Option<u64>,
    /// Ends it, or keeps it from starting, while true. It starts anew when it is false again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// When it is deleted after it has finished; never without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<u32>,
    /// What it may cost. The policy of a node may allow less.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Rows that it delivers, and how readers show them.
    #[serde(default, skip_serializing_if = "Output::is_empty")]
    pub output: Output,
}

/// What to trace, in pods of several namespaces or on whole nodes, for how long, and at what cost at most.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "tracejob.dev",
    version = "v1alpha1",
    kind = "ClusterTraceJob",
    shortname = "ctj",
    category = "tracing",
    status = "TraceJobStatus",
    doc = "Runs a tracer in pods of several namespaces, or on whole nodes, for a bounded time."
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterTraceJobSpec {
    /// What it has in common with a TraceJob.
    #[serde(flatten)]
    pub job: TraceJobSpec,
    /// Namespaces by their labels. Without it every namespace that policy allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Selector>,
    /// Everything on the nodes, where their policy allows that; pods cannot be selected then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<bool>,
}

/// Labels that an object must have. An empty one finds every object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a selector such as `matchLabels: {app: checkout}`"
)]
pub struct Selector {
    /// All of these labels, with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 16))]
    pub match_labels: BTreeMap<String, String>,
    /// And all of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<Expression>,
}

/// What a label must be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expression {
    /// The label's name.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// For `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Operator {
    /// It has one of the values.
    In,
    /// It has none of the values, or is not there.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

/// What a trace may cost on each node. One that passes a budget keeps a part of the events, counted, and ends where that does not help.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "limits such as `maxEvents: 100`"
)]
pub struct Limits {
    /// Ends it on a node after this many events there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000u64))]
    pub max_events: Option<u64>,
    /// Events per second and node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000u64))]
    pub events_per_second: Option<u64>,
    /// Per cent of one CPU on each node, for its kernel programs and their reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub cpu_percent: Option<u32>,
    /// Memory on each node: its maps, its ring and its queues, known before it is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 65_536, max = 17_179_869_184u64))]
    pub memory_bytes: Option<u64>,
    /// Bytes of the ring between kernel and agent.
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
    /// Of a tracer that counts: rows of `status.summary`, the largest first. 0 is no summary.
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
