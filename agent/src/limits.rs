//! The bounds of what the agent serves: sizes, numbers and times, each with its reason. docs/security.md lists them.

use std::time::Duration;

/// Bytes of the largest request: a start or a change of a thousand targets with their labels has 0.7 MB.
pub(crate) const REQUEST_BYTES: usize = 1 << 20;
/// Bytes of one caller's incomplete requests, which a client can keep open for a long time. A controller sends its requests one after the
/// other.
pub(crate) const ARRIVING_BYTES: usize = 8 << 20;
/// Timeout of a request from its first byte to its last.
pub(crate) const ARRIVING: Duration = Duration::from_secs(20);
/// Bytes of a request's headers: four names of 4 KB, as other servers of HTTP/2 allow.
pub(crate) const HEADER_BYTES: u32 = 16 << 10;
/// Calls that one connection may have open: a gateway has two for each of the 256 jobs that it may read on the node.
pub(crate) const CALLS: u32 = 600;
/// Watches of one trace that one caller may have open: each may hold two unread statuses of 24 KiB.
/// A gateway has one for each job that it reads on the node.
pub(crate) const WATCHES: usize = 1024;
/// Number of single watches that a watch of all traces counts for: it may hold two messages of `WATCH_BYTES`. A controller has one.
pub(crate) const WATCH_OF_ALL: usize = 16;
/// Interval of keepalive PINGs to a silent client, and timeout of its response.
pub(crate) const KEEPALIVE: (Duration, Duration) =
    (Duration::from_secs(30), Duration::from_secs(20));
/// Timeout for clients to read the remaining messages when the agent ends.
pub(crate) const FINAL_MESSAGES: Duration = Duration::from_secs(3);
/// Timeout for traces to detach when the agent ends: a program takes milliseconds.
pub(crate) const DETACH: Duration = Duration::from_secs(10);
/// Timeout of the forwarding thread for the next update: a trace sends at least one per second.
pub(crate) const UPDATE: Duration = Duration::from_secs(5);

/// Targets in a start, and half of those in a change, which may contain each twice (`only` and `add`). A trace has room for 1,024
/// cgroups; the rest is for processes.
pub(crate) const TARGETS: usize = 4096;
/// Bytes of a container's id or a pod's uid: runtimes use 64 hexadecimal digits, Kubernetes 36 characters.
pub(crate) const ID_BYTES: usize = 128;
/// Bytes of a cgroup's path: `PATH_MAX` of include/uapi/linux/limits.h.
pub(crate) const PATH_BYTES: usize = 4096;
/// Bytes of a label: names in Kubernetes are DNS names (RFC 1123).
pub(crate) const LABEL_BYTES: usize = 253;
/// Bytes of a spec's options on the wire: a tracer has about ten options.
pub(crate) const OPTIONS_BYTES: usize = 16 << 10;
/// Label columns in a spec: there are four.
pub(crate) const LABEL_COLUMNS: usize = 16;
/// Bytes of a caller's name: the longest DNS name or SPIFFE ID in use; a certificate may contain a longer name.
pub(crate) const NAME_BYTES: usize = 512;

/// Bytes of a message in a status, in a response and in the audit: a sentence and the end of a path, or the end of a verifier's log.
pub(crate) const MESSAGE_BYTES: usize = 1024;
/// Failed targets in a status, which is sent with each change of its trace.
pub(crate) const FAILURES_SHOWN: usize = 32;
/// Bytes of these failures: 32 pods or containers with their labels. With 4 KiB for a condition and 4 KiB for the rest, a status has at most 24 KiB.
pub(crate) const FAILURES_SHOWN_BYTES: usize = 16 << 10;
/// Failures that are kept, so that a target that fails again is not counted twice: more than the number of cgroups of a trace.
pub(crate) const FAILURES_KEPT: usize = 1024;
/// Bytes of these failures: a thousand pods or containers with their labels.
pub(crate) const FAILURES_KEPT_BYTES: usize = 1 << 20;
/// Bytes of failures in one message of a watch, over all its traces: far below the 4 MiB that gRPC clients accept by default.
pub(crate) const WATCH_BYTES: usize = 256 << 10;
/// Bytes of a trace in addition to its maps, queue, rows and labels: its failures, its targets during the start, its state.
pub(crate) const TRACE_BYTES: u64 = (FAILURES_KEPT_BYTES + REQUEST_BYTES) as u64;

/// Bytes of targets in a line of the audit: one path of `PATH_BYTES` with every byte escaped, or a hundred containers.
pub(crate) const AUDIT_TARGETS_BYTES: usize = 32 << 10;
/// Targets in a line of the audit: there may be thousands.
pub(crate) const AUDIT_TARGETS: usize = 100;

/// Loading threads: a start takes tens of milliseconds, mostly in the kernel's verifier.
pub(crate) const LOADERS: usize = 4;
/// Loading threads that one caller may use at once: one thread stays free for others.
pub(crate) const LOADERS_OF_ONE: usize = LOADERS - 1;
/// Time for which a probe of the kernel is cached: the result changes if a module is loaded or a file system is mounted.
pub(crate) const CAPABILITIES: Duration = Duration::from_secs(5);

/// Interval at which the configuration is checked. A change is applied if two consecutive checks find the same text, because programs that
/// write a file in place truncate it first.
pub(crate) const CONFIG_INTERVAL: Duration = Duration::from_secs(1);
