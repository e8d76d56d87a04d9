//! The bounds of what the agent serves: sizes, numbers and times, each with its reason. docs/security.md lists them.

use std::time::Duration;

/// Bytes of the largest request: a start or a change of a thousand targets with their labels takes 0.7 MB.
pub(crate) const REQUEST_BYTES: usize = 1 << 20;
/// Bytes of one caller's requests that have begun to arrive and are not whole: a client can hold that much for as long as it likes.
/// A controller sends its requests one after the other.
pub(crate) const ARRIVING_BYTES: usize = 8 << 20;
/// How long a request may take to arrive from its first byte on.
pub(crate) const ARRIVING: Duration = Duration::from_secs(20);
/// Bytes of a request's headers: four names of 4 KB, as other servers of HTTP/2 allow.
pub(crate) const HEADER_BYTES: u32 = 16 << 10;
/// Calls that one connection may have open: a gateway has two for each of the 256 jobs that it may read on the node.
pub(crate) const CALLS: u32 = 600;
/// Watches of one trace that one caller may have open: each may hold two statuses of 24 KiB that nobody reads.
/// A gateway has one for each job that it reads on the node.
pub(crate) const WATCHES: usize = 1024;
/// How many of these a watch of all traces counts for: it may hold two messages of [`WATCH_BYTES`]. A controller has one.
pub(crate) const WATCH_OF_ALL: usize = 16;
/// How long a client may be silent before it is asked whether it is there, and how long it may take to answer.
pub(crate) const KEEPALIVE: (Duration, Duration) =
    (Duration::from_secs(30), Duration::from_secs(20));
/// How long clients may take to read what is left when the agent ends.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long traces may take to detach when the agent ends: milliseconds for each program.
pub(crate) const DETACH: Duration = Duration::from_secs(10);
/// How long the carrier of a trace's rows waits for the next update: a trace sends one every second at least.
pub(crate) const UPDATE: Duration = Duration::from_secs(5);

/// Targets in a start, and half of those in a change, which may name each twice (`only` and `add`).
/// A trace has room for 1,024 cgroups; the rest is for processes.
pub(crate) const TARGETS: usize = 4096;
/// Bytes of a container's id or a pod's uid: runtimes use 64 hexadecimal digits, Kubernetes 36 letters.
pub(crate) const ID_BYTES: usize = 128;
/// Bytes of a cgroup's path: `PATH_MAX` of include/uapi/linux/limits.h.
pub(crate) const PATH_BYTES: usize = 4096;
/// Bytes of a label: a name of Kubernetes, which is a DNS name (RFC 1123).
pub(crate) const LABEL_BYTES: usize = 253;
/// Bytes of a spec's options on the wire: a tracer has some ten of them.
pub(crate) const OPTIONS_BYTES: usize = 16 << 10;
/// Names of columns of labels in a spec: there are four.
pub(crate) const LABEL_COLUMNS: usize = 16;
/// Bytes of a caller's name: the longest DNS name or SPIFFE ID that is in use; a certificate may hold more.
pub(crate) const NAME_BYTES: usize = 512;

/// Bytes of a message in a status, in an answer and in the audit: a sentence and the end of a path, or the end of a verifier's log.
pub(crate) const MESSAGE_BYTES: usize = 1024;
/// Failures of targets in a status: it is sent with each change of its trace.
pub(crate) const FAILURES_SHOWN: usize = 32;
/// Bytes of these: 32 failures of pods or containers with their labels. With 4 KiB for a condition and 4 KiB for all else a status has 24 KiB at most.
pub(crate) const FAILURES_SHOWN_BYTES: usize = 16 << 10;
/// Failures that are kept, so that a target that fails again is no further one: more than a trace has room for cgroups.
pub(crate) const FAILURES_KEPT: usize = 1024;
/// Bytes of these: a thousand failures of pods or containers with their labels.
pub(crate) const FAILURES_KEPT_BYTES: usize = 1 << 20;
/// Bytes of failures in one message of a watch, of all its traces together: far below the 4 MiB that clients of gRPC take by default.
pub(crate) const WATCH_BYTES: usize = 256 << 10;
/// Bytes that a trace takes beside its maps, queue, rows and labels: its failures, its targets while it starts, its state.
pub(crate) const TRACE_BYTES: u64 = (FAILURES_KEPT_BYTES + REQUEST_BYTES) as u64;

/// Bytes of targets in a line of the audit: one path of [`PATH_BYTES`] with every byte escaped, or a hundred containers.
pub(crate) const AUDIT_TARGETS_BYTES: usize = 32 << 10;
/// Targets in a line of the audit: there may be thousands.
pub(crate) const AUDIT_TARGETS: usize = 100;

/// Threads that load: a start takes tens of milliseconds, most of them the kernel's own checks.
pub(crate) const LOADERS: usize = 4;
/// Loading threads that one caller may use at once: one is left for others.
pub(crate) const LOADERS_OF_ONE: usize = LOADERS - 1;
/// How long an answer about what the kernel can do is good for: it changes when somebody loads a module or mounts something.
pub(crate) const CAPABILITIES: Duration = Duration::from_secs(5);

/// How often the files of certificates and of the configuration are looked at. A changed configuration is taken when two looks in turn
/// found the same text: who writes a file in place truncates it first, and writes it in parts.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
