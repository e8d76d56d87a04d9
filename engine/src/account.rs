//! The account of all events: `produced = delivered + filtered + beyond_limit + sampled + Σ lost`, exactly.

use std::{process::ExitStatus, time::Duration};

/// The account of a trace, while it runs and at its end.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Events that passed the selection and the options, counted in the kernel.
    pub produced: u64,
    /// Events that the reader received: rows of a ring, counts of a table.
    pub delivered: u64,
    /// Events whose rows did not match the filter, in the kernel or after reading.
    pub filtered: u64,
    /// Events beyond `max_events`.
    pub beyond_limit: u64,
    /// Events that were omitted to keep the trace within its budget. Counts and sums of tables are scaled up, and are estimates then.
    pub sampled: u64,
    /// Lost events, by stage.
    pub lost: Lost,
    /// Rows without their stack, for which there was no room. The rows themselves are delivered.
    pub stacks_missing: u64,
    /// Stacks with the maximum depth. Their events are delivered, and their rows mark that the outermost frames are missing.
    pub stacks_truncated: u64,
    /// Stacks that were to be unwound from a copy, and were not, or not up to their outermost frame. Their events are delivered, in rows with
    /// the stack by frame pointers or with the innermost frames.
    pub stacks_not_unwound: u64,
    /// Quality of the delivered user stacks.
    pub user_stacks: UserStacks,
    /// Runs of a program that the kernel skipped, because the program was already running on that CPU: for another task that was preempted
    /// (fentry and fexit always, tracepoints since Linux 7.0), or below an interrupt.
    /// Each skipped run may be an event that no counter contains; the number of selected events among them is unknown.
    pub missed_runs: u64,
    /// Parts of the selection that are not traced.
    pub untraced: Untraced,
    /// Time since the programs were attached.
    pub elapsed: Duration,
    /// Cost of the trace.
    pub cost: Cost,
    /// Reason of the end; `None` while the trace runs.
    pub ended: Option<Ended>,
}

/// Maximum number of reasons.
const REASONS_MAX: usize = 8;
/// Maximum bytes of a reason: a sentence and a path of usual length.
const REASON_BYTES: usize = 1024;

/// Parts of the selection that are not traced: files that cannot be attached to, or that were attached to after a process had started to run
/// them. The number of their events is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Untraced {
    /// Number of these parts.
    pub count: u64,
    /// Their reasons, the first 8.
    pub reasons: Vec<String>,
}

impl Untraced {
    /// Adds a part, unless its reason is already present.
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

/// Numbers of delivered events by the user stacks of their rows. Stacks without names are not counted, because their depth is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserStacks {
    /// All of them.
    pub delivered: u64,
    /// Stacks with the maximum depth.
    pub truncated: u64,
    /// Stacks without frames: of kernel threads, and stacks that found no room.
    pub empty: u64,
    /// Stacks with one or two frames.
    pub short: u64,
}

impl UserStacks {
    /// Fewest frames of a stack that is not short: the function, `main` and the start of the program.
    const LEAST: usize = 3;
    /// Fewest stacks with frames of which a share is worth a message.
    const ENOUGH: u64 = 10;
    /// Lowest share of short stacks that is worth a message, in percent.
    const MANY: u64 = 10;

    /// Adds stacks of this depth, of which `most` is the maximum.
    pub(crate) fn count(&mut self, depth: usize, most: usize, events: u64) {
        let some = |which: bool| if which { events } else { 0 };
        self.add(Self {
            delivered: events,
            truncated: some(depth >= most),
            empty: some(depth == 0),
            short: some((1..Self::LEAST).contains(&depth)),
        });
    }

    /// Adds the numbers of other stacks.
    pub fn add(&mut self, other: Self) {
        let Self {
            delivered,
            truncated,
            empty,
            short,
        } = other;
        for (sum, number) in [
            (&mut self.delivered, delivered),
            (&mut self.truncated, truncated),
            (&mut self.empty, empty),
            (&mut self.short, short),
        ] {
            *sum = sum.saturating_add(number);
        }
    }

