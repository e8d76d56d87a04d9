//! The bounds of a trace: what is selected, read and named of it.

use std::time::Duration;

/// Cgroups, containers and pods of a trace: room in the kernel's maps `CGROUPS` and `PODS`.
pub(crate) const MAX_CGROUPS: u32 = 1024;

/// Processes of a trace: room in the kernel's map `PROCESSES`.
pub(crate) const MAX_PROCESSES: u32 = 16384;

/// Directories of cgroups that are looked at for a request: about a second.
pub(crate) const MAX_DIRECTORIES: usize = 100_000;

/// Deepest cgroup that can be selected, with everything below it however deep: one less than the depths that a map has room for.
pub(crate) const MAX_DEPTH: u32 = 24;

/// Bytes of a trace's sets of labels: those of 14,000 containers, which come and go while it runs. They are counted before it is loaded.
pub(crate) const LABELS_BYTES: usize = 4 << 20;

/// Rows of a batch: it closes at this many, or at `BATCH_BYTES`.
pub(crate) const BATCH_ROWS: usize = 1024;

/// Bytes of records of a batch: as much as a core writes in a millisecond, and far below what a message may have.
pub(crate) const BATCH_BYTES: usize = 256 << 10;

/// Updates that wait for a slow taker: 8 MiB of records at most. Beyond it the ring fills, and that is counted.
/// Of tables there is one at a time: one that is due before the last has been taken is left out, since the next has all of its rows.
pub(crate) const QUEUE: usize = 32;

/// Frames of a stack that has names: of a deeper one the outermost are left out. The kernel records 511 at most, and each may be a
/// chain of inlined functions, as the target's file says.
pub(crate) const STACK_FRAMES: usize = 1024;

/// Frames of all stacks of a table: 8,192 stacks of 127 frames. Smaller rows beyond them have a stack that says so.
pub(crate) const TABLE_FRAMES: usize = 1 << 20;

/// Frames of all stacks of a batch of events: 64 stacks of 127 frames. Rows beyond them have a stack that says so.
pub(crate) const BATCH_FRAMES: usize = 1 << 13;

/// Bytes of the names of distinct frames of a batch of events: a message takes at most 4 MiB.
pub(crate) const BATCH_TEXT_BYTES: usize = 1 << 20;

/// Rows of a snapshot. What an iterator writes beyond them is lost, as `map_full`.
pub(crate) const SNAPSHOT_ROWS: usize = 16384;

/// How long the stacks of events are named each time that the ring is emptied: it fills meanwhile.
pub(crate) const EVENTS_NAMING: Duration = Duration::from_millis(250);

/// How long more where the process that reads symbols must be started first: it reads all names of the kernel.
pub(crate) const SYMBOLS_STARTING: Duration = Duration::from_millis(750);

/// Stacks that are named together: their addresses take 4 MiB at most.
pub(crate) const STACKS_AT_ONCE: usize = 256;

/// How long stacks are named while a trace runs, for one table: it must end in time, whatever its targets' files are. A stack that has
/// no name by then is `[unknown]`, and has its names in a later table.
pub(crate) const NAMING: Duration = Duration::from_secs(1);

/// The same of its last table, when it is detached.
pub(crate) const LAST_NAMING: Duration = Duration::from_secs(15);
