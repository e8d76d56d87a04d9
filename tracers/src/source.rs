//! How rows leave the kernel, and what a batch of them is.

/// How rows leave the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// One record per event in the ring buffer `EVENTS`.
    Ring,
    /// One entry per key and CPU in the map `ROWS`, read at an interval. Values only grow.
    PerCpu,
    /// One entry per key for all CPUs, in turns in `SHARED_A` and `SHARED_B`, read at an interval. Values go up and down.
    Shared,
    /// Rows that an iterator program writes whenever its descriptor is read.
    Snapshot,
}

/// What a batch of rows is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Events, each once.
    Events,
    /// The whole table at one time, which replaces the one before.
    Table,
}

impl Source {
    /// Returns the form of a batch of its rows.
    pub const fn form(self) -> Form {
        match self {
            Self::Ring => Form::Events,
            Self::PerCpu | Self::Shared | Self::Snapshot => Form::Table,
        }
    }

    /// Returns the definition of one event in the account.
    pub const fn event(self) -> &'static str {
        match self {
            Self::Ring => "a row",
            Self::PerCpu => "an increment of a row's count",
            Self::Shared => "a change of a row",
            Self::Snapshot => "a row of a snapshot",
        }
    }
}
