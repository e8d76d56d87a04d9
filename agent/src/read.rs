//! Reads a loaded tracer's rows and books: the ring as events come, a map whenever asked.

use crate::limits::{BATCH_BYTES, BATCH_ROWS};
use crate::{
    Account, Error, Lost, bpf,
    load::{Loaded, locked_bytes},
};
use aya::maps::{MapData, RingBuf};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tracers::{
    Batch, Column, Data, Erased, Role, Source, Table, Value,
    control::{Counters, FirstHead},
};
use zerocopy::IntoBytes;

/// Reads one tracer.
pub(crate) struct Reader {
    pub(crate) loaded: Loaded,
    /// The first of each pair: what they miss is made up for by the second, or told.
    programs: Vec<OwnedFd>,
    tracer: &'static dyn Erased,
    columns: Vec<Column>,
    count_column: Option<usize>,
    ring: Option<RingBuf<MapData>>,
    /// Records that came out of the ring, whether or not they decoded.
    malformed: u64,
    pub(crate) delivered: u64,
    pub(crate) beyond_limit: u64,
    max_events: u64,
    cpus: usize,
}

impl Reader {
    pub(crate) fn new(
        mut loaded: Loaded,
        tracer: &'static dyn Erased,
        max_events: Option<u64>,
    ) -> Result<Self, Error> {
        let ring = match tracer.source() {
            Source::Ring => Some(RingBuf::try_from(loaded.take_map("EVENTS")?).map_err(
                |error| {
                    let what = format!("the ring of {} cannot be mapped", tracer.name());
                    Error::exhausted(&what, &error).unwrap_or_else(|| Error::Load {
                        tracer: tracer.name(),
                        reason: format!("its ring cannot be mapped: {error}"),
                    })
                },
            )?),
            Source::Map => None,
        };
        let columns = tracer.columns();
        Ok(Self {
            programs: loaded.first_programs()?,
            loaded,
            tracer,
            count_column: columns.iter().position(|column| column.role == Role::Count),
            columns,
            ring,
            malformed: 0,
            delivered: 0,
            beyond_limit: 0,
            max_events: max_events.unwrap_or(u64::MAX),
            cpus: possible_cpus(),
        })
    }

    /// How its rows leave the kernel.
    pub(crate) fn source(&self) -> Source {
        self.tracer.source()
    }

    /// Bytes of the ring, which is mapped here.
    pub(crate) fn ring_bytes(&self) -> u64 {
        self.ring_fd().map_or(0, locked_bytes)
    }

    /// Readable when the ring has passed its watermark.
    pub(crate) fn ring_fd(&self) -> Option<BorrowedFd<'_>> {
        self.ring.as_ref().map(AsFd::as_fd)
    }

    /// Whether as many events as were asked for have been delivered.
    pub(crate) fn at_limit(&self) -> bool {
        self.delivered >= self.max_events
    }

    /// Takes everything out of the ring, a batch at a time.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(Batch)) {
        let Some(ring) = &mut self.ring else {
            return;
        };
        let mut batch = Batch::new(&self.columns);
        let mut bytes = 0;
        while let Some(record) = ring.next() {
            if self.delivered >= self.max_events {
                self.beyond_limit += 1;
                continue;
            }
            let faults = self.loaded.faults.record(self.delivered + self.malformed);
            match faults.and_then(|()| self.tracer.decode(&record, &mut batch)) {
                Ok(()) => self.delivered += 1,
                Err(error) => {
                    self.malformed += 1;
                    tracing::error!(tracer = self.tracer.name(), %error, "a record did not decode");
                }
            }
            bytes += record.len();
            drop(record);
            if batch.rows() >= BATCH_ROWS || bytes >= BATCH_BYTES {
                bytes = 0;
                let next = Batch::like(&batch, &self.columns);
                each(std::mem::replace(&mut batch, next));
            }
        }
        if batch.rows() > 0 {
            each(batch);
        }
    }

    /// The map's rows so far, merged over CPUs.
    pub(crate) fn table(&mut self) -> Result<Batch, Error> {
        let failed = |source| Error::Read {
            what: "the map of rows",
            source,
        };
        let (key_bytes, row_bytes) = (self.tracer.key_bytes(), self.tracer.row_bytes());
        let value_bytes = row_bytes - key_bytes;
        let mut table = Table::new(&self.columns);
        let mut add = |parts: &mut dyn Iterator<Item = &[u8]>| {
            let mut batch = Batch::new(&self.columns);
            for record in parts {
                if let Err(error) = self.tracer.decode(record, &mut batch) {
                    tracing::error!(tracer = self.tracer.name(), %error, "a row did not decode");
                }
            }
            table.add(&batch);
        };
        // The kernel rounds each CPU's value up to 8 bytes.
        const HEAD: usize = size_of::<FirstHead>();
        let used = FirstHead { used: 1 };
        let first = self.loaded.map("FIRST")?;
        let stride = HEAD + row_bytes.next_multiple_of(8);
        let mut values = vec![0; stride * self.cpus];
        let mut entry = 0u32;
        while bpf::lookup(first, &entry.to_ne_bytes(), &mut values).map_err(failed)? {
            let values = values.chunks_exact(stride);
            let used = values.filter(|value| value[..HEAD] == *used.as_bytes());
            add(&mut used.map(|value| &value[HEAD..HEAD + row_bytes]));
            entry += 1;
        }
        let map = self.loaded.map("ROWS")?;
        // The schema has no value that needs it here.
        let stride = value_bytes.next_multiple_of(8);
        let mut values = vec![0; stride * self.cpus];
        let mut key: Option<Vec<u8>> = None;
        let mut next = vec![0; key_bytes];
        while bpf::next_key(map, key.as_deref(), &mut next).map_err(failed)? {
            if bpf::lookup(map, &next, &mut values).map_err(failed)? {
                let records: Vec<Vec<u8>> = values
                    .chunks_exact(stride)
                    // A CPU that never saw this key has no minimum and no last value to tell.
                    .filter(|value| value.iter().any(|&b| b != 0))
                    .map(|value| [&next, &value[..value_bytes]].concat())
                    .collect();
                add(&mut records.iter().map(Vec::as_slice));
            }
            key = Some(next.clone());
        }
        let rows = table.batch();
        self.delivered = self
            .count_column
            .map_or(0, |column| total(&rows.columns[column]));
        Ok(rows)
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
            weighted,
            stacks_missing,
            taken_over,
            given_back,
            stacks_truncated,
        } = counters;
        let skipped: u64 = self
            .programs
            .iter()
            .filter_map(|program| bpf::missed_runs(program.as_fd()).ok())
            .sum();

        Ok(Account {
            produced,
            // A row that stands for others besides is one event.
            delivered: self.delivered.saturating_sub(weighted),
            beyond_limit: self.beyond_limit,
            sampled,
            lost: Lost {
                ring_full,
                map_full,
                unreadable,
                busy,
                over_quota,
                malformed: self.malformed,
            },
            stacks_missing,
            stacks_truncated,
            missed_runs: skipped.saturating_sub(taken_over.saturating_sub(given_back)),
            ..Account::default()
        })
    }
}

fn total(column: &Data) -> u64 {
    (0..column.rows())
        .map(|row| match column.value(row) {
            Value::Unsigned(n) => n,
            _ => 0,
        })
        .sum()
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
