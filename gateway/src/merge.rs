//! Rows of events from several nodes in the order of their times.
//!
//! Each row waits for [`WINDOW`] at most, counted from its arrival, for earlier ones of other nodes; what comes later than that comes all
//! the same, out of order, and is counted as late. Times are the nodes' own: nodes whose clocks differ by more than the window are in the
//! order of neither, and none of their rows is lost. Where rows come from one node alone they wait for nobody.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tracers::{Batch, Value};

/// How long a row waits for others. Agents tell what they have each 100 ms; the rest is for the network and for clocks.
pub(crate) const WINDOW: Duration = Duration::from_millis(300);

/// One trace of a job on one node. A node that is started anew has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Origin {
    /// The node, as the hub numbers it.
    pub(crate) node: u32,
    /// Which of its traces: the hub numbers them in the order in which they come.
    pub(crate) trace: u32,
}

/// Rows of one origin in an entry, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) origin: Origin,
    /// Rows of it before these.
    pub(crate) before: u64,
    pub(crate) rows: u32,
}

/// Rows that belong together.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) batch: Arc<Batch>,
    pub(crate) sources: Vec<Source>,
    /// Which of the sources each row is of; empty where there is one.
    pub(crate) of: Vec<u32>,
    /// Rows whose times are before those of rows that have gone already.
    pub(crate) late: u64,
}

struct Held {
    batch: Arc<Batch>,
    source: Source,
    /// The first row that has not gone yet.
    next: u32,
    arrived: Instant,
    /// The latest time of its origin until each row: an origin's rows keep their order.
    times: Vec<u64>,
}

/// Rows that wait.
pub(crate) struct Merge {
    /// The column of times; rows without one go in the order in which they come.
    time: Option<usize>,
    held: Vec<Held>,
    /// Of each origin: the latest time so far.
    latest: HashMap<Origin, u64>,
    /// Of all rows that have gone.
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

    /// Rows have come.
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

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The rows that have waited long enough: those until `time` (ns since 1970), which is so long ago, and those that came so long ago.
    pub(crate) fn take(&mut self, now: Instant, time: u64) -> Option<Entry> {
        self.take_until(|held| match now.duration_since(held.arrived) >= WINDOW {
            true => u64::MAX,
            false => time,
        })
    }

    /// All of them.
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
        // Runs that are in order already are merged, not sorted.
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
        // The newest source of each origin.
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
            // Where the agent has left something out the rest is another source.
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
        // All of one batch: it goes as it came.
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
        // They have waited long enough, whatever their clocks say.
        let rest = merge.take(now + WINDOW, 0).unwrap();
        assert_eq!(times(&rest), [40, 50]);
        assert_eq!(rest.sources, [of(B, 8, 1), of(A, 2, 1)]);
        assert_eq!((rest.late, merge.is_empty()), (0, true));
    }

    #[test]
    fn a_row_that_comes_too_late_comes_all_the_same_and_is_counted() {
        let (mut merge, now) = (Merge::new(Some(0)), Instant::now());
        merge.add(of(A, 0, 2), rows(&[10, 50]), now);
        assert_eq!(times(&merge.take_all().unwrap()), [10, 50]);
        merge.add(of(B, 0, 3), rows(&[20, 30, 60]), now);
        let late = merge.take_all().unwrap();
        assert_eq!((times(&late), late.late), (vec![20, 30, 60], 2));
    }

    #[test]
    fn rows_of_one_node_keep_their_order_and_go_as_they_came() {
        let (mut merge, now) = (Merge::new(Some(0)), Instant::now());
        let batch = rows(&[10, 5, 20]);
        merge.add(of(A, 0, 3), Arc::clone(&batch), now);
        let whole = merge.take_all().unwrap();
        assert!(Arc::ptr_eq(&whole.batch, &batch), "nothing is copied");
        assert!(whole.of.is_empty());
        merge.add(of(A, 3, 2), rows(&[7, 30]), now);
        merge.add(of(B, 0, 1), rows(&[25]), now);
        let entry = merge.take_all().unwrap();
        // 7 stands where its node told it: after 20.
        assert_eq!(times(&entry), [7, 25, 30]);
        assert_eq!(entry.sources, [of(A, 3, 2), of(B, 0, 1)]);
    }

    #[test]
    fn what_an_agent_left_out_divides_its_rows() {
        let (mut merge, now) = (Merge::new(Some(0)), Instant::now());
        merge.add(of(A, 0, 1), rows(&[1]), now);
        merge.add(of(A, 9, 1), rows(&[2]), now);
        let entry = merge.take_all().unwrap();
        assert_eq!(entry.sources, [of(A, 0, 1), of(A, 9, 1)]);
        assert_eq!(entry.of, [0, 1]);
    }
}
