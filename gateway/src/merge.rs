//! Merging of events from several nodes by time.
//!
//! Each row waits for earlier rows of other nodes, for [`WINDOW`] after its arrival at most. A later row is delivered out of order and
//! counted as late. Times are those of the nodes: if clocks differ by more than the window, rows are out of order, but no row is lost. Rows
//! of a single node do not wait.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tracers::{Batch, Value};

/// Maximum time for which a row waits. Agents send rows each 100 ms; the rest is for the network and for differences of clocks.
pub(crate) const WINDOW: Duration = Duration::from_millis(300);

/// A trace of a job on one node. A restarted agent has a new trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Origin {
    /// Number of the node in the hub.
    pub(crate) node: u32,
    /// Number of the trace on its node, in the order of appearance.
    pub(crate) trace: u32,
}

/// Consecutive rows of one origin in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) origin: Origin,
    /// Number of earlier rows of the origin.
    pub(crate) before: u64,
    pub(crate) rows: u32,
}

/// Merged rows, with their sources.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) batch: Arc<Batch>,
    pub(crate) sources: Vec<Source>,
    /// Index of each row's source; empty if there is only one source.
    pub(crate) of: Vec<u32>,
    /// Number of rows that are older than delivered ones.
    pub(crate) late: u64,
}

struct Held {
    batch: Arc<Batch>,
    source: Source,
    /// Index of the first row that is not delivered yet.
    next: u32,
    arrived: Instant,
    /// Latest time of the origin up to each row, so that the rows of an origin keep their order.
    times: Vec<u64>,
}

/// Waiting rows of all origins.
pub(crate) struct Merge {
    /// Column with the time; rows without one are delivered in the order of arrival.
    time: Option<usize>,
    held: Vec<Held>,
    /// Latest time of each origin.
    latest: HashMap<Origin, u64>,
    /// Latest time of the delivered rows.
    newest: u64,
}

impl Merge {
    pub(crate) fn new(time: Option<usize>) -> Self {
        Self {
            time,
            held: Vec::new(),
            latest: HashMap::new(),
            newest: 0,
        }
    }

    /// Adds a batch of rows.
    pub(crate) fn add(&mut self, source: Source, batch: Arc<Batch>, arrived: Instant) {
        let latest = self.latest.entry(source.origin).or_default();
        let time = |row: usize| match self.time.map(|column| batch.value(column, row)) {
            Some(Value::Unsigned(time)) => time,
            _ => 0,
        };
        let times = (0..batch.rows()).map(|row| {
            *latest = time(row).max(*latest);
            *latest
        });
        let times = times.collect();
        self.held.push(Held {
            batch,
            source,
            next: 0,
            arrived,
            times,
        });
    }

    /// Returns whether no row waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes the rows that have waited for [`WINDOW`]: rows with times until `time` (ns since 1970), and rows that arrived that long ago.
    pub(crate) fn take(&mut self, now: Instant, time: u64) -> Option<Entry> {
        self.take_until(|held| match now.duration_since(held.arrived) >= WINDOW {
            true => u64::MAX,
            false => time,
        })
    }

    /// Takes all rows.
    pub(crate) fn take_all(&mut self) -> Option<Entry> {
        self.take_until(|_| u64::MAX)
    }

    fn take_until(&mut self, until: impl Fn(&Held) -> u64) -> Option<Entry> {
        let mut ready: Vec<(u64, u32, u32)> = Vec::new();
        for (at, held) in self.held.iter_mut().enumerate() {
            let until = until(held);
            let from = held.next as usize;
            let some = held.times[from..].partition_point(|time| *time <= until);
            let rows = held.times[from..from + some].iter().zip(held.next..);
            ready.extend(rows.map(|(time, row)| (*time, at as u32, row)));
            held.next += some as u32;
        }
        if ready.is_empty() {
            return None;
        }
        // The sort is stable, and merges runs that are in order already.
        ready.sort_by_key(|(time, ..)| *time);
        let late = ready.partition_point(|(time, ..)| *time < self.newest);
        self.newest = self.newest.max(ready[ready.len() - 1].0);
        let entry = self.entry(&ready, late as u64);
        self.held
            .retain(|held| (held.next as usize) < held.times.len());
        Some(entry)
    }

