//! Readers of a dataset's rows, one file for each source.

use crate::{Error, load::Loaded};
use tracers::{Batch, Dataset, Filter, Source};

pub(crate) mod copies;
pub(crate) mod per_cpu;
pub(crate) mod ring;
pub(crate) mod shared_table;
pub(crate) mod sieve;
pub(crate) mod snapshot;

use per_cpu::PerCpu;
use ring::Ring;
use shared_table::Shared;
use snapshot::Snapshot;

/// The reader of one dataset.
pub(crate) enum Rows {
    Ring(Ring),
    PerCpu(PerCpu),
    Shared(Shared),
    Snapshot(Snapshot),
}

/// The time at which the last table of a dataset is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastTable {
    /// Never: rows are events.
    None,
    /// Before its programs are detached, because they write the rows.
    Attached,
    /// After its programs are detached: the rows are final.
    Detached,
}

/// Events of the rows that were read, over the whole trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// Delivered events.
    pub(crate) delivered: u64,
    /// Events whose rows did not match the part of the filter that the kernel side does not test.
    pub(crate) filtered: u64,
    /// Events beyond `max_events`.
    pub(crate) beyond_limit: u64,
    /// Records that did not decode.
    pub(crate) malformed: u64,
    /// Rows that found a table full.
    pub(crate) no_room: u64,
}

impl Read {
    /// Returns the sum of both.
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

/// The counters of the kernel side that a source needs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// Events in the counts of rows that were omitted by sampling.
    pub(crate) weighted: u64,
    /// Events in a shared table.
    pub(crate) folded: u64,
}

impl Rows {
    /// Creates the reader of a dataset of a loaded tracer.
    pub(crate) fn of(
        loaded: &mut Loaded,
        dataset: Dataset,
        max_events: Option<u64>,
        filter: Option<Filter>,
    ) -> Result<Self, Error> {
        let copies = loaded.copies_stacks;
        Ok(match dataset.source {
            Source::Ring => Self::Ring(Ring::new(loaded, dataset, max_events, filter)?),
            Source::PerCpu => Self::PerCpu(PerCpu::new(loaded, dataset, copies)?),
            Source::Shared => Self::Shared(Shared::new(loaded, dataset)?),
            Source::Snapshot => Self::Snapshot(Snapshot::new(dataset)),
        })
    }

    /// Returns when the last table is read.
    pub(crate) fn last_table(&self) -> LastTable {
        match self {
            Self::Ring(_) => LastTable::None,
            Self::PerCpu(_) | Self::Shared(_) => LastTable::Detached,
            Self::Snapshot(_) => LastTable::Attached,
        }
    }

    /// Reads the table; a dataset of events has an empty one.
    pub(crate) fn table(&mut self, loaded: &mut Loaded) -> Result<Batch, Error> {
        match self {
            Self::Ring(_) => Ok(Batch::default()),
            Self::PerCpu(source) => source.read(loaded),
            Self::Shared(source) => source.read(loaded),
            Self::Snapshot(source) => source.read(loaded),
        }
    }

    /// Returns the events of the last table, if each reading has its own events.
    pub(crate) fn of_reading(&self) -> Option<u64> {
        match self {
            Self::Ring(_) | Self::PerCpu(_) | Self::Shared(_) => None,
            Self::Snapshot(source) => Some(source.of_last),
        }
    }

    /// Returns the account of the events until now, before rows of tables are filtered.
    pub(crate) fn so_far(&self, counted: Counted) -> Read {
        match self {
            Self::Ring(source) => source.read,
            Self::PerCpu(source) => source.so_far(counted),
            Self::Shared(_) => Read {
                delivered: counted.folded,
                ..Read::default()
            },
            Self::Snapshot(source) => source.read,
        }
    }
}

/// Decodes records. Returns the number of malformed ones too.
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

/// Decodes rows that count events. A malformed row is an error, because the number of its events is unknown.
fn counts<'a>(dataset: &Dataset, records: impl Iterator<Item = &'a [u8]>) -> Result<Batch, Error> {
    match decoded(dataset, records) {
        (batch, 0) => Ok(batch),
        _ => Err(Error::Bug("rows of a table that do not decode")),
    }
}
