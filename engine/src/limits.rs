//! Limits of a trace: selection, reading and symbolization.

use std::time::Duration;

/// Cgroups, containers and pods of a trace: room in the kernel's maps `CGROUPS` and `PODS`.
pub(crate) const MAX_CGROUPS: u32 = 1024;

/// Processes of a trace: room in the kernel's map `PROCESSES`.
pub(crate) const MAX_PROCESSES: u32 = 16384;

/// Cgroup directories that are searched for a request: about a second.
pub(crate) const MAX_DIRECTORIES: usize = 100_000;

/// Depth of the deepest cgroup that can be selected, including everything below it: one less than the room in the kernel's map.
pub(crate) const MAX_DEPTH: u32 = 24;

/// Bytes of a trace's sets of labels: 14,000 containers over the life of the trace. They are counted before it is loaded.
pub(crate) const LABELS_BYTES: usize = 4 << 20;

/// Rows of a batch. A batch is closed at this number, or at `BATCH_BYTES`.
pub(crate) const BATCH_ROWS: usize = 1024;

/// Bytes of records of a batch: the output of one core in a millisecond, and far below the limit of a message.
pub(crate) const BATCH_BYTES: usize = 256 << 10;

/// Updates in the queue to a slow consumer: at most 8 MiB of records. When the queue is full, the ring buffer fills, and losses are
/// counted. The queue holds one table at a time. A table that is due while another waits is skipped, because the next table contains all
/// of its rows.
pub(crate) const QUEUE: usize = 32;

/// Rows of a table that is sent again without another reading. Larger tables are read at each interval. A row has at most 1 KiB, and the
/// queue's memory, which a trace of tables uses for one table at a time, has room for the copy.
pub(crate) const RESENT_ROWS: usize = 1024;

/// Frames of a symbolized stack; the outermost frames of deeper stacks are omitted. The kernel records at most 511, and each may be a
/// chain of inlined functions, as the target's file defines.
pub(crate) const STACK_FRAMES: usize = 1024;

/// Frames of all stacks of a table: 8,192 stacks of 127 frames. Smaller rows beyond that have a stack `[too many frames]`.
pub(crate) const TABLE_FRAMES: usize = 1 << 20;

/// Frames of all stacks of a batch of events: 64 stacks of 127 frames. Rows beyond that have a stack `[too many frames]`.
pub(crate) const BATCH_FRAMES: usize = 1 << 13;

/// Bytes of the names of distinct frames of a batch of events: a message has at most 4 MiB.
pub(crate) const BATCH_TEXT_BYTES: usize = 1 << 20;

/// Copied stacks that are unwound together: the requests to the worker have as many.
pub(crate) const COPIES_AT_ONCE: usize = 64;

/// Distinct stacks that were unwound from copies, as many as the kernel side has. Further events have their stack by frame pointers.
pub(crate) const UNWOUND_STACKS: usize = 8192;

/// Distinct addresses in these stacks. Targets choose them.
pub(crate) const UNWOUND_ADDRESSES: usize = 1 << 16;

/// Frames of these stacks.
pub(crate) const UNWOUND_FRAMES: usize = TABLE_FRAMES;

/// Rows with such stacks. Events of further rows are lost, as `map_full`.
pub(crate) const UNWOUND_ROWS: usize = 16384;

/// Rows of a snapshot. Further rows of an iterator are lost, as `map_full`.
pub(crate) const SNAPSHOT_ROWS: usize = 16384;

/// Timeout of symbolizing events each time the ring buffer is emptied: it fills in the meantime.
pub(crate) const EVENTS_NAMING: Duration = Duration::from_millis(250);

/// Additional timeout if the symbol worker must be started first. The time in which it reads the kernel's symbols is added to every
/// timeout.
pub(crate) const SYMBOLS_STARTING: Duration = Duration::from_millis(750);

/// Stacks that are symbolized together: their addresses have at most 4 MiB.
pub(crate) const STACKS_AT_ONCE: usize = 256;

/// Timeout of symbolizing one table while a trace runs, which must not depend on the files of targets. A stack that is not symbolized by
/// then is `[unknown]`, and has its names in a later table.
pub(crate) const NAMING: Duration = Duration::from_secs(1);

/// The same timeout for the last table, when the trace is detached.
pub(crate) const LAST_NAMING: Duration = Duration::from_secs(15);
