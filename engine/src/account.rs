//! What became of every event: `produced = delivered + filtered + beyond_limit + sampled + Σ lost`, exactly.

use std::{process::ExitStatus, time::Duration};

/// The state of a trace's books, at any time and at its end.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Events that the selection and the options let through, counted in the kernel.
    pub produced: u64,
    /// Events that were handed to the reader: rows of a ring, counts of a table.
    pub delivered: u64,
    /// Events whose rows did not match the filter, in the kernel or after reading.
    pub filtered: u64,
    /// Events beyond `max_events`, which nobody asked for.
    pub beyond_limit: u64,
    /// Events that were left out so that the trace kept to its budget. Counts and sums of tables make up for them; they are estimates then.
    pub sampled: u64,
    /// Events that were lost, by stage.
    pub lost: Lost,
    /// Rows whose stack is missing because there was no room for it. The rows themselves are delivered.
    pub stacks_missing: u64,
    /// Stacks that are as deep as they are recorded. Their events are delivered, and their rows say that the outermost frames are missing.
    pub stacks_truncated: u64,
    /// Runs of a program that the kernel skipped, because it was at work on that CPU already: for another task from which the CPU
    /// was taken meanwhile (fentry and fexit everywhere, tracepoints from Linux 7.0 on), or in what an interrupt interrupted.
    /// At most so many events are missing that no counter saw; how many of these were selected is unknown.
    pub missed_runs: u64,
    /// Parts of the selection that are not traced.
    pub untraced: Untraced,
    /// Since the programs were attached.
    pub elapsed: Duration,
    /// What it cost.
    pub cost: Cost,
    /// Why it ended; `None` while it runs.
    pub ended: Option<Ended>,
}

/// Reasons that are kept.
const REASONS_MAX: usize = 8;
/// Bytes of a reason: a sentence and a path that is not among the longest.
const REASON_BYTES: usize = 1024;

/// Parts of the selection that are not traced: files that cannot be attached to, or that were attached to after a process had begun to run them.
/// Number of events in them: unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Untraced {
    /// Number of these parts.
    pub count: u64,
    /// Their reasons, the first 8.
    pub reasons: Vec<String>,
}

impl Untraced {
    /// Adds a part, unless its reason is there already.
    pub(crate) fn add(&mut self, mut reason: String) {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES));
        if self.reasons.contains(&reason) {
            return;
        }
        self.count += 1;
        if self.reasons.len() < REASONS_MAX {
            self.reasons.push(reason);
        }
    }
}

/// Events that were lost, by stage. Each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// The ring was full.
    pub ring_full: u64,
    /// A map that carries state or rows was full.
    pub map_full: u64,
    /// Kernel or user memory that the event needs could not be read.
    pub unreadable: u64,
    /// Another program of the trace, interrupted at its work, had the CPU's scratch memory.
    pub busy: u64,
    /// The ring was filling up, and the cgroup of the event had had its share.
    pub over_quota: u64,
    /// A record did not decode: a bug.
    pub malformed: u64,
}

impl Lost {
    /// Every stage with its name and its remedy.
    pub fn stages(&self) -> [(&'static str, u64, &'static str); 6] {
        let Self {
            ring_full,
            map_full,
            unreadable,
            busy,
            over_quota,
            malformed,
        } = *self;
        [
            (
                "ring_full",
                ring_full,
                "a larger ring (`--ring 8MiB`) or a narrower selection keeps up",
            ),
            ("map_full", map_full, "a narrower selection fits"),
            (
                "unreadable",
                unreadable,
                "the memory was gone or paged out when the event happened",
            ),
            (
                "busy",
                busy,
                "a program of the trace was interrupted at its work; a narrower selection makes that rarer",
            ),
            (
                "over_quota",
                over_quota,
                "some cgroup floods the ring; a larger ring (`--ring 8MiB`) has room for more of it",
            ),
            ("malformed", malformed, "this is a bug: please report it"),
        ]
    }

    /// All stages together.
    pub fn total(&self) -> u64 {
        self.stages().iter().map(|(_, count, _)| count).sum()
    }
}

/// What a trace cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Time that its programs ran and how often, over all CPUs; `None` where it was not asked yet.
    pub bpf: Option<BpfCost>,
    /// CPU time of the thread that reads.
    pub reader: Duration,
    /// Maps, rings and programs in the kernel.
    pub kernel_bytes: u64,
}

/// Run time of the programs. Measuring costs time itself, so it is done for a part of the time and scaled up.
#[derive(Clone, Copy, Debug, Default)]
pub struct BpfCost {
    /// Time in the programs.
    pub time: Duration,
    /// Runs of the programs.
    pub runs: u64,
    /// The part of the trace during which it was measured, 0 to 1.
    pub measured: f64,
}

/// Why a trace ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its duration was over.
    Duration,
    /// It had delivered as many events as were asked for.
    MaxEvents,
    /// The command that it started ended.
    Command(ExitStatus),
    /// Every process, cgroup and container that it selected is gone.
    TargetGone,
    /// It was asked to.
    Stopped,
    /// It cost more than its budget, though it kept only one event of this many.
    Budget(u64),
}

impl Account {
    /// Whether nothing was lost, for certain.
    pub fn complete(&self) -> bool {
        self.lost.total() == 0
            && self.missed_runs == 0
            && self.sampled == 0
            && self.untraced.count == 0
    }

    /// Whether the books balance; false is a bug.
    pub fn balanced(&self) -> bool {
        let left_out = self.filtered + self.beyond_limit + self.sampled;
        self.produced == self.delivered + left_out + self.lost.total()
    }
}
