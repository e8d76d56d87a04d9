// Generated from proto/tracejob/v1/jobs.proto by `cargo xtask codegen`. Do not edit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct GetCapabilitiesRequest {}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct GetCapabilitiesResponse {
    /// Kernel release, as reported by uname(2).
    #[prost(string, tag = "1")]
    pub kernel_release: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub agent_version: ::prost::alloc::string::String,
    #[prost(message, repeated, tag = "3")]
    pub tracers: ::prost::alloc::vec::Vec<Tracer>,
    /// Results of the requirement checks on the node.
    #[prost(message, repeated, tag = "4")]
    pub checks: ::prost::alloc::vec::Vec<Check>,
}
/// Result of one requirement check.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Check {
    /// Name of the check: "cgroups".
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    /// Verdict: "ok"; "limited", if some features do not work; or "missing", if tracing does not work.
    #[prost(string, tag = "2")]
    pub verdict: ::prost::alloc::string::String,
    /// Description of the finding.
    #[prost(string, tag = "3")]
    pub detail: ::prost::alloc::string::String,
    /// Remedy; empty where no action is needed.
    #[prost(string, tag = "4")]
    pub remedy: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Tracer {
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub about: ::prost::alloc::string::String,
    /// Reason why the tracer is unavailable: the kernel, or the node's policy. Empty where it is available.
    #[prost(string, tag = "3")]
    pub unsupported: ::prost::alloc::string::String,
    /// Hooks that the tracer attaches to on this kernel: "raw_tp sys_enter".
    #[prost(string, repeated, tag = "4")]
    pub hooks: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    #[prost(message, repeated, tag = "5")]
    pub options: ::prost::alloc::vec::Vec<Option>,
    #[prost(message, optional, tag = "6")]
    pub schema: ::core::option::Option<Schema>,
    /// Remedy for an unavailable tracer; empty where there is none.
    #[prost(string, tag = "7")]
    pub remedy: ::prost::alloc::string::String,
    /// Requirements of the tracer as one line of text. `requirements` lists them one by one.
    #[prost(string, tag = "8")]
    pub needs: ::prost::alloc::string::String,
    /// Class of the tracer, by the data it reveals or the changes it makes: "observe", "payload", "memory" or "act". A node allows tracers
    /// by class (policy.classes).
    #[prost(string, tag = "9")]
    pub class: ::prost::alloc::string::String,
    /// Capabilities and kernel features that the tracer requires.
    #[prost(message, repeated, tag = "10")]
    pub requirements: ::prost::alloc::vec::Vec<Requirement>,
}
/// Capability or kernel feature that a tracer requires.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Requirement {
    /// Name of the capability or feature: "CAP_SYSLOG", "fentry".
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    /// Whether the tracer is unavailable without it. If false, rows only lack the data that `reason` names.
    #[prost(bool, tag = "2")]
    pub required: bool,
    /// Purpose: "names of kernel functions".
    #[prost(string, tag = "3")]
    pub reason: ::prost::alloc::string::String,
    /// Whether the requirement is met.
    #[prost(bool, tag = "4")]
    pub met: bool,
    /// Remedy; empty where the requirement is met.
    #[prost(string, tag = "5")]
    pub remedy: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Option {
    /// Name as used in TraceSpec.options: "failedOnly".
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub about: ::prost::alloc::string::String,
    #[prost(message, optional, tag = "3")]
    pub r#type: ::core::option::Option<OptionType>,
    /// Default value, in the form of TraceSpec.options; absent if there is none.
    #[prost(message, optional, tag = "4")]
    pub default: ::core::option::Option<::prost_types::Value>,
    /// Whether the option is required. A trace without a required option is refused.
    #[prost(bool, tag = "5")]
    pub required: bool,
}
/// Type of an option's value.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct OptionType {
    /// Kind of value. "flag": true or false. "number": an integer. "duration": "10ms". "size": "64KiB". "text". "choice": one of `choices`.
    /// "list": several values of one type. Newer agents may send other kinds.
    #[prost(string, tag = "1")]
    pub kind: ::prost::alloc::string::String,
    /// Unit of a number: "ns", "bytes", "events". Empty if the number has no unit.
    #[prost(string, tag = "2")]
    pub unit: ::prost::alloc::string::String,
    /// Smallest and largest value of a number, of a duration in nanoseconds, or of a size in bytes.
    #[prost(uint64, optional, tag = "3")]
    pub minimum: ::core::option::Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    pub maximum: ::core::option::Option<u64>,
    /// Accepted words of a choice.
    #[prost(message, repeated, tag = "5")]
    pub choices: ::prost::alloc::vec::Vec<Choice>,
    /// Maximum length of a text, in bytes of UTF-8.
    #[prost(uint32, tag = "6")]
    pub max_bytes: u32,
    /// Maximum number of items of a list, and the type of each item.
    #[prost(uint32, tag = "7")]
    pub max_items: u32,
    #[prost(message, optional, boxed, tag = "8")]
    pub items: ::core::option::Option<::prost::alloc::boxed::Box<OptionType>>,
}
/// Accepted word of a choice.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Choice {
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub about: ::prost::alloc::string::String,
}
/// Specification of a trace.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct TraceSpec {
    /// Name of the tracer: "tcp_connect".
    #[prost(string, tag = "1")]
    pub tracer: ::prost::alloc::string::String,
    /// Options of the tracer by name, each of its Option.type: {"port": 443, "failedOnly": true, "minLatencyNs": 10000000}. Flags are true or
    /// false. Numbers are integers in the unit of the option. A number in a Struct is a double, exact up to 2^53; larger numbers are refused.
    /// Strings are parsed as on the command line: numbers ("18446744073709551615"), durations ("10ms") and sizes ("64KiB"). A duration may
    /// also be a number of nanoseconds, and a size a number of bytes.
    #[prost(message, optional, tag = "2")]
    pub options: ::core::option::Option<::prost_types::Struct>,
    /// Targets of the trace: the union of all entries is traced. At least one is required.
    #[prost(message, repeated, tag = "3")]
    pub targets: ::prost::alloc::vec::Vec<Target>,
    /// Duration after which the agent ends the trace, even without a connected client. Default: the maximum that the node's policy allows.
    #[prost(message, optional, tag = "4")]
    pub duration: ::core::option::Option<::prost_types::Duration>,
    /// Number of events of the first dataset after which the trace ends; 0 is unlimited.
    #[prost(uint64, tag = "5")]
    pub max_events: u64,
    /// Size in bytes of the ring buffer between kernel and agent; 0 is 2 MiB.
    #[prost(uint64, tag = "6")]
    pub ring_bytes: u64,
    /// Interval at which counts are read and reported. Default: one second.
    #[prost(message, optional, tag = "7")]
    pub interval: ::core::option::Option<::prost_types::Duration>,
    /// Resource limits. The node's policy may set lower limits.
    #[prost(message, optional, tag = "8")]
    pub budget: ::core::option::Option<Budget>,
    /// Label columns to create in addition to those of the first targets, for labels of targets that are added later: "container".
    #[prost(string, repeated, tag = "9")]
    pub label_columns: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    /// Condition that rows must match: "latency > 10ms && comm == \"nginx\""; docs/filters.md has the language. Empty keeps all rows.
    /// An agent that applies it repeats it in Schema.filter and TraceStatus.filter; agents before version 0.3 ignore it and deliver all rows.
    #[prost(string, tag = "10")]
    pub filter: ::prost::alloc::string::String,
}
/// Resource limits of a trace. A trace that exceeds its CPU or event rate keeps a sample of its events. Account.sampled counts the omitted
/// events; counts and sums in tables are scaled up and become estimates. A trace that still exceeds its budget ends with "budget".
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Budget {
    /// Percent of one CPU, for the kernel programs and their reader; 0 is unlimited.
    #[prost(uint32, tag = "1")]
    pub cpu_percent: u32,
    /// Events of the first dataset delivered per second; 0 is unlimited.
    #[prost(uint64, tag = "2")]
    pub events_per_second: u64,
    /// Bytes of maps, ring buffer and queues. The size is computed before loading, and a trace that needs more is refused with a
    /// QuotaFailure. 0 is unlimited.
    #[prost(uint64, tag = "3")]
    pub memory_bytes: u64,
}
/// Target of a trace.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Target {
    /// Start time of a process target in clock ticks since boot: the 22nd field of /proc/PID/stat. A process that reuses the PID is then
    /// refused. 0 accepts any process.
    #[prost(uint64, tag = "6")]
    pub start_ticks: u64,
    /// Labels that are added to the rows of this target.
    #[prost(message, optional, tag = "7")]
    pub labels: ::core::option::Option<Labels>,
    /// For a container target: uid of the pod whose cgroup must contain the container. It requires a complete container id. Empty accepts
    /// any container of the node.
    #[prost(string, tag = "8")]
    pub pod_uid: ::prost::alloc::string::String,
    #[prost(oneof = "target::Target", tags = "1, 2, 3, 4, 5")]
    pub target: ::core::option::Option<target::Target>,
}
/// Nested message and enum types in `Target`.
pub mod target {
    #[derive(Clone, PartialEq, Eq, Hash, ::prost::Oneof)]
    pub enum Target {
        /// Process with its threads and children, by its PID in the node's PID namespace.
        #[prost(uint32, tag = "1")]
        Process(u32),
        /// Directory of a cgroup, v1 or v2, with everything below it. A relative path starts at the mount of cgroup v2.
        #[prost(string, tag = "2")]
        Cgroup(::prost::alloc::string::String),
        /// Container by id, or by the first characters of its id.
        #[prost(string, tag = "3")]
        Container(::prost::alloc::string::String),
        /// Everything on the node except the agent, where the node's policy allows it.
        #[prost(message, tag = "4")]
        Host(super::Host),
        /// Pod by the uid in the name of its cgroup: metadata.uid, or for a static pod the value of the annotation
        /// kubernetes.io/config.hash. A pod that does not exist yet is traced from its first instruction.
        #[prost(string, tag = "5")]
        Pod(::prost::alloc::string::String),
    }
}
/// Labels of a target, shown in columns of the same names. A column exists if any of the first targets has the label, or if
/// TraceSpec.label_columns names it. Each value is at most 253 letters, digits, '-', '_' and '.'.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Labels {
    #[prost(string, tag = "1")]
    pub node: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub namespace: ::prost::alloc::string::String,
    #[prost(string, tag = "3")]
    pub pod: ::prost::alloc::string::String,
    #[prost(string, tag = "4")]
    pub container: ::prost::alloc::string::String,
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Host {}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct StartTraceRequest {
    /// Name of the trace, chosen by the client: 1 to 63 letters, digits, '-', '_' and '.'.
    #[prost(string, tag = "1")]
    pub uid: ::prost::alloc::string::String,
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    #[prost(message, optional, tag = "3")]
    pub spec: ::core::option::Option<TraceSpec>,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct StartTraceResponse {
    #[prost(message, optional, tag = "1")]
    pub status: ::core::option::Option<TraceStatus>,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct UpdateTargetsRequest {
    #[prost(string, tag = "1")]
    pub uid: ::prost::alloc::string::String,
    /// Generation of the trace to change.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    #[prost(message, optional, tag = "3")]
    pub update: ::core::option::Option<Update>,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Update {
    /// Version of the update, which increases with each message. A version that is not newer than the applied one is refused. A client
    /// that retries thus learns that its first attempt arrived.
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// Changes, applied one by one. A failed change is listed in TraceStatus.target_failures; the other changes are applied.
    #[prost(message, repeated, tag = "2")]
    pub changes: ::prost::alloc::vec::Vec<Change>,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Change {
    #[prost(oneof = "change::Change", tags = "1, 2, 3")]
    pub change: ::core::option::Option<change::Change>,
}
/// Nested message and enum types in `Change`.
pub mod change {
    #[derive(Clone, PartialEq, ::prost::Oneof)]
    pub enum Change {
        /// Target to add. A target that is already selected gets the new labels.
        #[prost(message, tag = "1")]
        Add(super::Target),
        /// Target to remove. An unknown target is success.
        #[prost(message, tag = "2")]
        Remove(super::Target),
        /// Targets to keep: all others are removed. Targets in this list that are not selected yet are not added; use `add` for them.
        #[prost(message, tag = "3")]
        Only(super::Targets),
    }
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Targets {
    #[prost(message, repeated, tag = "1")]
    pub targets: ::prost::alloc::vec::Vec<Target>,
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct UpdateTargetsResponse {}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct StopTraceRequest {
    #[prost(string, tag = "1")]
    pub uid: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct StopTraceResponse {
    /// Absent for an unknown uid.
    #[prost(message, optional, tag = "1")]
    pub status: ::core::option::Option<TraceStatus>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct WatchTracesRequest {
    /// Uid of the trace to watch; empty watches all traces.
    #[prost(string, tag = "1")]
    pub uid: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct WatchTracesResponse {
    /// Traces that have changed. The first message holds all traces.
    #[prost(message, repeated, tag = "1")]
    pub traces: ::prost::alloc::vec::Vec<TraceStatus>,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct TraceStatus {
    #[prost(string, tag = "1")]
    pub uid: ::prost::alloc::string::String,
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    #[prost(string, tag = "3")]
    pub tracer: ::prost::alloc::string::String,
    #[prost(enumeration = "State", tag = "4")]
    pub state: i32,
    #[prost(message, optional, tag = "5")]
    pub account: ::core::option::Option<Account>,
    /// Error message; empty if the trace has not failed.
    #[prost(string, tag = "6")]
    pub message: ::prost::alloc::string::String,
    /// Reason for the failure, as one of the words in docs/grpc.md.
    #[prost(string, tag = "7")]
    pub reason: ::prost::alloc::string::String,
    /// Version of the newest applied target update; 0 before the first.
    #[prost(uint64, tag = "8")]
    pub targets_version: u64,
    /// Targets that the last start or update naming them could not select: the newest 32, or as many as fit into 16 KiB. A target that is
    /// added later is removed from the list.
    #[prost(message, repeated, tag = "9")]
    pub target_failures: ::prost::alloc::vec::Vec<TargetFailure>,
    /// Number of failed targets, including those that no longer fit into the list.
    #[prost(uint64, tag = "10")]
    pub targets_failed: u64,
    /// The condition that the agent applies, as in TraceSpec.filter; empty where it applies none.
    #[prost(string, tag = "11")]
    pub filter: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct TargetFailure {
    /// Version of the failed update; 0 is the start.
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// Target that failed; absent if the failure concerns no particular target.
    #[prost(message, optional, tag = "2")]
    pub target: ::core::option::Option<Target>,
    /// Reason as one of the words in docs/grpc.md.
    #[prost(string, tag = "3")]
    pub reason: ::prost::alloc::string::String,
    /// Error message.
    #[prost(string, tag = "4")]
    pub message: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct StreamEventsRequest {
    #[prost(string, tag = "1")]
    pub uid: ::prost::alloc::string::String,
    /// First sequence number to send; 0 starts at the oldest that the agent keeps.
    #[prost(uint64, tag = "2")]
    pub from_sequence: u64,
    /// Schema.instance of the trace that `from_sequence` belongs to. If the trace is a different one, the stream starts at its beginning.
    /// 0 accepts any instance.
    #[prost(fixed64, tag = "3")]
    pub instance: u64,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct StreamEventsResponse {
    /// Sequence number, which counts up by one from 1. The schema and gaps have none. Streams of several nodes have none.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// For a batch of events: number of rows of the first dataset before this batch.
    #[prost(uint64, tag = "7")]
    pub rows_before: u64,
    /// For a job: resume token. After a disconnect, a reader sends it to any replica to continue after this item.
    #[prost(bytes = "vec", tag = "8")]
    pub resume: ::prost::alloc::vec::Vec<u8>,
    #[prost(oneof = "stream_events_response::Item", tags = "2, 3, 4, 5, 6, 9, 10")]
    pub item: ::core::option::Option<stream_events_response::Item>,
}
/// Nested message and enum types in `StreamEventsResponse`.
pub mod stream_events_response {
    #[derive(Clone, PartialEq, ::prost::Oneof)]
    pub enum Item {
        /// Schema, always the first item.
        #[prost(message, tag = "2")]
        Schema(super::Schema),
        #[prost(message, tag = "3")]
        Batch(super::Batch),
        /// Events that the kernel or the agent lost, reported within a second.
        #[prost(message, tag = "4")]
        Lost(super::Lost),
        /// Items that this reader missed because it was too slow or requested items that are no longer kept.
        #[prost(message, tag = "5")]
        Gap(super::Gap),
        /// Account, always the last item.
        #[prost(message, tag = "6")]
        Account(super::Account),
        /// For a job: state of the nodes that have changed.
        #[prost(message, tag = "9")]
        Nodes(super::Nodes),
        /// Rows of a further dataset of the tracer. Clients that do not support this item show the first dataset only.
        #[prost(message, tag = "10")]
        Further(super::Further),
    }
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct TraceRequest {
    #[prost(oneof = "trace_request::Request", tags = "1, 2, 3")]
    pub request: ::core::option::Option<trace_request::Request>,
}
/// Nested message and enum types in `TraceRequest`.
pub mod trace_request {
    #[derive(Clone, PartialEq, ::prost::Oneof)]
    pub enum Request {
        /// Specification of the trace, in the first message only.
        #[prost(message, tag = "1")]
        Start(super::TraceSpec),
        #[prost(message, tag = "2")]
        Stop(super::Stop),
        #[prost(message, tag = "3")]
        Update(super::Update),
    }
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Stop {}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Schema {
    #[prost(string, tag = "1")]
    pub tracer: ::prost::alloc::string::String,
    /// Whether batches are tables. If true, a batch and its further parts hold the whole table so far and replace the previous table.
    /// If false, rows are events.
    #[prost(bool, tag = "2")]
    pub table: bool,
    #[prost(message, repeated, tag = "3")]
    pub columns: ::prost::alloc::vec::Vec<Column>,
    /// Identifies this run of the trace. Sequence numbers are valid within one instance. Never 0 for a trace, always 0 for a job.
    #[prost(fixed64, tag = "4")]
    pub instance: u64,
    /// Further datasets of the tracer. The fields above describe the first dataset, which has the tracer's name.
    #[prost(message, repeated, tag = "5")]
    pub further: ::prost::alloc::vec::Vec<Dataset>,
    /// The condition that the agent applies, as in TraceSpec.filter; empty where it applies none.
    #[prost(string, tag = "6")]
    pub filter: ::prost::alloc::string::String,
}
/// Further dataset of a tracer, with its own columns.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Dataset {
    /// Name of the dataset, unique within the tracer.
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub about: ::prost::alloc::string::String,
    /// Whether batches are tables, as in Schema.
    #[prost(bool, tag = "3")]
    pub table: bool,
    #[prost(message, repeated, tag = "4")]
    pub columns: ::prost::alloc::vec::Vec<Column>,
}
/// Batch of a further dataset.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Further {
    /// Index of the dataset in Schema.further, from 0.
    #[prost(uint32, tag = "1")]
    pub dataset: u32,
    /// Rows. The parts of a table follow each other, as in the first dataset.
    #[prost(message, optional, tag = "2")]
    pub batch: ::core::option::Option<Batch>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Column {
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub about: ::prost::alloc::string::String,
    /// Basic kind of the values, which clients of every version can show.
    #[prost(enumeration = "Kind", tag = "3")]
    pub kind: i32,
    #[prost(enumeration = "Role", tag = "4")]
    pub role: i32,
    /// Unit: "ns", "us", "bytes", "pages", "percent" or empty.
    #[prost(string, tag = "5")]
    pub unit: ::prost::alloc::string::String,
    /// Exact type of the values: "signal", "kernel_enum". docs/grpc.md lists the types. Clients that do not support the type use `kind`.
    /// Empty from agents before version 0.2.
    #[prost(string, tag = "6")]
    pub r#type: ::prost::alloc::string::String,
}
/// Rows, stored by column.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Batch {
    #[prost(uint32, tag = "1")]
    pub rows: u32,
    /// Values of each column, in the order of the schema.
    #[prost(message, repeated, tag = "2")]
    pub columns: ::prost::alloc::vec::Vec<Values>,
    /// Frames from agents before version 0.2. Stacks refer to them by index, from 0.
    #[prost(message, repeated, tag = "3")]
    pub frames: ::prost::alloc::vec::Vec<Frame>,
    /// Strings that `interned` refers to by index, from 0. Function names and paths have at most 512 bytes. The middle of a longer string is
    /// replaced by "…", 16 hexadecimal digits of a hash of the whole string, and "…".
    #[prost(string, repeated, tag = "4")]
    pub strings: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    /// Frames that stacks refer to by index, from 0.
    #[prost(message, optional, tag = "5")]
    pub interned: ::core::option::Option<Frames>,
    /// Index of this batch within its table, from 0. A table that does not fit into one message of about 256 KiB is sent as several
    /// consecutive batches. Receivers append their rows, strings and frames in this order; indexes refer to the combined lists.
    /// If earlier parts were not received, the whole table is lost.
    #[prost(uint32, tag = "6")]
    pub part: u32,
    /// Whether the next batch continues this table.
    #[prost(bool, tag = "7")]
    pub more: bool,
}
/// Frames, stored by column. All lists have the same length.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Frames {
    /// Indexes in Batch.strings: demangled function names.
    #[prost(uint32, repeated, tag = "1")]
    pub names: ::prost::alloc::vec::Vec<u32>,
    /// Indexes in Batch.strings: path of the binary that contains the function, as the process sees it, or "\[kernel\]".
    #[prost(uint32, repeated, tag = "2")]
    pub modules: ::prost::alloc::vec::Vec<u32>,
    /// Offsets from the start of the function, or from the start of the module if the name is unknown.
    #[prost(uint64, repeated, tag = "3")]
    pub offsets: ::prost::alloc::vec::Vec<u64>,
    /// Indexes in Batch.strings: source files; the empty string if unknown.
    #[prost(uint32, repeated, tag = "4")]
    pub files: ::prost::alloc::vec::Vec<u32>,
    /// Lines in the source files; 0 if unknown.
    #[prost(uint32, repeated, tag = "5")]
    pub lines: ::prost::alloc::vec::Vec<u32>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Values {
    #[prost(oneof = "values::Values", tags = "1, 2, 3, 4, 5")]
    pub values: ::core::option::Option<values::Values>,
}
/// Nested message and enum types in `Values`.
pub mod values {
    #[derive(Clone, PartialEq, Eq, Hash, ::prost::Oneof)]
    pub enum Values {
        #[prost(message, tag = "1")]
        Unsigned(super::Unsigned),
        #[prost(message, tag = "2")]
        Signed(super::Signed),
        #[prost(message, tag = "3")]
        Bytes(super::Bytes),
        #[prost(message, tag = "4")]
        Lists(super::Lists),
        #[prost(message, tag = "5")]
        Stacks(super::Stacks),
    }
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Unsigned {
    #[prost(uint64, repeated, tag = "1")]
    pub values: ::prost::alloc::vec::Vec<u64>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Signed {
    #[prost(sint64, repeated, tag = "1")]
    pub values: ::prost::alloc::vec::Vec<i64>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Bytes {
    /// End of each row's bytes in `data`.
    #[prost(uint32, repeated, tag = "1")]
    pub ends: ::prost::alloc::vec::Vec<u32>,
    #[prost(bytes = "bytes", tag = "2")]
    pub data: ::prost::bytes::Bytes,
    /// Indexes of rows whose value was truncated, in order.
    #[prost(uint32, repeated, tag = "3")]
    pub cut: ::prost::alloc::vec::Vec<u32>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Lists {
    /// End of each row's list in `values`.
    #[prost(uint32, repeated, tag = "1")]
    pub ends: ::prost::alloc::vec::Vec<u32>,
    #[prost(uint64, repeated, tag = "2")]
    pub values: ::prost::alloc::vec::Vec<u64>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Stacks {
    /// End of each row's stack in `frames`.
    #[prost(uint32, repeated, tag = "1")]
    pub ends: ::prost::alloc::vec::Vec<u32>,
    /// Indexes in Batch.interned, innermost first; in Batch.frames if `interned` is empty.
    #[prost(uint32, repeated, tag = "2")]
    pub frames: ::prost::alloc::vec::Vec<u32>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Frame {
    /// Demangled function name; empty if unknown.
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub module: ::prost::alloc::string::String,
    /// Offsets from the start of the function, or from the start of the module if the name is unknown.
    #[prost(uint64, tag = "3")]
    pub offset: u64,
    #[prost(string, tag = "4")]
    pub file: ::prost::alloc::string::String,
    #[prost(uint32, tag = "5")]
    pub line: u32,
}
/// Events lost since the previous Lost message, or since the start.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Lost {
    #[prost(message, repeated, tag = "1")]
    pub stages: ::prost::alloc::vec::Vec<Stage>,
    /// Program runs that the kernel skipped. Up to this many further events may be missing.
    #[prost(uint64, tag = "2")]
    pub missed_runs: u64,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Stage {
    /// Stage of the loss: "ring_full", "map_full", "unreadable", "busy", "over_quota", "malformed"
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(uint64, tag = "2")]
    pub events: u64,
}
/// Range of items that this reader missed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Gap {
    #[prost(uint64, tag = "1")]
    pub first_sequence: u64,
    #[prost(uint64, tag = "2")]
    pub last_sequence: u64,
    /// Number of rows of the first dataset in the range; absent if the agent no longer has the number.
    #[prost(uint64, optional, tag = "3")]
    pub rows: ::core::option::Option<u64>,
}
/// Account of a trace. After the end, produced = delivered + filtered + beyond_limit + sampled + the sum of lost, exactly.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Account {
    #[prost(uint64, tag = "1")]
    pub produced: u64,
    #[prost(uint64, tag = "2")]
    pub delivered: u64,
    #[prost(uint64, tag = "3")]
    pub beyond_limit: u64,
    /// Events lost by stage, including stages without a loss.
    #[prost(message, repeated, tag = "4")]
    pub lost: ::prost::alloc::vec::Vec<Stage>,
    #[prost(uint64, tag = "5")]
    pub missed_runs: u64,
    #[prost(uint64, tag = "6")]
    pub stacks_missing: u64,
    /// Whether it is certain that no event is missing.
    #[prost(bool, tag = "7")]
    pub complete: bool,
    #[prost(message, optional, tag = "8")]
    pub elapsed: ::core::option::Option<::prost_types::Duration>,
    #[prost(message, optional, tag = "9")]
    pub cost: ::core::option::Option<Cost>,
    /// Reason for the end: "duration", "max_events", "target_gone", "stopped", "budget". Empty while the trace runs.
    #[prost(string, tag = "10")]
    pub ended: ::prost::alloc::string::String,
    /// Events omitted by sampling to stay within the budget.
    #[prost(uint64, tag = "11")]
    pub sampled: u64,
    /// For a job: accounts of its nodes. The fields of the job's account are the sums.
    #[prost(message, repeated, tag = "12")]
    pub nodes: ::prost::alloc::vec::Vec<NodeAccount>,
    /// For a job: rows that this reader missed, because it was too slow or connected too late.
    #[prost(uint64, tag = "13")]
    pub missed_rows: u64,
    /// For a job: rows that arrived out of order, from slow nodes or nodes with a different clock.
    #[prost(uint64, tag = "14")]
    pub late_rows: u64,
    /// Stacks that are deeper than the recorded part. Their events are otherwise complete.
    #[prost(uint64, tag = "15")]
    pub stacks_truncated: u64,
    /// Descriptions of the parts of the selection that are not traced, at most 8: functions of a file that could not be attached to, or that
    /// were attached to late.
    #[prost(string, repeated, tag = "16")]
    pub untraced: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    /// Number of parts of the selection that are not traced.
    #[prost(uint64, tag = "17")]
    pub untraced_count: u64,
    /// Events that the filter excluded.
    #[prost(uint64, tag = "18")]
    pub filtered: u64,
    /// Quality of the user stacks; absent if no row has one.
    #[prost(message, optional, tag = "19")]
    pub user_stacks: ::core::option::Option<UserStacks>,
    /// Stacks that were to be unwound from a copy, and were not, or not up to their outermost frame. Their events are otherwise complete.
    #[prost(uint64, tag = "20")]
    pub stacks_not_unwound: u64,
}
/// Numbers of delivered events by the user stacks of their rows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct UserStacks {
    #[prost(uint64, tag = "1")]
    pub delivered: u64,
    /// Stacks with the maximum depth.
    #[prost(uint64, tag = "2")]
    pub truncated: u64,
    /// Stacks without frames: of kernel threads, and stacks that found no room.
    #[prost(uint64, tag = "3")]
    pub empty: u64,
    /// Stacks with one or two frames. Many of them hint at programs that were built without frame pointers.
    #[prost(uint64, tag = "4")]
    pub short: u64,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Nodes {
    #[prost(message, repeated, tag = "1")]
    pub nodes: ::prost::alloc::vec::Vec<NodeAccount>,
}
/// State of a job on one node.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct NodeAccount {
    #[prost(string, tag = "1")]
    pub node: ::prost::alloc::string::String,
    #[prost(enumeration = "NodeState", tag = "2")]
    pub state: i32,
    /// Account of the node, as far as known.
    #[prost(message, optional, tag = "3")]
    pub account: ::core::option::Option<Account>,
    /// Reason for a failure as one word; empty if there is none.
    #[prost(string, tag = "4")]
    pub reason: ::prost::alloc::string::String,
    /// Description of the failure; empty if there is none.
    #[prost(string, tag = "5")]
    pub message: ::prost::alloc::string::String,
}
#[derive(Clone, Copy, PartialEq, ::prost::Message)]
pub struct Cost {
    /// CPU time of the kernel programs; absent if the kernel does not report it.
    #[prost(message, optional, tag = "1")]
    pub bpf: ::core::option::Option<::prost_types::Duration>,
    /// CPU time of the reader.
    #[prost(message, optional, tag = "2")]
    pub reader: ::core::option::Option<::prost_types::Duration>,
    /// Bytes of maps, ring buffer and programs in the kernel.
    #[prost(uint64, tag = "3")]
    pub kernel_bytes: u64,
    /// Runs of the kernel programs.
    #[prost(uint64, tag = "4")]
    pub bpf_runs: u64,
    /// Fraction of the time in which CPU time and runs were measured, 0 to 1. Both are scaled up from this sample.
    #[prost(double, tag = "5")]
    pub bpf_measured: f64,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum State {
    Unspecified = 0,
    /// The kernel verifies the programs.
    Starting = 1,
    Running = 2,
    /// The trace has ended normally. Account.ended holds the reason.
    Ended = 3,
    /// The trace has failed.
    Failed = 4,
}
impl State {
    /// String value of the enum field names used in the ProtoBuf definition.
    ///
    /// The values are not transformed in any way and thus are considered stable
    /// (if the ProtoBuf definition does not change) and safe for programmatic use.
    pub fn as_str_name(&self) -> &'static str {
        match self {
            Self::Unspecified => "STATE_UNSPECIFIED",
            Self::Starting => "STATE_STARTING",
            Self::Running => "STATE_RUNNING",
            Self::Ended => "STATE_ENDED",
            Self::Failed => "STATE_FAILED",
        }
    }
    /// Creates an enum from field names used in the ProtoBuf definition.
    pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
        match value {
            "STATE_UNSPECIFIED" => Some(Self::Unspecified),
            "STATE_STARTING" => Some(Self::Starting),
            "STATE_RUNNING" => Some(Self::Running),
            "STATE_ENDED" => Some(Self::Ended),
            "STATE_FAILED" => Some(Self::Failed),
            _ => None,
        }
    }
}
/// Kind of a column's values, and the field of Values that holds them. The list is closed: newer types are named by `Column.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    Unspecified = 0,
    /// unsigned
    Unsigned = 1,
    /// signed
    Signed = 2,
    /// unsigned: 0 is no, 1 is yes, 2 is not known
    Bool = 3,
    /// unsigned: ns since 1970
    Time = 4,
    /// bytes: often UTF-8, never certainly
    Text = 5,
    /// bytes: a path
    Path = 6,
    /// bytes: arguments, each ended by a zero byte
    Args = 7,
    /// bytes: 4 or 16
    Ip = 8,
    /// bytes: a system call's name
    Syscall = 9,
    /// signed: what a call returned, below 0 an errno
    Outcome = 10,
    /// unsigned: a mode, usually shown in octal
    Octal = 11,
    /// bytes: names joined by '|'
    Flags = 12,
    /// stacks
    Stack = 13,
    /// lists: bucket i counts values from 2^i to 2^(i+1)-1, bucket 0 also 0
    Log2 = 14,
    /// lists: errno, count, errno, count …; errno 0 is all others
    Errors = 15,
}
impl Kind {
    /// String value of the enum field names used in the ProtoBuf definition.
    ///
    /// The values are not transformed in any way and thus are considered stable
    /// (if the ProtoBuf definition does not change) and safe for programmatic use.
    pub fn as_str_name(&self) -> &'static str {
        match self {
            Self::Unspecified => "KIND_UNSPECIFIED",
            Self::Unsigned => "KIND_UNSIGNED",
            Self::Signed => "KIND_SIGNED",
            Self::Bool => "KIND_BOOL",
            Self::Time => "KIND_TIME",
            Self::Text => "KIND_TEXT",
            Self::Path => "KIND_PATH",
            Self::Args => "KIND_ARGS",
            Self::Ip => "KIND_IP",
            Self::Syscall => "KIND_SYSCALL",
            Self::Outcome => "KIND_OUTCOME",
            Self::Octal => "KIND_OCTAL",
            Self::Flags => "KIND_FLAGS",
            Self::Stack => "KIND_STACK",
            Self::Log2 => "KIND_LOG2",
            Self::Errors => "KIND_ERRORS",
        }
    }
    /// Creates an enum from field names used in the ProtoBuf definition.
    pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
        match value {
            "KIND_UNSPECIFIED" => Some(Self::Unspecified),
            "KIND_UNSIGNED" => Some(Self::Unsigned),
            "KIND_SIGNED" => Some(Self::Signed),
            "KIND_BOOL" => Some(Self::Bool),
            "KIND_TIME" => Some(Self::Time),
            "KIND_TEXT" => Some(Self::Text),
            "KIND_PATH" => Some(Self::Path),
            "KIND_ARGS" => Some(Self::Args),
            "KIND_IP" => Some(Self::Ip),
            "KIND_SYSCALL" => Some(Self::Syscall),
            "KIND_OUTCOME" => Some(Self::Outcome),
            "KIND_OCTAL" => Some(Self::Octal),
            "KIND_FLAGS" => Some(Self::Flags),
            "KIND_STACK" => Some(Self::Stack),
            "KIND_LOG2" => Some(Self::Log2),
            "KIND_ERRORS" => Some(Self::Errors),
            _ => None,
        }
    }
}
/// Rule that merges rows with equal keys, over intervals and over nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum Role {
    /// Value of a single event; not merged.
    Unspecified = 0,
    Key = 1,
    /// Number of events in a row; added.
    Count = 2,
    Sum = 3,
    Max = 4,
    Min = 5,
    Last = 6,
    /// Histogram; buckets are added.
    Histogram = 7,
    /// Current value that goes up and down. A newer table replaces the value. Values are added when rows of one table, or of the tables of
    /// several nodes, are merged.
    Gauge = 8,
}
impl Role {
    /// String value of the enum field names used in the ProtoBuf definition.
    ///
    /// The values are not transformed in any way and thus are considered stable
    /// (if the ProtoBuf definition does not change) and safe for programmatic use.
    pub fn as_str_name(&self) -> &'static str {
        match self {
            Self::Unspecified => "ROLE_UNSPECIFIED",
            Self::Key => "ROLE_KEY",
            Self::Count => "ROLE_COUNT",
            Self::Sum => "ROLE_SUM",
            Self::Max => "ROLE_MAX",
            Self::Min => "ROLE_MIN",
            Self::Last => "ROLE_LAST",
            Self::Histogram => "ROLE_HISTOGRAM",
            Self::Gauge => "ROLE_GAUGE",
        }
    }
    /// Creates an enum from field names used in the ProtoBuf definition.
    pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
        match value {
            "ROLE_UNSPECIFIED" => Some(Self::Unspecified),
            "ROLE_KEY" => Some(Self::Key),
            "ROLE_COUNT" => Some(Self::Count),
            "ROLE_SUM" => Some(Self::Sum),
            "ROLE_MAX" => Some(Self::Max),
            "ROLE_MIN" => Some(Self::Min),
            "ROLE_LAST" => Some(Self::Last),
            "ROLE_HISTOGRAM" => Some(Self::Histogram),
            "ROLE_GAUGE" => Some(Self::Gauge),
            _ => None,
        }
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum NodeState {
    Unspecified = 0,
    /// The node sends rows.
    Running = 1,
    /// The trace has ended with an account.
    Ended = 2,
    /// The agent no longer responds, or has restarted. The account covers the rows received so far.
    Left = 3,
    /// The node should run the job, but the gateway never received anything from it.
    Unreached = 4,
}
impl NodeState {
    /// String value of the enum field names used in the ProtoBuf definition.
    ///
    /// The values are not transformed in any way and thus are considered stable
    /// (if the ProtoBuf definition does not change) and safe for programmatic use.
    pub fn as_str_name(&self) -> &'static str {
        match self {
            Self::Unspecified => "NODE_STATE_UNSPECIFIED",
            Self::Running => "NODE_STATE_RUNNING",
            Self::Ended => "NODE_STATE_ENDED",
            Self::Left => "NODE_STATE_LEFT",
            Self::Unreached => "NODE_STATE_UNREACHED",
        }
    }
    /// Creates an enum from field names used in the ProtoBuf definition.
    pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
        match value {
            "NODE_STATE_UNSPECIFIED" => Some(Self::Unspecified),
            "NODE_STATE_RUNNING" => Some(Self::Running),
            "NODE_STATE_ENDED" => Some(Self::Ended),
            "NODE_STATE_LEFT" => Some(Self::Left),
            "NODE_STATE_UNREACHED" => Some(Self::Unreached),
            _ => None,
        }
    }
}
/// Generated client implementations.
pub mod agent_client {
    #![allow(
        unused_variables,
        dead_code,
        missing_docs,
        clippy::wildcard_imports,
        clippy::let_unit_value,
    )]
    use tonic::codegen::*;
    use tonic::codegen::http::Uri;
    #[derive(Debug, Clone)]
    pub struct AgentClient<T> {
        inner: tonic::client::Grpc<T>,
    }
    impl<T> AgentClient<T>
    where
        T: tonic::client::GrpcService<tonic::body::Body>,
        T::Error: Into<StdError>,
        T::ResponseBody: Body<Data = Bytes> + std::marker::Send + 'static,
        <T::ResponseBody as Body>::Error: Into<StdError> + std::marker::Send,
    {
        pub fn new(inner: T) -> Self {
            let inner = tonic::client::Grpc::new(inner);
            Self { inner }
        }
        pub fn with_origin(inner: T, origin: Uri) -> Self {
            let inner = tonic::client::Grpc::with_origin(inner, origin);
            Self { inner }
        }
        pub fn with_interceptor<F>(
            inner: T,
            interceptor: F,
        ) -> AgentClient<InterceptedService<T, F>>
        where
            F: tonic::service::Interceptor,
            T::ResponseBody: Default,
            T: tonic::codegen::Service<
                http::Request<tonic::body::Body>,
                Response = http::Response<
                    <T as tonic::client::GrpcService<tonic::body::Body>>::ResponseBody,
                >,
            >,
            <T as tonic::codegen::Service<
                http::Request<tonic::body::Body>,
            >>::Error: Into<StdError> + std::marker::Send + std::marker::Sync,
        {
            AgentClient::new(InterceptedService::new(inner, interceptor))
        }
        /// Compress requests with the given encoding.
        ///
        /// This requires the server to support it otherwise it might respond with an
        /// error.
        #[must_use]
        pub fn send_compressed(mut self, encoding: CompressionEncoding) -> Self {
            self.inner = self.inner.send_compressed(encoding);
            self
        }
        /// Enable decompressing responses.
        #[must_use]
        pub fn accept_compressed(mut self, encoding: CompressionEncoding) -> Self {
            self.inner = self.inner.accept_compressed(encoding);
            self
        }
        /// Limits the maximum size of a decoded message.
        ///
        /// Default: `4MB`
        #[must_use]
        pub fn max_decoding_message_size(mut self, limit: usize) -> Self {
            self.inner = self.inner.max_decoding_message_size(limit);
            self
        }
        /// Limits the maximum size of an encoded message.
        ///
        /// Default: `usize::MAX`
        #[must_use]
        pub fn max_encoding_message_size(mut self, limit: usize) -> Self {
            self.inner = self.inner.max_encoding_message_size(limit);
            self
        }
        /// Returns the tracers of this node, with the reasons why tracers are unavailable.
        pub async fn get_capabilities(
            &mut self,
            request: impl tonic::IntoRequest<super::GetCapabilitiesRequest>,
        ) -> std::result::Result<
            tonic::Response<super::GetCapabilitiesResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/tracejob.v1.Agent/GetCapabilities",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("tracejob.v1.Agent", "GetCapabilities"));
            self.inner.unary(req, path, codec).await
        }
        /// Starts a trace. A call with the same uid and generation as a known trace succeeds and changes nothing. A newer generation replaces
        /// the trace. An older generation is refused, and so is the uid of another caller's trace. Targets that do not exist are listed in
        /// TraceStatus.target_failures; the other targets are traced.
        pub async fn start_trace(
            &mut self,
            request: impl tonic::IntoRequest<super::StartTraceRequest>,
        ) -> std::result::Result<
            tonic::Response<super::StartTraceResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/tracejob.v1.Agent/StartTrace",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("tracejob.v1.Agent", "StartTrace"));
            self.inner.unary(req, path, codec).await
        }
        /// Changes the targets of traces while they run, as containers start and stop. Messages are applied in order, each as a whole.
        /// Targets that the policy denies are listed in TraceStatus.target_failures, and the other targets are changed. If the policy denies all
        /// targets of a message, the call is refused. WatchTraces reports the applied versions. The response follows the client's last message.
        pub async fn update_targets(
            &mut self,
            request: impl tonic::IntoStreamingRequest<
                Message = super::UpdateTargetsRequest,
            >,
        ) -> std::result::Result<
            tonic::Response<super::UpdateTargetsResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/tracejob.v1.Agent/UpdateTargets",
            );
            let mut req = request.into_streaming_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("tracejob.v1.Agent", "UpdateTargets"));
            self.inner.client_streaming(req, path, codec).await
        }
        /// Ends a trace. Its rows stay readable for the agent's keep time. An unknown uid is success. The caller that started a trace may end
        /// it, and so may root on the node's unix socket.
        pub async fn stop_trace(
            &mut self,
            request: impl tonic::IntoRequest<super::StopTraceRequest>,
        ) -> std::result::Result<
            tonic::Response<super::StopTraceResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/tracejob.v1.Agent/StopTrace",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("tracejob.v1.Agent", "StopTrace"));
            self.inner.unary(req, path, codec).await
        }
        /// Streams the state of every trace, then each change, and counts at an interval.
        pub async fn watch_traces(
            &mut self,
            request: impl tonic::IntoRequest<super::WatchTracesRequest>,
        ) -> std::result::Result<
            tonic::Response<tonic::codec::Streaming<super::WatchTracesResponse>>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/tracejob.v1.Agent/WatchTraces",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("tracejob.v1.Agent", "WatchTraces"));
            self.inner.server_streaming(req, path, codec).await
        }
        /// Streams the schema of a trace, then its rows, and finally its account.
        pub async fn stream_events(
            &mut self,
            request: impl tonic::IntoRequest<super::StreamEventsRequest>,
        ) -> std::result::Result<
            tonic::Response<tonic::codec::Streaming<super::StreamEventsResponse>>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/tracejob.v1.Agent/StreamEvents",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("tracejob.v1.Agent", "StreamEvents"));
            self.inner.server_streaming(req, path, codec).await
        }
        /// Runs one trace within one call. The first message starts the trace; later messages may change its targets or stop it. The response
        /// stream carries the rows. The trace ends with the call, or when its last target ends; pods as targets do not end a trace.
        /// The call is refused if a target of the first message does not exist.
        pub async fn trace(
            &mut self,
            request: impl tonic::IntoStreamingRequest<Message = super::TraceRequest>,
        ) -> std::result::Result<
            tonic::Response<tonic::codec::Streaming<super::StreamEventsResponse>>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static("/tracejob.v1.Agent/Trace");
            let mut req = request.into_streaming_request();
            req.extensions_mut().insert(GrpcMethod::new("tracejob.v1.Agent", "Trace"));
            self.inner.streaming(req, path, codec).await
        }
    }
}
/// Generated server implementations.
pub mod agent_server {
    #![allow(
        unused_variables,
        dead_code,
        missing_docs,
        clippy::wildcard_imports,
        clippy::let_unit_value,
    )]
    use tonic::codegen::*;
    /// Generated trait containing gRPC methods that should be implemented for use with AgentServer.
    #[async_trait]
    pub trait Agent: std::marker::Send + std::marker::Sync + 'static {
        /// Returns the tracers of this node, with the reasons why tracers are unavailable.
        async fn get_capabilities(
            &self,
            request: tonic::Request<super::GetCapabilitiesRequest>,
        ) -> std::result::Result<
            tonic::Response<super::GetCapabilitiesResponse>,
            tonic::Status,
        >;
        /// Starts a trace. A call with the same uid and generation as a known trace succeeds and changes nothing. A newer generation replaces
        /// the trace. An older generation is refused, and so is the uid of another caller's trace. Targets that do not exist are listed in
        /// TraceStatus.target_failures; the other targets are traced.
        async fn start_trace(
            &self,
            request: tonic::Request<super::StartTraceRequest>,
        ) -> std::result::Result<
            tonic::Response<super::StartTraceResponse>,
            tonic::Status,
        >;
        /// Changes the targets of traces while they run, as containers start and stop. Messages are applied in order, each as a whole.
        /// Targets that the policy denies are listed in TraceStatus.target_failures, and the other targets are changed. If the policy denies all
        /// targets of a message, the call is refused. WatchTraces reports the applied versions. The response follows the client's last message.
        async fn update_targets(
            &self,
            request: tonic::Request<tonic::Streaming<super::UpdateTargetsRequest>>,
        ) -> std::result::Result<
            tonic::Response<super::UpdateTargetsResponse>,
            tonic::Status,
        >;
        /// Ends a trace. Its rows stay readable for the agent's keep time. An unknown uid is success. The caller that started a trace may end
        /// it, and so may root on the node's unix socket.
        async fn stop_trace(
            &self,
            request: tonic::Request<super::StopTraceRequest>,
        ) -> std::result::Result<
            tonic::Response<super::StopTraceResponse>,
            tonic::Status,
        >;
        /// Server streaming response type for the WatchTraces method.
        type WatchTracesStream: tonic::codegen::tokio_stream::Stream<
                Item = std::result::Result<super::WatchTracesResponse, tonic::Status>,
            >
            + std::marker::Send
            + 'static;
        /// Streams the state of every trace, then each change, and counts at an interval.
        async fn watch_traces(
            &self,
            request: tonic::Request<super::WatchTracesRequest>,
        ) -> std::result::Result<
            tonic::Response<Self::WatchTracesStream>,
            tonic::Status,
        >;
        /// Server streaming response type for the StreamEvents method.
        type StreamEventsStream: tonic::codegen::tokio_stream::Stream<
                Item = std::result::Result<super::StreamEventsResponse, tonic::Status>,
            >
            + std::marker::Send
            + 'static;
        /// Streams the schema of a trace, then its rows, and finally its account.
        async fn stream_events(
            &self,
            request: tonic::Request<super::StreamEventsRequest>,
        ) -> std::result::Result<
            tonic::Response<Self::StreamEventsStream>,
            tonic::Status,
        >;
        /// Server streaming response type for the Trace method.
        type TraceStream: tonic::codegen::tokio_stream::Stream<
                Item = std::result::Result<super::StreamEventsResponse, tonic::Status>,
            >
            + std::marker::Send
            + 'static;
        /// Runs one trace within one call. The first message starts the trace; later messages may change its targets or stop it. The response
        /// stream carries the rows. The trace ends with the call, or when its last target ends; pods as targets do not end a trace.
        /// The call is refused if a target of the first message does not exist.
        async fn trace(
            &self,
            request: tonic::Request<tonic::Streaming<super::TraceRequest>>,
        ) -> std::result::Result<tonic::Response<Self::TraceStream>, tonic::Status>;
    }
    #[derive(Debug)]
    pub struct AgentServer<T> {
        inner: Arc<T>,
        accept_compression_encodings: EnabledCompressionEncodings,
        send_compression_encodings: EnabledCompressionEncodings,
        max_decoding_message_size: Option<usize>,
        max_encoding_message_size: Option<usize>,
    }
    impl<T> AgentServer<T> {
        pub fn new(inner: T) -> Self {
            Self::from_arc(Arc::new(inner))
        }
        pub fn from_arc(inner: Arc<T>) -> Self {
            Self {
                inner,
                accept_compression_encodings: Default::default(),
                send_compression_encodings: Default::default(),
                max_decoding_message_size: None,
                max_encoding_message_size: None,
            }
        }
        pub fn with_interceptor<F>(
            inner: T,
            interceptor: F,
        ) -> InterceptedService<Self, F>
        where
            F: tonic::service::Interceptor,
        {
            InterceptedService::new(Self::new(inner), interceptor)
        }
        /// Enable decompressing requests with the given encoding.
        #[must_use]
        pub fn accept_compressed(mut self, encoding: CompressionEncoding) -> Self {
            self.accept_compression_encodings.enable(encoding);
            self
        }
        /// Compress responses with the given encoding, if the client supports it.
        #[must_use]
        pub fn send_compressed(mut self, encoding: CompressionEncoding) -> Self {
            self.send_compression_encodings.enable(encoding);
            self
        }
        /// Limits the maximum size of a decoded message.
        ///
        /// Default: `4MB`
        #[must_use]
        pub fn max_decoding_message_size(mut self, limit: usize) -> Self {
            self.max_decoding_message_size = Some(limit);
            self
        }
        /// Limits the maximum size of an encoded message.
        ///
        /// Default: `usize::MAX`
        #[must_use]
        pub fn max_encoding_message_size(mut self, limit: usize) -> Self {
            self.max_encoding_message_size = Some(limit);
            self
        }
    }
    impl<T, B> tonic::codegen::Service<http::Request<B>> for AgentServer<T>
    where
        T: Agent,
        B: Body + std::marker::Send + 'static,
        B::Error: Into<StdError> + std::marker::Send + 'static,
    {
        type Response = http::Response<tonic::body::Body>;
        type Error = std::convert::Infallible;
        type Future = BoxFuture<Self::Response, Self::Error>;
        fn poll_ready(
            &mut self,
            _cx: &mut Context<'_>,
        ) -> Poll<std::result::Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, req: http::Request<B>) -> Self::Future {
            match req.uri().path() {
                "/tracejob.v1.Agent/GetCapabilities" => {
                    #[allow(non_camel_case_types)]
                    struct GetCapabilitiesSvc<T: Agent>(pub Arc<T>);
                    impl<
                        T: Agent,
                    > tonic::server::UnaryService<super::GetCapabilitiesRequest>
                    for GetCapabilitiesSvc<T> {
                        type Response = super::GetCapabilitiesResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::GetCapabilitiesRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as Agent>::get_capabilities(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = GetCapabilitiesSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.unary(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/tracejob.v1.Agent/StartTrace" => {
                    #[allow(non_camel_case_types)]
                    struct StartTraceSvc<T: Agent>(pub Arc<T>);
                    impl<T: Agent> tonic::server::UnaryService<super::StartTraceRequest>
                    for StartTraceSvc<T> {
                        type Response = super::StartTraceResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::StartTraceRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as Agent>::start_trace(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = StartTraceSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.unary(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/tracejob.v1.Agent/UpdateTargets" => {
                    #[allow(non_camel_case_types)]
                    struct UpdateTargetsSvc<T: Agent>(pub Arc<T>);
                    impl<
                        T: Agent,
                    > tonic::server::ClientStreamingService<super::UpdateTargetsRequest>
                    for UpdateTargetsSvc<T> {
                        type Response = super::UpdateTargetsResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<
                                tonic::Streaming<super::UpdateTargetsRequest>,
                            >,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as Agent>::update_targets(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = UpdateTargetsSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.client_streaming(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/tracejob.v1.Agent/StopTrace" => {
                    #[allow(non_camel_case_types)]
                    struct StopTraceSvc<T: Agent>(pub Arc<T>);
                    impl<T: Agent> tonic::server::UnaryService<super::StopTraceRequest>
                    for StopTraceSvc<T> {
                        type Response = super::StopTraceResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::StopTraceRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as Agent>::stop_trace(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = StopTraceSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.unary(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/tracejob.v1.Agent/WatchTraces" => {
                    #[allow(non_camel_case_types)]
                    struct WatchTracesSvc<T: Agent>(pub Arc<T>);
                    impl<
                        T: Agent,
                    > tonic::server::ServerStreamingService<super::WatchTracesRequest>
                    for WatchTracesSvc<T> {
                        type Response = super::WatchTracesResponse;
                        type ResponseStream = T::WatchTracesStream;
                        type Future = BoxFuture<
                            tonic::Response<Self::ResponseStream>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::WatchTracesRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as Agent>::watch_traces(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = WatchTracesSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.server_streaming(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/tracejob.v1.Agent/StreamEvents" => {
                    #[allow(non_camel_case_types)]
                    struct StreamEventsSvc<T: Agent>(pub Arc<T>);
                    impl<
                        T: Agent,
                    > tonic::server::ServerStreamingService<super::StreamEventsRequest>
                    for StreamEventsSvc<T> {
                        type Response = super::StreamEventsResponse;
                        type ResponseStream = T::StreamEventsStream;
                        type Future = BoxFuture<
                            tonic::Response<Self::ResponseStream>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::StreamEventsRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as Agent>::stream_events(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = StreamEventsSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.server_streaming(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/tracejob.v1.Agent/Trace" => {
                    #[allow(non_camel_case_types)]
                    struct TraceSvc<T: Agent>(pub Arc<T>);
                    impl<T: Agent> tonic::server::StreamingService<super::TraceRequest>
                    for TraceSvc<T> {
                        type Response = super::StreamEventsResponse;
                        type ResponseStream = T::TraceStream;
                        type Future = BoxFuture<
                            tonic::Response<Self::ResponseStream>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<
                                tonic::Streaming<super::TraceRequest>,
                            >,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as Agent>::trace(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = TraceSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.streaming(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                _ => {
                    Box::pin(async move {
                        let mut response = http::Response::new(
                            tonic::body::Body::default(),
                        );
                        let headers = response.headers_mut();
                        headers
                            .insert(
                                tonic::Status::GRPC_STATUS,
                                (tonic::Code::Unimplemented as i32).into(),
                            );
                        headers
                            .insert(
                                http::header::CONTENT_TYPE,
                                tonic::metadata::GRPC_CONTENT_TYPE,
                            );
                        Ok(response)
                    })
                }
            }
        }
    }
    impl<T> Clone for AgentServer<T> {
        fn clone(&self) -> Self {
            let inner = self.inner.clone();
            Self {
                inner,
                accept_compression_encodings: self.accept_compression_encodings,
                send_compression_encodings: self.send_compression_encodings,
                max_decoding_message_size: self.max_decoding_message_size,
                max_encoding_message_size: self.max_encoding_message_size,
            }
        }
    }
    /// Generated gRPC service name
    pub const SERVICE_NAME: &str = "tracejob.v1.Agent";
    impl<T> tonic::server::NamedService for AgentServer<T> {
        const NAME: &'static str = SERVICE_NAME;
    }
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct StreamJobEventsRequest {
    /// Namespace of the TraceJob; empty for a ClusterTraceJob.
    #[prost(string, tag = "1")]
    pub namespace: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub name: ::prost::alloc::string::String,
    /// Nodes to read from; empty is all nodes.
    #[prost(string, repeated, tag = "3")]
    pub nodes: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    /// Interval between tables. Default: one second.
    #[prost(message, optional, tag = "4")]
    pub interval: ::core::option::Option<::prost_types::Duration>,
    /// Number of rows after which the stream ends; 0 is unlimited.
    #[prost(uint64, tag = "5")]
    pub limit: u64,
    /// Resume token: the last StreamEventsResponse.resume that the reader received.
    #[prost(bytes = "vec", tag = "6")]
    pub resume: ::prost::alloc::vec::Vec<u8>,
    /// Key columns of a table to group by. Rows that differ only in other key columns are merged. Empty is all key columns.
    #[prost(string, repeated, tag = "7")]
    pub by: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    /// Whether the stream ends after the rows available now, without waiting for more.
    #[prost(bool, tag = "8")]
    pub no_follow: bool,
}
/// Generated client implementations.
pub mod jobs_client {
    #![allow(
        unused_variables,
        dead_code,
        missing_docs,
        clippy::wildcard_imports,
        clippy::let_unit_value,
    )]
    use tonic::codegen::*;
    use tonic::codegen::http::Uri;
    #[derive(Debug, Clone)]
    pub struct JobsClient<T> {
        inner: tonic::client::Grpc<T>,
    }
    impl<T> JobsClient<T>
    where
        T: tonic::client::GrpcService<tonic::body::Body>,
        T::Error: Into<StdError>,
        T::ResponseBody: Body<Data = Bytes> + std::marker::Send + 'static,
        <T::ResponseBody as Body>::Error: Into<StdError> + std::marker::Send,
    {
        pub fn new(inner: T) -> Self {
            let inner = tonic::client::Grpc::new(inner);
            Self { inner }
        }
        pub fn with_origin(inner: T, origin: Uri) -> Self {
            let inner = tonic::client::Grpc::with_origin(inner, origin);
            Self { inner }
        }
        pub fn with_interceptor<F>(
            inner: T,
            interceptor: F,
        ) -> JobsClient<InterceptedService<T, F>>
        where
            F: tonic::service::Interceptor,
            T::ResponseBody: Default,
            T: tonic::codegen::Service<
                http::Request<tonic::body::Body>,
                Response = http::Response<
                    <T as tonic::client::GrpcService<tonic::body::Body>>::ResponseBody,
                >,
            >,
            <T as tonic::codegen::Service<
                http::Request<tonic::body::Body>,
            >>::Error: Into<StdError> + std::marker::Send + std::marker::Sync,
        {
            JobsClient::new(InterceptedService::new(inner, interceptor))
        }
        /// Compress requests with the given encoding.
        ///
        /// This requires the server to support it otherwise it might respond with an
        /// error.
        #[must_use]
        pub fn send_compressed(mut self, encoding: CompressionEncoding) -> Self {
            self.inner = self.inner.send_compressed(encoding);
            self
        }
        /// Enable decompressing responses.
        #[must_use]
        pub fn accept_compressed(mut self, encoding: CompressionEncoding) -> Self {
            self.inner = self.inner.accept_compressed(encoding);
            self
        }
        /// Limits the maximum size of a decoded message.
        ///
        /// Default: `4MB`
        #[must_use]
        pub fn max_decoding_message_size(mut self, limit: usize) -> Self {
            self.inner = self.inner.max_decoding_message_size(limit);
            self
        }
        /// Limits the maximum size of an encoded message.
        ///
        /// Default: `usize::MAX`
        #[must_use]
        pub fn max_encoding_message_size(mut self, limit: usize) -> Self {
            self.inner = self.inner.max_encoding_message_size(limit);
            self
        }
        /// Streams the schema, then rows, and finally the account of the job with the accounts of its nodes. Events are ordered by time. Tables
        /// are merged over all nodes and sent at each interval.
        pub async fn stream_events(
            &mut self,
            request: impl tonic::IntoRequest<super::StreamJobEventsRequest>,
        ) -> std::result::Result<
            tonic::Response<tonic::codec::Streaming<super::StreamEventsResponse>>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/tracejob.v1.Jobs/StreamEvents",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("tracejob.v1.Jobs", "StreamEvents"));
            self.inner.server_streaming(req, path, codec).await
        }
    }
}
/// Generated server implementations.
pub mod jobs_server {
    #![allow(
        unused_variables,
        dead_code,
        missing_docs,
        clippy::wildcard_imports,
        clippy::let_unit_value,
    )]
    use tonic::codegen::*;
    /// Generated trait containing gRPC methods that should be implemented for use with JobsServer.
    #[async_trait]
    pub trait Jobs: std::marker::Send + std::marker::Sync + 'static {
        /// Server streaming response type for the StreamEvents method.
        type StreamEventsStream: tonic::codegen::tokio_stream::Stream<
                Item = std::result::Result<super::StreamEventsResponse, tonic::Status>,
            >
            + std::marker::Send
            + 'static;
        /// Streams the schema, then rows, and finally the account of the job with the accounts of its nodes. Events are ordered by time. Tables
        /// are merged over all nodes and sent at each interval.
        async fn stream_events(
            &self,
            request: tonic::Request<super::StreamJobEventsRequest>,
        ) -> std::result::Result<
            tonic::Response<Self::StreamEventsStream>,
            tonic::Status,
        >;
    }
    #[derive(Debug)]
    pub struct JobsServer<T> {
        inner: Arc<T>,
        accept_compression_encodings: EnabledCompressionEncodings,
        send_compression_encodings: EnabledCompressionEncodings,
        max_decoding_message_size: Option<usize>,
        max_encoding_message_size: Option<usize>,
    }
    impl<T> JobsServer<T> {
        pub fn new(inner: T) -> Self {
            Self::from_arc(Arc::new(inner))
        }
        pub fn from_arc(inner: Arc<T>) -> Self {
            Self {
                inner,
                accept_compression_encodings: Default::default(),
                send_compression_encodings: Default::default(),
                max_decoding_message_size: None,
                max_encoding_message_size: None,
            }
        }
        pub fn with_interceptor<F>(
            inner: T,
            interceptor: F,
        ) -> InterceptedService<Self, F>
        where
            F: tonic::service::Interceptor,
        {
            InterceptedService::new(Self::new(inner), interceptor)
        }
        /// Enable decompressing requests with the given encoding.
        #[must_use]
        pub fn accept_compressed(mut self, encoding: CompressionEncoding) -> Self {
            self.accept_compression_encodings.enable(encoding);
            self
        }
        /// Compress responses with the given encoding, if the client supports it.
        #[must_use]
        pub fn send_compressed(mut self, encoding: CompressionEncoding) -> Self {
            self.send_compression_encodings.enable(encoding);
            self
        }
        /// Limits the maximum size of a decoded message.
        ///
        /// Default: `4MB`
        #[must_use]
        pub fn max_decoding_message_size(mut self, limit: usize) -> Self {
            self.max_decoding_message_size = Some(limit);
            self
        }
        /// Limits the maximum size of an encoded message.
        ///
        /// Default: `usize::MAX`
        #[must_use]
        pub fn max_encoding_message_size(mut self, limit: usize) -> Self {
            self.max_encoding_message_size = Some(limit);
            self
        }
    }
    impl<T, B> tonic::codegen::Service<http::Request<B>> for JobsServer<T>
    where
        T: Jobs,
        B: Body + std::marker::Send + 'static,
        B::Error: Into<StdError> + std::marker::Send + 'static,
    {
        type Response = http::Response<tonic::body::Body>;
        type Error = std::convert::Infallible;
        type Future = BoxFuture<Self::Response, Self::Error>;
        fn poll_ready(
            &mut self,
            _cx: &mut Context<'_>,
        ) -> Poll<std::result::Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, req: http::Request<B>) -> Self::Future {
            match req.uri().path() {
                "/tracejob.v1.Jobs/StreamEvents" => {
                    #[allow(non_camel_case_types)]
                    struct StreamEventsSvc<T: Jobs>(pub Arc<T>);
                    impl<
                        T: Jobs,
                    > tonic::server::ServerStreamingService<
                        super::StreamJobEventsRequest,
                    > for StreamEventsSvc<T> {
                        type Response = super::StreamEventsResponse;
                        type ResponseStream = T::StreamEventsStream;
                        type Future = BoxFuture<
                            tonic::Response<Self::ResponseStream>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::StreamJobEventsRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as Jobs>::stream_events(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = StreamEventsSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.server_streaming(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                _ => {
                    Box::pin(async move {
                        let mut response = http::Response::new(
                            tonic::body::Body::default(),
                        );
                        let headers = response.headers_mut();
                        headers
                            .insert(
                                tonic::Status::GRPC_STATUS,
                                (tonic::Code::Unimplemented as i32).into(),
                            );
                        headers
                            .insert(
                                http::header::CONTENT_TYPE,
                                tonic::metadata::GRPC_CONTENT_TYPE,
                            );
                        Ok(response)
                    })
                }
            }
        }
    }
    impl<T> Clone for JobsServer<T> {
        fn clone(&self) -> Self {
            let inner = self.inner.clone();
            Self {
                inner,
                accept_compression_encodings: self.accept_compression_encodings,
                send_compression_encodings: self.send_compression_encodings,
                max_decoding_message_size: self.max_decoding_message_size,
                max_encoding_message_size: self.max_encoding_message_size,
            }
        }
    }
    /// Generated gRPC service name
    pub const SERVICE_NAME: &str = "tracejob.v1.Jobs";
    impl<T> tonic::server::NamedService for JobsServer<T> {
        const NAME: &'static str = SERVICE_NAME;
    }
}
