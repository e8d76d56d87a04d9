//! Reads a loaded tracer's rows and books. Where the rows come from is one file for each source in `source`.

use crate::{
    Account, Error, Lost, bpf,
    load::Loaded,
    source::{
        Counted, LastTable, Read, Rows,
        ring::{Bell, Ring},
        sieve::Sieve,
    },
};
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::OnceLock,
};
use tracers::{Batch, Dataset, LABELS, Left, control::Counters};

/// Reads one tracer.
pub(crate) struct Reader {
    pub(crate) loaded: Loaded,
    /// The first of each pair: what they miss is made up for by the second, or told.
    programs: Vec<OwnedFd>,
    /// Of each dataset.
    rows: Vec<Rows>,
    /// What removes rows of each dataset.
    sieves: Vec<Sieve>,
    /// Where no dataset has the ring.
    bell: Option<Bell>,
    /// Bounds the first dataset.
    max_events: u64,
    cpus: usize,
}

impl Reader {
    pub(crate) fn new(
        mut loaded: Loaded,
        datasets: Vec<Dataset>,
        max_events: Option<u64>,
        left: Vec<Left>,
        labels: [bool; LABELS.len()],
    ) -> Result<Self, Error> {
        let (mut rows, mut sieves) = (Vec::new(), Vec::new());
        let mut left = left.into_iter();
        // The first dataset's.
        let mut limit = max_events;
        for dataset in datasets {
            let left = left.next().unwrap_or_default();
            let (sieve, early, limit) = Sieve::new(&dataset, left, labels, limit.take());
            rows.push(Rows::of(&mut loaded, dataset, limit, early)?);
            sieves.push(sieve);
        }
        let bell = match rows.iter().any(|one| matches!(one, Rows::Ring(_))) {
            true => None,
            false => Some(Bell::new(&mut loaded)?),
        };
        Ok(Self {
            rows,
            sieves,
            bell,
            programs: loaded.first_programs()?,
            loaded,
            max_events: max_events.unwrap_or(u64::MAX),
            cpus: possible_cpus(),
        })
    }

    /// The ring, which one dataset has at most, with that one's number.
    fn ring(&self) -> Option<(usize, &Ring)> {
        self.rows
            .iter()
            .enumerate()
            .find_map(|(at, rows)| match rows {
                Rows::Ring(ring) => Some((at, ring)),
                Rows::PerCpu(_) | Rows::Shared(_) | Rows::Snapshot(_) => None,
            })
    }

    /// Bytes of the ring, which is mapped here.
    pub(crate) fn ring_bytes(&self) -> u64 {
        let bell = self.bell.as_ref().map_or(0, Bell::bytes);
        self.ring().map_or(bell, |(_, ring)| ring.bytes())
    }

    /// Readable when something is in the ring, by which programs wake the reader.
    pub(crate) fn ring_fd(&self) -> Option<BorrowedFd<'_>> {
        let bell = self.bell.as_ref().map(Bell::fd);
        bell.or_else(|| self.ring().map(|(_, ring)| ring.fd()))
    }

    /// When the last table of each dataset is read.
    pub(crate) fn last_tables(&self) -> impl Iterator<Item = LastTable> {
        self.rows.iter().map(Rows::last_table)
    }

    /// Whether as many events of the first dataset as were asked for have been delivered: of tables `told` is what the last account said.
    pub(crate) fn at_limit(&self, told: u64) -> bool {
        match self.rows.first().zip(self.sieves.first()) {
            Some((Rows::Ring(ring), sieve)) => sieve.delivered(ring.delivered()) >= self.max_events,
            Some((Rows::PerCpu(_) | Rows::Shared(_) | Rows::Snapshot(_), _)) | None => {
                told >= self.max_events
            }
        }
    }

    /// The number of the dataset that the ring has.
    pub(crate) fn ring_dataset(&self) -> Option<usize> {
        self.ring().map(|(at, _)| at)
    }

    /// Takes everything out of the ring, a batch of at most so many rows at a time; says whether anything was there.
    pub(crate) fn drain(
        &mut self,
        batch_rows: usize,
        mut each: impl FnMut(&Loaded, &mut Sieve, Batch) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let loaded = &self.loaded;
        let mut any = self.bell.as_mut().is_some_and(Bell::rang);
        for (rows, sieve) in self.rows.iter_mut().zip(&mut self.sieves) {
            match rows {
                Rows::Ring(ring) => {
                    any |= ring.drain(loaded, batch_rows, |batch| each(loaded, sieve, batch))?;
                }
                Rows::PerCpu(_) | Rows::Shared(_) | Rows::Snapshot(_) => {}
            }
        }
        Ok(any)
    }

    /// The table of a dataset at this time, without rows that are removed before they have names; without any where they are events.
    pub(crate) fn table(&mut self, dataset: usize) -> Result<Batch, Error> {
        let Some((rows, sieve)) = (self.rows.get_mut(dataset)).zip(self.sieves.get_mut(dataset))
        else {
            return Err(Error::Bug("a table of a dataset that there is not"));
        };
        let table = rows.table(&mut self.loaded)?;
        Ok(sieve.early(table, rows.of_reading()))
    }

    /// A table with names and labels, without the rows that are removed by these.
    pub(crate) fn named_table(&mut self, dataset: usize, table: Batch) -> Batch {
        match self.sieves.get_mut(dataset) {
            Some(sieve) => sieve.late_table(table),
            None => table,
        }
    }

    /// The books so far, of all datasets, and what was delivered of the first. They balance when nothing runs any more and everything has been
    /// read: an event that is in several datasets is in the books of each.
    pub(crate) fn account(&self) -> Result<(Account, u64), Error> {
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
        let skipped = skipped + self.loaded.missed_at_links();

        let mut of_each = (self.rows.iter().zip(&self.sieves))
            .map(|(rows, sieve)| sieve.so_far(rows.so_far(Counted { weighted, folded })));
        let first = of_each.next().unwrap_or_default();
        let Read {
            delivered,
            filtered: filtered_here,
            beyond_limit,
            malformed,
            no_room,
        } = of_each.fold(first, Read::and);
        let account = Account {
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
            untraced: self.loaded.untraced(),
            ..Account::default()
        };
        Ok((account, first.delivered))
    }
}

/// How many values a per-CPU map has per key: the CPUs that could ever be there, as in `0-3`.
pub(crate) fn possible_cpus() -> usize {
    // It is asked for with every account, and stays the same until the machine is started again.
    static POSSIBLE: OnceLock<usize> = OnceLock::new();
    *POSSIBLE.get_or_init(|| {
        let list = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
        let here = || std::thread::available_parallelism().map_or(1, usize::from);
        parse_cpus(&list).unwrap_or_else(here)
    })
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
