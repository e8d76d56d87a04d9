//! Where a dataset's rows are read, one file for each source.

use crate::{Error, load::Loaded};
use tracers::{Batch, Dataset, Filter, Source};

pub(crate) mod per_cpu;
pub(crate) mod ring;
pub(crate) mod shared_table;
pub(crate) mod sieve;
pub(crate) mod snapshot;

use per_cpu::PerCpu;
use ring::Ring;
use shared_table::Shared;
use snapshot::Snapshot;

/// What reads the rows of one dataset.
pub(crate) enum Rows {
    Ring(Ring),
    PerCpu(PerCpu),
    Shared(Shared),
    Snapshot(Snapshot),
}

/// When the last table of a dataset is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastTable {
    /// Never: rows are events.
    None,
    /// Before its programs are detached, which write the rows.
    Attached,
    /// Once its programs are detached: nothing is added any more.
    Detached,
}

/// Events that rows were read for, over the whole trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// Events that were handed on.
    pub(crate) delivered: u64,
    /// Events whose rows did not match what is left of the filter after the kernel side.
    pub(crate) filtered: u64,
    /// Events beyond `max_events`.
    pub(crate) beyond_limit: u64,
    /// Records that did not decode.
    pub(crate) malformed: u64,
    /// Rows for which a table had no room.
    pub(crate) no_room: u64,
}

impl Read {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        let Self {
            delivered,
            filtered,
            beyond_limit,
            malformed,
            no_room,
        } = other;
        Self {
            delivered: self.delivered + delivered,
            filtered: self.filtered + filtered,
            beyond_limit: self.beyond_limit + beyond_limit,
            malformed: self.malformed + malformed,
            no_room: self.no_room + no_room,
        }
    }
}

/// What the counters of the kernel side say that matters to a source.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// What rows count for events that were left out.
    pub(crate) weighted: u64,
    /// Events that are in a shared table.
    pub(crate) folded: u64,
}

impl Rows {
    /// Of a dataset of a loaded tracer.
    pub(crate) fn of(
        loaded: &mut Loaded,
        dataset: Dataset,
        max_events: Option<u64>,
        filter: Option<Filter>,
    ) -> Result<Self, Error> {
        Ok(match dataset.source {
            Source::Ring => Self::Ring(Ring::new(loaded, dataset, max_events, filter)?),
            Source::PerCpu => Self::PerCpu(PerCpu::new(dataset)),
            Source::Shared => Self::Shared(Shared::new(loaded, dataset)?),
            Source::Snapshot => Self::Snapshot(Snapshot::new(dataset)),
        })
    }

    /// When its last table is read.
    pub(crate) fn last_table(&self) -> LastTable {
        match self {
            Self::Ring(_) => LastTable::None,
            Self::PerCpu(_) | Self::Shared(_) => LastTable::Detached,
            Self::Snapshot(_) => LastTable::Attached,
        }
    }

    /// The table at this time; without rows where they are events.
    pub(crate) fn table(&mut self, loaded: &mut Loaded) -> Result<Batch, Error> {
        match self {
            Self::Ring(_) => Ok(Batch::default()),
            Self::PerCpu(source) => source.read(loaded),
            Self::Shared(source) => source.read(loaded),
            Self::Snapshot(source) => source.read(loaded),
        }
    }

    /// Events of the last table, where each reading has events of its own.
    pub(crate) fn of_reading(&self) -> Option<u64> {
        match self {
            Self::Ring(_) | Self::PerCpu(_) | Self::Shared(_) => None,
            Self::Snapshot(source) => Some(source.of_last),
        }
    }

    /// What became of the events so far, before rows of tables are removed.
    pub(crate) fn so_far(&self, counted: Counted) -> Read {
        match self {
            Self::Ring(source) => source.read,
            // A row that stands for others besides is one event.
            Self::PerCpu(source) => Read {
                delivered: source.counted.saturating_sub(counted.weighted),
                ..Read::default()
            },
            Self::Shared(_) => Read {
                delivered: counted.folded,
                ..Read::default()
            },
            Self::Snapshot(source) => source.read,
        }
    }
}

/// Decodes records; says too how many could not be.
fn decoded<'a>(dataset: &Dataset, records: impl Iterator<Item = &'a [u8]>) -> (Batch, u64) {
    let mut batch = Batch::new(&dataset.columns);
    let mut malformed = 0;
    for record in records {
        if let Err(error) = dataset.decode(record, &mut batch) {
            malformed += 1;
            tracing::error!(dataset = dataset.name, %error, "a row did not decode");
        }
    }
    (batch, malformed)
}

/// The same of rows that count events. One that does not decode stands for an unknown number of them, so it is an error.
fn counts<'a>(dataset: &Dataset, records: impl Iterator<Item = &'a [u8]>) -> Result<Batch, Error> {
    match decoded(dataset, records) {
        (batch, 0) => Ok(batch),
        _ => Err(Error::Bug("rows of a table that do not decode")),
    }
}
