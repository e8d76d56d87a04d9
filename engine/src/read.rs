//! Reads the rows and the account of a loaded tracer. Each source of rows has its own file in `source`.

use crate::{
    Account, Error, Lost, UserStacks, bpf,
    cpus::possible_cpus,
    load::Loaded,
    source::{
        Counted, LastTable, Read, Rows,
        copies::{CopiedRow, Copies},
        ring::{Bell, Ring},
        sieve::Sieve,
    },
    stage::stacks::Depths,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tracers::{Batch, Dataset, LABELS, Left, control::Counters};

/// Reader of one tracer.
pub(crate) struct Reader {
    pub(crate) loaded: Loaded,
    /// The first program of each pair: events that it misses are handled by the second one, or counted.
    programs: Vec<OwnedFd>,
    /// Rows of each dataset.
    rows: Vec<Rows>,
    /// Filters of each dataset.
    sieves: Vec<Sieve>,
    /// The ring, if no dataset uses it.
    bell: Option<Bell>,
    /// Limit of events of the first dataset.
    max_events: u64,
    cpus: usize,
    skipped: Option<Skipped>,
}

/// Program runs that the kernel skipped. Each program and link takes a system call, so idle traces read them rarely.
struct Skipped {
    runs: u64,
    /// Number of produced events when the runs were read.
    produced: u64,
    /// Number of accounts since then.
    accounts: u32,
}

/// Accounts of an idle trace between two readings of the skipped runs.
const SKIPPED_EVERY: u32 = 10;

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
        // For the first dataset.
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
            skipped: None,
        })
    }

    /// Returns the ring, which at most one dataset uses, and the number of this dataset.
    fn ring(&self) -> Option<(usize, &Ring)> {
        self.rows
            .iter()
            .enumerate()
            .find_map(|(at, rows)| match rows {
                Rows::Ring(ring) => Some((at, ring)),
                Rows::PerCpu(_) | Rows::Shared(_) | Rows::Snapshot(_) => None,
            })
    }

    /// Returns the bytes of the ring, which is mapped here.
    pub(crate) fn ring_bytes(&self) -> u64 {
        let bell = self.bell.as_ref().map_or(0, Bell::bytes);
        let copies = self.copies().map_or(0, Copies::bytes);
        copies + self.ring().map_or(bell, |(_, ring)| ring.bytes())
    }

    /// Returns the ring of copied stacks, which at most one dataset has.
    fn copies(&self) -> Option<&Copies> {
        self.rows.iter().find_map(|rows| match rows {
            Rows::PerCpu(source) => source.copies(),
            Rows::Ring(_) | Rows::Shared(_) | Rows::Snapshot(_) => None,
        })
    }

    /// Returns the descriptor of the ring of copied stacks.
    pub(crate) fn copies_fd(&self) -> Option<BorrowedFd<'_>> {
        self.copies().map(Copies::fd)
    }

    /// Adds the rows with copied stacks to their table. `unwind` gets the number of the dataset and some rows, and returns the numbers of the
    /// unwound stacks.
    pub(crate) fn take_copies(
        &mut self,
        mut unwind: impl FnMut(&Loaded, usize, &[CopiedRow]) -> Result<Vec<Option<u64>>, Error>,
    ) -> Result<(), Error> {
        let loaded = &self.loaded;
        for (at, rows) in self.rows.iter_mut().enumerate() {
            match rows {
                Rows::PerCpu(source) => {
                    source.take_copies(|rows| unwind(loaded, at, rows))?;
                }
                Rows::Ring(_) | Rows::Shared(_) | Rows::Snapshot(_) => {}
            }
        }
        Ok(())
    }

    /// Returns the descriptor of the ring, which is readable when programs wake the reader.
    pub(crate) fn ring_fd(&self) -> Option<BorrowedFd<'_>> {
        let bell = self.bell.as_ref().map(Bell::fd);
        bell.or_else(|| self.ring().map(|(_, ring)| ring.fd()))
    }

    /// Returns when the last table of each dataset is read.
    pub(crate) fn last_tables(&self) -> impl Iterator<Item = LastTable> {
        self.rows.iter().map(Rows::last_table)
    }

    /// Returns whether the first dataset has reached its limit of events. `in_account` is the number of its events in the last account,
    /// which counts for tables.
    pub(crate) fn at_limit(&self, in_account: u64) -> bool {
        match self.rows.first().zip(self.sieves.first()) {
            Some((Rows::Ring(ring), sieve)) => sieve.delivered(ring.delivered()) >= self.max_events,
            Some((Rows::PerCpu(_) | Rows::Shared(_) | Rows::Snapshot(_), _)) | None => {
                in_account >= self.max_events
            }
        }
    }

    /// Returns the number of the dataset that uses the ring.
    pub(crate) fn ring_dataset(&self) -> Option<usize> {
        self.ring().map(|(at, _)| at)
    }

    /// Empties the ring, in batches of at most `batch_rows` rows. Returns whether there were any records.
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

    /// Reads the table of a dataset, without the rows that are removed before they have names. A dataset of events has an empty table.
    pub(crate) fn table(&mut self, dataset: usize) -> Result<Batch, Error> {
        let Some((rows, sieve)) = (self.rows.get_mut(dataset)).zip(self.sieves.get_mut(dataset))
        else {
            return Err(Error::Bug("a table of an unknown dataset"));
        };
        let table = rows.table(&mut self.loaded)?;
        Ok(sieve.early(table, rows.of_reading()))
    }

    /// Removes the rows of a table that are filtered by names and labels. `depths` are those of its user stacks.
    pub(crate) fn named_table(&mut self, dataset: usize, table: Batch, depths: &Depths) -> Batch {
        match self.sieves.get_mut(dataset) {
            Some(sieve) => sieve.late_table(table, depths),
            None => table,
        }
    }

    fn counters(&self) -> Result<Counters, Error> {
        let cpus: Vec<Counters> = bpf::lookup_per_cpu(self.loaded.map("COUNTERS")?, self.cpus)
            .map_err(|source| Error::Read {
                what: "the counters",
                source,
            })?;
        let mut counters = Counters::default();
        cpus.iter().for_each(|cpu| counters.add(cpu));
        Ok(counters)
    }

    /// Returns the number of events of all datasets until now. While it is the same, per-CPU and shared tables are the same, because every
    /// event is counted after it has changed its rows.
    pub(crate) fn produced(&self) -> Result<u64, Error> {
        Ok(self.counters()?.produced)
    }

    /// Returns the number of skipped runs. While no events are produced, it may be that of an earlier account.
    fn skipped(&mut self, produced: u64) -> u64 {
        if let Some(known) = &mut self.skipped
            && known.produced == produced
            && known.accounts < SKIPPED_EVERY
        {
            known.accounts += 1;
            return known.runs;
        }
        let of_programs = { self.programs.iter() }
            .filter_map(|program| bpf::missed_runs(program.as_fd()).ok())
            .sum::<u64>();
        let runs = of_programs + self.loaded.missed_at_links();
        self.skipped = Some(Skipped {
            runs,
            produced,
            accounts: 0,
        });
        runs
    }

    /// Returns the numbers of delivered user stacks of all datasets.
    fn user_stacks(&self) -> UserStacks {
        let mut all = UserStacks::default();
        self.sieves
            .iter()
            .for_each(|sieve| all.add(sieve.user_stacks()));
        all
    }

    /// Returns the account of all datasets after its programs have been detached.
    pub(crate) fn last_account(&mut self) -> Result<Account, Error> {
        self.skipped = None;
        Ok(self.account()?.0)
    }

    /// Returns the account of all datasets until now, and the delivered events of the first one. The account balances when no program runs
    /// and all rows have been read. An event of several datasets is counted in each.
    pub(crate) fn account(&mut self) -> Result<(Account, u64), Error> {
        self.loaded.faults.account()?;
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
            stacks_not_copied,
        } = self.counters()?;
        let skipped = self.skipped(produced);

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
            stacks_not_unwound: stacks_not_copied,
            user_stacks: self.user_stacks(),
            missed_runs: skipped.saturating_sub(taken_over.saturating_sub(given_back)),
            untraced: self.loaded.untraced(),
            ..Account::default()
        };
        Ok((account, first.delivered))
    }
}
