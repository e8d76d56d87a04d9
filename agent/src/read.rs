//! Reads a loaded tracer's rows and books. Where the rows come from is one file for each source in `source`.

use crate::{
    Account, Error, Lost, bpf,
    load::Loaded,
    source::{Counted, Read, Rows},
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tracers::{Batch, Erased, Filter, control::Counters};

/// When the last table of a trace is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastTable {
    /// Never: rows are events.
    None,
    /// Before its programs are detached, which write the rows.
    Attached,
    /// Once its programs are detached: nothing is added any more.
    Detached,
}

/// Reads one tracer.
pub(crate) struct Reader {
    pub(crate) loaded: Loaded,
    /// The first of each pair: what they miss is made up for by the second, or told.
    programs: Vec<OwnedFd>,
    rows: Rows,
    max_events: u64,
    cpus: usize,
}

impl Reader {
    pub(crate) fn new(
        mut loaded: Loaded,
        tracer: &'static dyn Erased,
        max_events: Option<u64>,
        filter: Option<Filter>,
    ) -> Result<Self, Error> {
        Ok(Self {
            rows: Rows::of(&mut loaded, tracer, max_events, filter)?,
            programs: loaded.first_programs()?,
            loaded,
            max_events: max_events.unwrap_or(u64::MAX),
            cpus: possible_cpus(),
        })
    }

    /// Bytes of the ring, which is mapped here.
    pub(crate) fn ring_bytes(&self) -> u64 {
        match &self.rows {
            Rows::Ring(ring) => ring.bytes(),
            Rows::PerCpu(_) | Rows::Shared(_) | Rows::Snapshot(_) => 0,
        }
    }

    /// Readable when the ring has passed its watermark.
    pub(crate) fn ring_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.rows {
            Rows::Ring(ring) => Some(ring.fd()),
            Rows::PerCpu(_) | Rows::Shared(_) | Rows::Snapshot(_) => None,
        }
    }

    /// When the last table is read.
    pub(crate) fn last_table(&self) -> LastTable {
        match &self.rows {
            Rows::Ring(_) => LastTable::None,
            Rows::PerCpu(_) | Rows::Shared(_) => LastTable::Detached,
            Rows::Snapshot(_) => LastTable::Attached,
        }
    }

    /// Whether as many events as were asked for have been delivered: of tables `told` is what the last account said.
    pub(crate) fn at_limit(&self, told: u64) -> bool {
        match &self.rows {
            Rows::Ring(ring) => ring.delivered() >= self.max_events,
            Rows::PerCpu(_) | Rows::Shared(_) | Rows::Snapshot(_) => told >= self.max_events,
        }
    }

    /// Takes everything out of the ring, a batch of at most so many rows at a time.
    pub(crate) fn drain(
        &mut self,
        batch_rows: usize,
        mut each: impl FnMut(&Loaded, Batch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match &mut self.rows {
            Rows::Ring(ring) => {
                let loaded = &self.loaded;
                ring.drain(loaded, batch_rows, |batch| each(loaded, batch))
            }
            Rows::PerCpu(_) | Rows::Shared(_) | Rows::Snapshot(_) => Ok(()),
        }
    }

    /// The table at this time; without rows where they are events.
    pub(crate) fn table(&mut self) -> Result<Batch, Error> {
        self.rows.table(&mut self.loaded)
    }

    /// The books so far. They balance when nothing runs any more and everything has been read.
    pub(crate) fn account(&self) -> Result<Account, Error> {
        self.loaded.faults.books()?;
        let cpus: Vec<Counters> = bpf::lookup_per_cpu(self.loaded.map("COUNTERS")?, self.cpus)
            .map_err(|source| Error::Read {
                what: "the counters",
                source,
            })?;
        let mut counters = Counters::default();
        cpus.iter().for_each(|cpu| counters.add(cpu));
        let Counters {
            produced,
            ring_full,
            map_full,
            unreadable,
            busy,
            over_quota,
            sampled,
            filtered,
            weighted,
            stacks_missing,
            taken_over,
            given_back,
            stacks_truncated,
            folded,
        } = counters;
        let skipped: u64 = self
            .programs
            .iter()
            .filter_map(|program| bpf::missed_runs(program.as_fd()).ok())
            .sum();

        let Read {
            delivered,
            filtered: filtered_here,
            beyond_limit,
            malformed,
            no_room,
        } = self.rows.so_far(Counted { weighted, folded });
        Ok(Account {
            produced,
            delivered,
            filtered: filtered + filtered_here,
            beyond_limit,
            sampled,
            lost: Lost {
                ring_full,
                map_full: map_full + no_room,
                unreadable,
                busy,
                over_quota,
                malformed,
            },
            stacks_missing,
            stacks_truncated,
            missed_runs: skipped.saturating_sub(taken_over.saturating_sub(given_back)),
            ..Account::default()
        })
    }
}

/// How many values a per-CPU map has per key: the CPUs that could ever be there, as in `0-3`.
pub(crate) fn possible_cpus() -> usize {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    parse_cpus(&list).unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

pub(crate) fn parse_cpus(list: &str) -> Option<usize> {
    let last = list.trim().rsplit([',', '-']).next()?;
    last.parse::<usize>().ok()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn possible_cpus_are_counted_to_the_last() {
        assert_eq!(parse_cpus("0-3\n"), Some(4));
        assert_eq!(parse_cpus("0"), Some(1));
        assert_eq!(parse_cpus("0-1,4-7"), Some(8));
        assert_eq!(parse_cpus(""), None);
    }
}
