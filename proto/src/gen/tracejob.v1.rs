// Generated from proto/tracejob/v1/jobs.proto by `cargo xtask codegen`. Do not edit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct GetCapabilitiesRequest {}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct GetCapabilitiesResponse {
    /// As uname(2) says it.
    #[prost(string, tag = "1")]
    pub kernel_release: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub agent_version: ::prost::alloc::string::String,
    #[prost(message, repeated, tag = "3")]
    pub tracers: ::prost::alloc::vec::Vec<Tracer>,
    /// What tracing depends on there, checked one by one.
    #[prost(message, repeated, tag = "4")]
    pub checks: ::prost::alloc::vec::Vec<Check>,
}
/// One thing that was checked.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Check {
    /// "cgroups"
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    /// "ok"; "limited": something works less well without it; "missing": nothing works without it.
    #[prost(string, tag = "2")]
    pub verdict: ::prost::alloc::string::String,
    /// What was found.
    #[prost(string, tag = "3")]
    pub detail: ::prost::alloc::string::String,
    /// What to do; empty where nothing is to be done.
    #[prost(string, tag = "4")]
    pub remedy: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Tracer {
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub about: ::prost::alloc::string::String,
    /// Why it does not work here, or what the node's policy says against it; empty where it works.
    #[prost(string, tag = "3")]
    pub unsupported: ::prost::alloc::string::String,
    /// Where it attaches here: "raw_tp sys_enter".
    #[prost(string, repeated, tag = "4")]
    pub hooks: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    #[prost(message, repeated, tag = "5")]
    pub options: ::prost::alloc::vec::Vec<Option>,
    #[prost(message, optional, tag = "6")]
    pub schema: ::core::option::Option<Schema>,
    /// What to do where it does not work; empty where nothing can be done.
    #[prost(string, tag = "7")]
    pub remedy: ::prost::alloc::string::String,
    /// The needs of the tracer in one line; `requirements` has them one by one.
    #[prost(string, tag = "8")]
    pub needs: ::prost::alloc::string::String,
    /// What it reveals or changes: "observe", "payload", "memory" or "act". A node allows tracers by class (policy.classes).
    #[prost(string, tag = "9")]
    pub class: ::prost::alloc::string::String,
    /// What it needs of the agent and of the kernel, one by one.
    #[prost(message, repeated, tag = "10")]
    pub requirements: ::prost::alloc::vec::Vec<Requirement>,
}
/// A capability or a feature of the kernel that a tracer needs.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Requirement {
    /// "CAP_SYSLOG", "fentry"
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    /// Whether the tracer does not work without it. Otherwise its rows lack what `reason` names.
    #[prost(bool, tag = "2")]
    pub required: bool,
    /// What it is for: "names of kernel functions".
    #[prost(string, tag = "3")]
    pub reason: ::prost::alloc::string::String,
    /// Whether it is there.
    #[prost(bool, tag = "4")]
    pub met: bool,
    /// How to get it; empty where it is there.
    #[prost(string, tag = "5")]
    pub remedy: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Option {
    /// As in TraceSpec.options: "failedOnly".
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub about: ::prost::alloc::string::String,
    #[prost(message, optional, tag = "3")]
    pub r#type: ::core::option::Option<OptionType>,
    /// The value where none is given, as in TraceSpec.options; absent where that is nothing.
    #[prost(message, optional, tag = "4")]
    pub default: ::core::option::Option<::prost_types::Value>,
    /// A trace without it is refused.
    #[prost(bool, tag = "5")]
    pub required: bool,
}
/// What an option takes.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct OptionType {
    /// "flag": true or false. "number": a whole number. "duration": "10ms". "size": "64KiB". "text". "choice": one of a few words.
    /// "list": several values of one type. Newer agents may have others.
    #[prost(string, tag = "1")]
    pub kind: ::prost::alloc::string::String,
    /// Of a number: "ns", "bytes", "events"; empty where it has no unit.
    #[prost(string, tag = "2")]
    pub unit: ::prost::alloc::string::String,
    /// Of a number, of a duration in nanoseconds, of a size in bytes: the least and the most.
    #[prost(uint64, optional, tag = "3")]
    pub minimum: ::core::option::Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    pub maximum: ::core::option::Option<u64>,
    /// Of a choice.
    #[prost(message, repeated, tag = "5")]
    pub choices: ::prost::alloc::vec::Vec<Choice>,
    /// Of a text: the most bytes of its UTF-8.
    #[prost(uint32, tag = "6")]
    pub max_bytes: u32,
    /// Of a list: the most items, and the type of each.
    #[prost(uint32, tag = "7")]
    pub max_items: u32,
    #[prost(message, optional, boxed, tag = "8")]
    pub items: ::core::option::Option<::prost::alloc::boxed::Box<OptionType>>,
}
/// One of the words of a choice.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Choice {
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub about: ::prost::alloc::string::String,
}
/// A trace to start.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct TraceSpec {
    /// "tcp_connect"
    #[prost(string, tag = "1")]
    pub tracer: ::prost::alloc::string::String,
    /// {"port": 443, "failedOnly": true, "minLatencyNs": 10000000}: each as its Option.type says. Flags are true or false. Numbers are whole,
    /// in the unit that the option has. A Struct's number is a double: it is exact up to 2^53, and larger ones are refused. Texts are read
    /// as on the command line: any number ("18446744073709551615"), durations ("10ms") and sizes ("64KiB"). A duration may also be a number
    /// of nanoseconds, and a size one of bytes.
    #[prost(message, optional, tag = "2")]
    pub options: ::core::option::Option<::prost_types::Struct>,
    /// Whom to trace: each adds to the selection. Never empty.
    #[prost(message, repeated, tag = "3")]
    pub targets: ::prost::alloc::vec::Vec<Target>,
    /// When the agent ends it, also if nobody is there any more. Without it the node's longest applies.
    #[prost(message, optional, tag = "4")]
    pub duration: ::core::option::Option<::prost_types::Duration>,
    /// Ends it after this many events of the first dataset; 0 is no end.
    #[prost(uint64, tag = "5")]
    pub max_events: u64,
    /// Bytes of the ring between kernel and agent; 0 is 2 MiB.
    #[prost(uint64, tag = "6")]
    pub ring_bytes: u64,
    /// How often counts are read and told; without it every second.
    #[prost(message, optional, tag = "7")]
    pub interval: ::core::option::Option<::prost_types::Duration>,
    /// What it may cost at most; the node's policy may allow less.
    #[prost(message, optional, tag = "8")]
    pub budget: ::core::option::Option<Budget>,
    /// Columns of labels that targets will have which come later, beside those that the first ones have: "container".
    #[prost(string, repeated, tag = "9")]
    pub label_columns: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    /// Condition that rows must match: "latency > 10ms && comm == \"nginx\""; docs/filters.md has the language. Empty keeps all rows.
    /// An agent that applies it repeats it in Schema.filter and TraceStatus.filter; agents before version 0.3 ignore it and deliver all rows.
    #[prost(string, tag = "10")]
    pub filter: ::prost::alloc::string::String,
}
/// A trace that costs more keeps one of every few events (Account.sampled says how many it left out; counts and sums of tables make up for
/// them, and are estimates then). One that costs too much all the same ends, with "budget".
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Budget {
    /// Of one CPU, for its kernel programs and its reader; 0 is no bound.
    #[prost(uint32, tag = "1")]
    pub cpu_percent: u32,
    /// Delivered each second, of the first dataset; 0 is no bound.
    #[prost(uint64, tag = "2")]
    pub events_per_second: u64,
    /// Of its maps, its ring and its queues, known before it is loaded: more is refused with a QuotaFailure. 0 is no bound.
    #[prost(uint64, tag = "3")]
    pub memory_bytes: u64,
}
/// Whom to trace.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Target {
    /// Of a process: when it began, in clock ticks since boot, the 22nd field of /proc/PID/stat.
    /// Another process that has its number by now is then refused. 0 is any.
    #[prost(uint64, tag = "6")]
    pub start_ticks: u64,
    /// What its rows say besides.
    #[prost(message, optional, tag = "7")]
    pub labels: ::core::option::Option<Labels>,
    /// Of a container: the uid of the pod in whose cgroup it must be. The container's id is whole then. Empty is any container of the node.
    #[prost(string, tag = "8")]
    pub pod_uid: ::prost::alloc::string::String,
    #[prost(oneof = "target::Target", tags = "1, 2, 3, 4, 5")]
    pub target: ::core::option::Option<target::Target>,
}
/// Nested message and enum types in `Target`.
pub mod target {
    #[derive(Clone, PartialEq, Eq, Hash, ::prost::Oneof)]
    pub enum Target {
        /// A process with its threads and children, as the node numbers it.
        #[prost(uint32, tag = "1")]
        Process(u32),
        /// A cgroup's directory, of version 2 or 1, and everything below it; a relative path starts at the mount of version 2.
        #[prost(string, tag = "2")]
        Cgroup(::prost::alloc::string::String),
        /// A container by id, whole or the first characters of it.
        #[prost(string, tag = "3")]
        Container(::prost::alloc::string::String),
        /// Everything on the node but the agent, where the node's policy allows that.
        #[prost(message, tag = "4")]
        Host(super::Host),
        /// A pod by the uid in the name of its cgroup: its metadata.uid; of a static pod the value of the annotation
        /// kubernetes.io/config.hash. One that does not exist yet is traced from its first instruction.
        #[prost(string, tag = "5")]
        Pod(::prost::alloc::string::String),
    }
}
/// Become columns of these names, those that any of the first targets has or TraceSpec.label_columns names: at most 253 letters, digits, '-', '_' and '.' each.
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
    /// The client's own name for it: 1 to 63 letters, digits, '-', '_' and '.'.
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
    /// That of the trace that is meant.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    #[prost(message, optional, tag = "3")]
    pub update: ::core::option::Option<Update>,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Update {
    /// Grows with each message. One that is not newer than what is applied is refused: a client that sends again learns that it has arrived.
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// Done one by one; one that fails is told in TraceStatus.target_failures, and the others are done.
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
        /// From now on. A target that is there already gets the new labels.
        #[prost(message, tag = "1")]
        Add(super::Target),
        /// No longer. One that is not there is success.
        #[prost(message, tag = "2")]
        Remove(super::Target),
        /// No others than these from now on; those of them that are not there yet are to be added besides.
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
    /// Only this one; empty is all.
    #[prost(string, tag = "1")]
    pub uid: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct WatchTracesResponse {
    /// Those that have changed; at first all.
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
    /// Why it failed, for people; empty where it did not.
    #[prost(string, tag = "6")]
    pub message: ::prost::alloc::string::String,
    /// The same as a word of Reason.
    #[prost(string, tag = "7")]
    pub reason: ::prost::alloc::string::String,
    /// Of the newest update of its targets that is applied; 0 before the first.
    #[prost(uint64, tag = "8")]
    pub targets_version: u64,
    /// Targets that could not be selected when they were last named, by the start or by an update; the newest 32, or as many as 16 KiB hold.
    /// A target that is added later leaves the list.
    #[prost(message, repeated, tag = "9")]
    pub target_failures: ::prost::alloc::vec::Vec<TargetFailure>,
    /// How many these are, with those that are not in the list any more.
    #[prost(uint64, tag = "10")]
    pub targets_failed: u64,
    /// The condition that the agent applies, as in TraceSpec.filter; empty where it applies none.
    #[prost(string, tag = "11")]
    pub filter: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct TargetFailure {
    /// The update that failed; 0 is the start.
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// Absent where the failure concerns no target in particular.
    #[prost(message, optional, tag = "2")]
    pub target: ::core::option::Option<Target>,
    /// A word of Reason.
    #[prost(string, tag = "3")]
    pub reason: ::prost::alloc::string::String,
    /// For people.
    #[prost(string, tag = "4")]
    pub message: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct StreamEventsRequest {
    #[prost(string, tag = "1")]
    pub uid: ::prost::alloc::string::String,
    /// The first sequence number that is wanted; 0 is the oldest that is kept.
    #[prost(uint64, tag = "2")]
    pub from_sequence: u64,
    /// The trace that this is a sequence number of, as Schema.instance said it: another one begins with its first. 0 is whichever it is.
    #[prost(fixed64, tag = "3")]
    pub instance: u64,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct StreamEventsResponse {
    /// Counts up by one from 1. The schema and a gap have none, and nothing has that comes from several nodes.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// Of a batch of events: rows of its first dataset before it.
    #[prost(uint64, tag = "7")]
    pub rows_before: u64,
    /// Of a job: where a reader that is cut off after this goes on, by any replica.
    #[prost(bytes = "vec", tag = "8")]
    pub resume: ::prost::alloc::vec::Vec<u8>,
    #[prost(oneof = "stream_events_response::Item", tags = "2, 3, 4, 5, 6, 9, 10")]
    pub item: ::core::option::Option<stream_events_response::Item>,
}
/// Nested message and enum types in `StreamEventsResponse`.
pub mod stream_events_response {
    #[derive(Clone, PartialEq, ::prost::Oneof)]
    pub enum Item {
        /// First of all.
        #[prost(message, tag = "2")]
        Schema(super::Schema),
        #[prost(message, tag = "3")]
        Batch(super::Batch),
        /// The kernel or the agent lost events, told within a second of it.
        #[prost(message, tag = "4")]
        Lost(super::Lost),
        /// This reader was too slow, or asked for more than is kept.
        #[prost(message, tag = "5")]
        Gap(super::Gap),
        /// Last of all.
        #[prost(message, tag = "6")]
        Account(super::Account),
        /// Of a job: how far its nodes are; those of which something new is known.
        #[prost(message, tag = "9")]
        Nodes(super::Nodes),
        /// Rows of a further dataset of the tracer. A client that does not know this item sees the first dataset alone.
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
        /// The first message.
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
    /// Whether each batch, with the further batches of the same table, is the whole table so far, which replaces the one before;
    /// otherwise its rows are events.
    #[prost(bool, tag = "2")]
    pub table: bool,
    #[prost(message, repeated, tag = "3")]
    pub columns: ::prost::alloc::vec::Vec<Column>,
    /// One number for the trace as long as it runs: sequence numbers of another mean nothing. Never 0; of a job it is 0.
    #[prost(fixed64, tag = "4")]
    pub instance: u64,
    /// The tracer's further datasets. What is above is of its first, whose name is the tracer's.
    #[prost(message, repeated, tag = "5")]
    pub further: ::prost::alloc::vec::Vec<Dataset>,
    /// The condition that the agent applies, as in TraceSpec.filter; empty where it applies none.
    #[prost(string, tag = "6")]
    pub filter: ::prost::alloc::string::String,
}
/// Other rows of the same tracer, with columns of their own.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Dataset {
    /// No other dataset of the tracer has it.
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub about: ::prost::alloc::string::String,
    /// As in Schema.
    #[prost(bool, tag = "3")]
    pub table: bool,
    #[prost(message, repeated, tag = "4")]
    pub columns: ::prost::alloc::vec::Vec<Column>,
}
/// A batch of a further dataset.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Further {
    /// The dataset's place in Schema.further, from 0.
    #[prost(uint32, tag = "1")]
    pub dataset: u32,
    /// The parts of a table follow each other as those of the first dataset do.
    #[prost(message, optional, tag = "2")]
    pub batch: ::core::option::Option<Batch>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Column {
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub about: ::prost::alloc::string::String,
    /// The basic form of the values, which clients of every version can show.
    #[prost(enumeration = "Kind", tag = "3")]
    pub kind: i32,
    #[prost(enumeration = "Role", tag = "4")]
    pub role: i32,
    /// "ns", "us", "bytes", "pages", "percent" or nothing.
    #[prost(string, tag = "5")]
    pub unit: ::prost::alloc::string::String,
    /// The name of what the values are, more exactly than `kind`: "signal", "kernel_enum". docs/grpc.md lists the names.
    /// A client that does not know the name goes by `kind`. Empty from agents before version 0.2.
    #[prost(string, tag = "6")]
    pub r#type: ::prost::alloc::string::String,
}
/// Rows by columns.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Batch {
    #[prost(uint32, tag = "1")]
    pub rows: u32,
    /// In the order of the schema.
    #[prost(message, repeated, tag = "2")]
    pub columns: ::prost::alloc::vec::Vec<Values>,
    /// Frames as agents before version 0.2 send them; stacks refer to them by their place in this list, from 0.
    #[prost(message, repeated, tag = "3")]
    pub frames: ::prost::alloc::vec::Vec<Frame>,
    /// Texts that `interned` refers to by their place in this list, from 0. A function's name or a path has at most 512 bytes:
    /// of a longer one the middle is replaced by "…", 16 hexadecimal digits of a hash of all of it, and "…".
    #[prost(string, repeated, tag = "4")]
    pub strings: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    /// The frames that stacks refer to by their place, from 0.
    #[prost(message, optional, tag = "5")]
    pub interned: ::core::option::Option<Frames>,
    /// A table that does not fit into one message of about 256 KiB is several batches, one after the other.
    /// Their rows, their strings and their frames are appended in this order, and stacks and frames refer to places in the whole.
    /// Number of this batch within its table, from 0. A batch whose predecessors were not received is part of a table that is lost.
    #[prost(uint32, tag = "6")]
    pub part: u32,
    /// Whether the table continues in the next batch.
    #[prost(bool, tag = "7")]
    pub more: bool,
}
/// Frames by columns, all of the same length.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Frames {
    /// Places in Batch.strings: the name as in the source, demangled.
    #[prost(uint32, repeated, tag = "1")]
    pub names: ::prost::alloc::vec::Vec<u32>,
    /// Places in Batch.strings: the file that the function lies in, as the process sees it, or "\[kernel\]".
    #[prost(uint32, repeated, tag = "2")]
    pub modules: ::prost::alloc::vec::Vec<u32>,
    /// From the beginning of the function, or of the module where there is no name.
    #[prost(uint64, repeated, tag = "3")]
    pub offsets: ::prost::alloc::vec::Vec<u64>,
    /// Places in Batch.strings: the source file; an empty text where it is not known.
    #[prost(uint32, repeated, tag = "4")]
    pub files: ::prost::alloc::vec::Vec<u32>,
    /// Lines in the source file; 0 where they are not known.
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
    /// Where each row's bytes end in data.
    #[prost(uint32, repeated, tag = "1")]
    pub ends: ::prost::alloc::vec::Vec<u32>,
    #[prost(bytes = "bytes", tag = "2")]
    pub data: ::prost::bytes::Bytes,
    /// Rows, in order, of which there was more.
    #[prost(uint32, repeated, tag = "3")]
    pub cut: ::prost::alloc::vec::Vec<u32>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Lists {
    /// Where each row's list ends in values.
    #[prost(uint32, repeated, tag = "1")]
    pub ends: ::prost::alloc::vec::Vec<u32>,
    #[prost(uint64, repeated, tag = "2")]
    pub values: ::prost::alloc::vec::Vec<u64>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Stacks {
    /// Where each row's stack ends in frames.
    #[prost(uint32, repeated, tag = "1")]
    pub ends: ::prost::alloc::vec::Vec<u32>,
    /// Places in Batch.interned, innermost first; in Batch.frames where that one is empty.
    #[prost(uint32, repeated, tag = "2")]
    pub frames: ::prost::alloc::vec::Vec<u32>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Frame {
    /// As in the source, demangled; empty where it is not known.
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub module: ::prost::alloc::string::String,
    /// From the beginning of the function, or of the module where there is no name.
    #[prost(uint64, tag = "3")]
    pub offset: u64,
    #[prost(string, tag = "4")]
    pub file: ::prost::alloc::string::String,
    #[prost(uint32, tag = "5")]
    pub line: u32,
}
/// Events that were lost since the last Lost, or since the start.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Lost {
    #[prost(message, repeated, tag = "1")]
    pub stages: ::prost::alloc::vec::Vec<Stage>,
    /// Runs of programs that the kernel skipped: at most so many events more.
    #[prost(uint64, tag = "2")]
    pub missed_runs: u64,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Stage {
    /// "ring_full", "map_full", "unreadable", "busy", "over_quota", "malformed"
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(uint64, tag = "2")]
    pub events: u64,
}
/// What this reader does not get any more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Gap {
    #[prost(uint64, tag = "1")]
    pub first_sequence: u64,
    #[prost(uint64, tag = "2")]
    pub last_sequence: u64,
    /// Rows of the first dataset in them; absent where the agent no longer knows.
    #[prost(uint64, optional, tag = "3")]
    pub rows: ::core::option::Option<u64>,
}
/// produced = delivered + filtered + beyond_limit + sampled + all of lost, exactly, when a trace has ended.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Account {
    #[prost(uint64, tag = "1")]
    pub produced: u64,
    #[prost(uint64, tag = "2")]
    pub delivered: u64,
    #[prost(uint64, tag = "3")]
    pub beyond_limit: u64,
    /// All stages, those without a loss too.
    #[prost(message, repeated, tag = "4")]
    pub lost: ::prost::alloc::vec::Vec<Stage>,
    #[prost(uint64, tag = "5")]
    pub missed_runs: u64,
    #[prost(uint64, tag = "6")]
    pub stacks_missing: u64,
    /// Nothing is missing, for certain.
    #[prost(bool, tag = "7")]
    pub complete: bool,
    #[prost(message, optional, tag = "8")]
    pub elapsed: ::core::option::Option<::prost_types::Duration>,
    #[prost(message, optional, tag = "9")]
    pub cost: ::core::option::Option<Cost>,
    /// Why it ended: "duration", "max_events", "target_gone", "stopped", "budget"; empty while it runs.
    #[prost(string, tag = "10")]
    pub ended: ::prost::alloc::string::String,
    /// Left out so that it kept to its budget.
    #[prost(uint64, tag = "11")]
    pub sampled: u64,
    /// Of a job: the same of each of its nodes, which these are the sums of.
    #[prost(message, repeated, tag = "12")]
    pub nodes: ::prost::alloc::vec::Vec<NodeAccount>,
    /// Of a job: rows that this reader did not get, because it was too slow or came too late.
    #[prost(uint64, tag = "13")]
    pub missed_rows: u64,
    /// Of a job: rows that came after a later one: their nodes were slow, or have other clocks.
    #[prost(uint64, tag = "14")]
    pub late_rows: u64,
    /// Stacks that are deeper than they are recorded; nothing else of their events is missing.
    #[prost(uint64, tag = "15")]
    pub stacks_truncated: u64,
    /// Parts of the selection that are not traced, in words: functions of a file that cannot be attached to, or were attached to late. The first 8.
    #[prost(string, repeated, tag = "16")]
    pub untraced: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    /// Number of these parts.
    #[prost(uint64, tag = "17")]
    pub untraced_count: u64,
    /// Events whose rows did not match the filter.
    #[prost(uint64, tag = "18")]
    pub filtered: u64,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Nodes {
    #[prost(message, repeated, tag = "1")]
    pub nodes: ::prost::alloc::vec::Vec<NodeAccount>,
}
/// What is known of a job on one node.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct NodeAccount {
    #[prost(string, tag = "1")]
    pub node: ::prost::alloc::string::String,
    #[prost(enumeration = "NodeState", tag = "2")]
    pub state: i32,
    /// Its books, as far as they are known.
    #[prost(message, optional, tag = "3")]
    pub account: ::core::option::Option<Account>,
    /// A word, and what happened, for people; empty where all is well.
    #[prost(string, tag = "4")]
    pub reason: ::prost::alloc::string::String,
    #[prost(string, tag = "5")]
    pub message: ::prost::alloc::string::String,
}
#[derive(Clone, Copy, PartialEq, ::prost::Message)]
pub struct Cost {
    /// CPU time of its kernel programs; absent where the kernel does not tell.
    #[prost(message, optional, tag = "1")]
    pub bpf: ::core::option::Option<::prost_types::Duration>,
    /// CPU time of its reader.
    #[prost(message, optional, tag = "2")]
    pub reader: ::core::option::Option<::prost_types::Duration>,
    /// Maps, ring and programs.
    #[prost(uint64, tag = "3")]
    pub kernel_bytes: u64,
    /// Runs of its kernel programs.
    #[prost(uint64, tag = "4")]
    pub bpf_runs: u64,
    /// The part of the time in which these two were measured, 0 to 1; they are scaled up from it.
    #[prost(double, tag = "5")]
    pub bpf_measured: f64,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum State {
    Unspecified = 0,
    /// The kernel is looking at its programs.
    Starting = 1,
    Running = 2,
    /// As it should: its account says why.
    Ended = 3,
    /// Reading it failed.
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
/// What a column's values are, and where in Values they are. Nothing is added here: `Column.type` names what is newer.
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
/// How rows of equal keys merge: over intervals, and over nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum Role {
    /// An event's own value.
    Unspecified = 0,
    Key = 1,
    /// The number of events in a row; added up.
    Count = 2,
    Sum = 3,
    Max = 4,
    Min = 5,
    Last = 6,
    /// Buckets, added up.
    Histogram = 7,
    /// A current value, which goes up and down. A newer table's replaces it; it adds up where rows of one table, or of several nodes'
    /// tables, become one.
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
    /// Its rows come.
    Running = 1,
    /// With an account.
    Ended = 2,
    /// Its agent does not answer any more, or was started anew: its account is what was seen of it.
    Left = 3,
    /// It should run the job, and nothing was ever seen of it.
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
        /// What this node can trace, and what it cannot and why.
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
        /// Starts a trace. The same uid and generation again is success and changes nothing; a newer generation replaces the trace;
        /// an older one is refused, and so is another caller's. A target that is not there is in TraceStatus.target_failures, and the others are traced.
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
        /// Changes whom traces select, as containers come and go: each message is applied as a whole, in their order, when it comes.
        /// A target that the policy denies is in TraceStatus.target_failures, and the others are changed; where it denies all, the call is refused.
        /// What is applied shows in WatchTraces. The answer comes when the client has no more to send.
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
        /// Ends a trace; what it saw stays readable for a while. An unknown uid is success. Whoever started a trace may end it, and root on
        /// the node's unix socket.
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
        /// The state of every trace, then each change of it, and its counts at an interval.
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
        /// A trace's schema, then its rows, and at last its account.
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
        /// One trace in one call: the first message starts it, later ones may change its targets or stop it, its rows come back.
        /// It ends with the call, and with the last of its targets; a pod is none that ends.
        /// A target of the first message that is not there refuses the call.
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
        /// What this node can trace, and what it cannot and why.
        async fn get_capabilities(
            &self,
            request: tonic::Request<super::GetCapabilitiesRequest>,
        ) -> std::result::Result<
            tonic::Response<super::GetCapabilitiesResponse>,
            tonic::Status,
        >;
        /// Starts a trace. The same uid and generation again is success and changes nothing; a newer generation replaces the trace;
        /// an older one is refused, and so is another caller's. A target that is not there is in TraceStatus.target_failures, and the others are traced.
        async fn start_trace(
            &self,
            request: tonic::Request<super::StartTraceRequest>,
        ) -> std::result::Result<
            tonic::Response<super::StartTraceResponse>,
            tonic::Status,
        >;
        /// Changes whom traces select, as containers come and go: each message is applied as a whole, in their order, when it comes.
        /// A target that the policy denies is in TraceStatus.target_failures, and the others are changed; where it denies all, the call is refused.
        /// What is applied shows in WatchTraces. The answer comes when the client has no more to send.
        async fn update_targets(
            &self,
            request: tonic::Request<tonic::Streaming<super::UpdateTargetsRequest>>,
        ) -> std::result::Result<
            tonic::Response<super::UpdateTargetsResponse>,
            tonic::Status,
        >;
        /// Ends a trace; what it saw stays readable for a while. An unknown uid is success. Whoever started a trace may end it, and root on
        /// the node's unix socket.
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
        /// The state of every trace, then each change of it, and its counts at an interval.
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
        /// A trace's schema, then its rows, and at last its account.
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
        /// One trace in one call: the first message starts it, later ones may change its targets or stop it, its rows come back.
        /// It ends with the call, and with the last of its targets; a pod is none that ends.
        /// A target of the first message that is not there refuses the call.
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
    /// Empty for a ClusterTraceJob.
    #[prost(string, tag = "1")]
    pub namespace: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub name: ::prost::alloc::string::String,
    /// Only of these nodes; none is all of them.
    #[prost(string, repeated, tag = "3")]
    pub nodes: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    /// How often a table is told; without it every second.
    #[prost(message, optional, tag = "4")]
    pub interval: ::core::option::Option<::prost_types::Duration>,
    /// Ends the stream after this many rows; 0 is no end.
    #[prost(uint64, tag = "5")]
    pub limit: u64,
    /// Where a reader was cut off: StreamEventsResponse.resume.
    #[prost(bytes = "vec", tag = "6")]
    pub resume: ::prost::alloc::vec::Vec<u8>,
    /// Of a table: only these of its key columns, so that rows that differ in others are one; none is all of them.
    #[prost(string, repeated, tag = "7")]
    pub by: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    /// Ends the stream with what is there now, and does not wait for more.
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
        /// The schema; then rows of events in the order of their times, or at each interval one table of all nodes; at last the account, with
        /// each node's.
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
        /// The schema; then rows of events in the order of their times, or at each interval one table of all nodes; at last the account, with
        /// each node's.
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