    fn entry(&self, ready: &[(u64, u32, u32)], late: u64) -> Entry {
        let mut sources: Vec<Source> = Vec::new();
        // Newest source of each origin.
        let mut newest: HashMap<Origin, u32> = HashMap::new();
        let mut of = Vec::with_capacity(ready.len());
        for (_, at, row) in ready {
            let held = &self.held[*at as usize].source;
            let before = held.before + u64::from(*row);
            let known = newest.get(&held.origin).copied();
            let follows = |known: &u32| {
                let source = &sources[*known as usize];
                source.before + u64::from(source.rows) == before
            };
            // The rows after a gap of an agent are a new source.
            let index = known.filter(follows).unwrap_or_else(|| {
                let index = sources.len() as u32;
                sources.push(Source {
                    before,
                    rows: 0,
                    ..*held
                });
                newest.insert(held.origin, index);
                index
            });
            sources[index as usize].rows += 1;
            of.push(index);
        }
        // All rows are of one batch, which is delivered unchanged.
        let (_, first, _) = ready[0];
        let held = &self.held[first as usize];
        let whole = held.batch.rows() == ready.len() && ready.iter().all(|(_, at, _)| *at == first);
        let batch = match whole {
            true => Arc::clone(&held.batch),
            false => {
                let batches: Vec<&Batch> = self.held.iter().map(|held| &*held.batch).collect();
                let rows: Vec<(u32, u32)> = ready.iter().map(|(_, at, row)| (*at, *row)).collect();
                let batch = Batch::gather(&batches, &rows);
                Arc::new(batch.expect("batches of one schema"))
            }
        };
        if sources.len() == 1 {
            of.clear();
        }
        Entry {
            batch,
            sources,
            of,
            late,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracers::Data;

    const A: Origin = Origin { node: 0, trace: 0 };
    const B: Origin = Origin { node: 1, trace: 0 };

    fn rows(times: &[u64]) -> Arc<Batch> {
        let columns = vec![Data::Unsigned(times.to_vec())];
        Arc::new(Batch::from_columns(columns, Vec::new()))
    }

    fn of(origin: Origin, before: u64, rows: u32) -> Source {
        Source {
            origin,
            before,
            rows,
        }
    }

    fn times(entry: &Entry) -> Vec<u64> {
        let Data::Unsigned(times) = &entry.batch.columns[0] else {
            panic!("times are numbers");
        };
        times.clone()
    }

    #[test]
    fn rows_of_two_nodes_come_in_the_order_of_their_times() {
        let (mut merge, now) = (Merge::new(Some(0)), Instant::now());
        merge.add(of(A, 0, 3), rows(&[10, 30, 50]), now);
        merge.add(of(B, 7, 2), rows(&[20, 40]), now);
        let first = merge.take(now, 30).unwrap();
        assert_eq!(times(&first), [10, 20, 30]);
        assert_eq!(first.of, [0, 1, 0]);
        assert_eq!(first.sources, [of(A, 0, 2), of(B, 7, 1)]);
        assert!(merge.take(now, 30).is_none());
        // The rows have waited long enough; their times do not matter.
        let rest = merge.take(now + WINDOW, 0).unwrap();
        assert_eq!(times(&rest), [40, 50]);
        assert_eq!(rest.sources, [of(B, 8, 1), of(A, 2, 1)]);
        assert_eq!((rest.late, merge.is_empty()), (0, true));
    }

    #[test]
    fn a_late_row_is_delivered_and_counted() {
        let (mut merge, now) = (Merge::new(Some(0)), Instant::now());
        merge.add(of(A, 0, 2), rows(&[10, 50]), now);
        assert_eq!(times(&merge.take_all().unwrap()), [10, 50]);
        merge.add(of(B, 0, 3), rows(&[20, 30, 60]), now);
        let late = merge.take_all().unwrap();
        assert_eq!((times(&late), late.late), (vec![20, 30, 60], 2));
    }

    #[test]
    fn rows_of_one_node_keep_their_order() {
        let (mut merge, now) = (Merge::new(Some(0)), Instant::now());
        let batch = rows(&[10, 5, 20]);
        merge.add(of(A, 0, 3), Arc::clone(&batch), now);
        let whole = merge.take_all().unwrap();
        assert!(Arc::ptr_eq(&whole.batch, &batch), "nothing is copied");
        assert!(whole.of.is_empty());
        merge.add(of(A, 3, 2), rows(&[7, 30]), now);
        merge.add(of(B, 0, 1), rows(&[25]), now);
        let entry = merge.take_all().unwrap();
        // 7 keeps its place in the order of its node, after 20.
        assert_eq!(times(&entry), [7, 25, 30]);
        assert_eq!(entry.sources, [of(A, 3, 2), of(B, 0, 1)]);
    }

    #[test]
    fn rows_around_a_gap_of_an_agent_have_separate_sources() {
        let (mut merge, now) = (Merge::new(Some(0)), Instant::now());
        merge.add(of(A, 0, 1), rows(&[1]), now);
        merge.add(of(A, 9, 1), rows(&[2]), now);
        let entry = merge.take_all().unwrap();
        assert_eq!(entry.sources, [of(A, 0, 1), of(A, 9, 1)]);
        assert_eq!(entry.of, [0, 1]);
    }
}