    /// Returns the share of short stacks among those with frames, in percent; `None` if it is too small to matter.
    pub fn short_percent(&self) -> Option<u64> {
        let some = self.delivered.saturating_sub(self.empty);
        let share = u128::from(self.short) * 100 / u128::from(some.max(1));
        // A share is not greater than the whole, unless an agent sent the numbers.
        let share = share.min(100) as u64;
        (some >= Self::ENOUGH && share >= Self::MANY).then_some(share)
    }
}

/// Lost events, by stage. The numbers only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Events that found the ring full.
    pub ring_full: u64,
    /// Events that found a map of state or rows full.
    pub map_full: u64,
    /// Events whose kernel or user memory could not be read.
    pub unreadable: u64,
    /// Events that found the CPU's scratch memory in use by an interrupted program of the trace.
    pub busy: u64,
    /// Events of a cgroup beyond its quota, while the ring was filling up.
    pub over_quota: u64,
    /// Records that did not decode: a bug.
    pub malformed: u64,
}

impl Lost {
    /// Returns the name, the number and the remedy of each stage.
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

    /// Returns the sum of all stages.
    pub fn total(&self) -> u64 {
        self.stages().iter().map(|(_, count, _)| count).sum()
    }
}

/// The cost of a trace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Time and number of runs of its programs, over all CPUs; `None` before the first measurement.
    pub bpf: Option<BpfCost>,
    /// CPU time of the reader's thread.
    pub reader: Duration,
    /// Bytes of maps, rings and programs in the kernel.
    pub kernel_bytes: u64,
}

/// Run time of the programs. The measurement itself costs time, so frequent programs are measured for a part of the time, and scaled up.
#[derive(Clone, Copy, Debug, Default)]
pub struct BpfCost {
    /// Time in the programs.
    pub time: Duration,
    /// Runs of the programs.
    pub runs: u64,
    /// Measured share of the trace's time, 0 to 1.
    pub measured: f64,
}

/// The reason of a trace's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its duration has passed.
    Duration,
    /// It has delivered `max_events`.
    MaxEvents,
    /// The command that it started has ended.
    Command(ExitStatus),
    /// All selected processes, cgroups and containers have ended.
    TargetGone,
    /// It was stopped.
    Stopped,
    /// It exceeded its budget, although it kept only one of this many events.
    Budget(u64),
}

impl Account {
    /// Returns whether certainly no event was lost.
    pub fn complete(&self) -> bool {
        self.lost.total() == 0
            && self.missed_runs == 0
            && self.sampled == 0
            && self.untraced.count == 0
    }

    /// Returns whether the account balances; false is a bug.
    pub fn balanced(&self) -> bool {
        let left_out = self.filtered + self.beyond_limit + self.sampled;
        self.produced == self.delivered + left_out + self.lost.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_stacks_are_counted_by_depth_and_their_events() {
        let mut stacks = UserStacks::default();
        for (depth, events) in [(0, 5), (1, 20), (2, 1), (3, 100), (127, 7)] {
            stacks.count(depth, 127, events);
        }
        let expected = UserStacks {
            delivered: 133,
            truncated: 7,
            empty: 5,
            short: 21,
        };
        assert_eq!(stacks, expected);
        // 21 of the 128 with frames.
        assert_eq!(stacks.short_percent(), Some(16));
    }

    #[test]
    fn few_short_stacks_and_those_of_kernel_threads_do_not_matter() {
        let of = |delivered, empty, short| {
            let stacks = UserStacks {
                delivered,
                empty,
                short,
                truncated: 0,
            };
            stacks.short_percent()
        };
        assert_eq!(of(0, 0, 0), None);
        assert_eq!(of(1000, 1000, 0), None);
        assert_eq!(of(9, 0, 9), None);
        assert_eq!(of(100, 0, 9), None);
        assert_eq!(of(100, 0, 10), Some(10));
        assert_eq!(of(1100, 1000, 38), Some(38));
        assert_eq!(of(10, 0, u64::MAX), Some(100));
    }
}
