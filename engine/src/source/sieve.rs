//! The part of a filter that the kernel side does not test, and the account of the rows that it removes.
//!
//! The ring tests its rows when they are decoded; rows of tables are tested when the table is complete. Conditions on names or labels are
//! tested when rows have these. Each row of a table stands for events, so a removed row filters its share of them.

use super::Read;
use crate::{UserStacks, stage::stacks::Depths};
use tracers::{Batch, Dataset, Filter, LABELS, Left, Role, Value};

/// The filter of one dataset after the kernel side.
pub(crate) struct Sieve {
    /// The filter of tables before rows have names.
    early: Option<Filter>,
    /// The filter of rows with names and labels.
    late: Option<Filter>,
    /// Limit of delivered events, if the ring cannot apply it because rows are removed later.
    most: u64,
    /// The column of a table that counts events.
    count: Option<usize>,
    /// Number of columns of labels, which precede the others.
    labels: usize,
    events: Events,
    table: Share,
    /// User stacks of delivered events, or of the last table.
    user_stacks: UserStacks,
}

/// Account of the rows of events that were tested with names and labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Events {
    kept: u64,
    filtered: u64,
    beyond_limit: u64,
}

/// Account of the rows of the last table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    /// Counts of the kept rows.
    kept: u64,
    /// Counts of the removed rows.
    removed: u64,
    /// Events of the table, if each reading has its own events.
    reading: Option<u64>,
    /// Filtered events of earlier readings.
    before: u64,
}

impl Share {
    /// Returns the filtered events, out of `events` if all readings are of the same events.
    fn filtered(&self, events: u64) -> u64 {
        let all = u128::from(self.kept) + u128::from(self.removed);
        let of_last = u128::from(self.reading.unwrap_or(events));
        let part = (of_last * u128::from(self.removed)).checked_div(all);
        // The part is not greater than the whole, which has 64 bits.
        self.before + part.unwrap_or(0) as u64
    }
}

impl Sieve {
    /// Returns the sieve of a dataset, with the filter and the limit that its ring applies by itself.
    pub(crate) fn new(
        dataset: &Dataset,
        Left { early, late }: Left,
        has: [bool; LABELS.len()],
        max_events: Option<u64>,
    ) -> (Self, Option<Filter>, Option<u64>) {
        let mut columns = dataset.columns.iter();
        let sieve = Self {
            early: early.clone(),
            late: late.map(|late| late.with_labels(has)),
            most: max_events.unwrap_or(u64::MAX),
            count: columns.position(|column| column.role == Role::Count),
            labels: has.iter().filter(|has| **has).count(),
            events: Events::default(),
            table: Share::default(),
            user_stacks: UserStacks::default(),
        };
        let limit = max_events.filter(|_| sieve.late.is_none());
        (sieve, early, limit)
    }

    /// Removes rows of a table that was just read. `reading` is the number of its events, if each reading has its own events.
    pub(crate) fn early(&mut self, table: Batch, reading: Option<u64>) -> Batch {
        self.table = Share {
            before: match self.table.reading {
                Some(_) => self.table.filtered(0),
                None => 0,
            },
            kept: 0,
            removed: 0,
            reading,
        };
        let rows = 0..table.rows() as u32;
        let (kept, removed) = match &self.early {
            Some(filter) => filter.sorted(&table),
            None => (rows.collect(), Vec::new()),
        };
        self.table.kept = self.weight(&table, &kept, 0);
        self.table.removed = self.weight(&table, &removed, 0);
        without(table, &kept, &removed)
    }

    /// Removes rows of events with names and labels. `depths` are those of their user stacks.
    pub(crate) fn late_events(&mut self, rows: Batch, depths: &Depths) -> Batch {
        let Some(filter) = &self.late else {
            self.count_stacks(0..rows.rows(), depths, |_| 1);
            return rows;
        };
        let (mut kept, mut removed) = filter.sorted(&rows);
        self.events.filtered += removed.len() as u64;
        let room = self.most.saturating_sub(self.events.kept);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let beyond = kept.split_off(room.min(kept.len()));
        self.events.beyond_limit += beyond.len() as u64;
        self.events.kept += kept.len() as u64;
        removed.extend(beyond);
        self.count_stacks(kept.iter().map(|row| *row as usize), depths, |_| 1);
        without(rows, &kept, &removed)
    }

    /// Removes rows of a table with names and labels. `depths` are those of its user stacks.
    pub(crate) fn late_table(&mut self, table: Batch, depths: &Depths) -> Batch {
        self.user_stacks = UserStacks::default();
        let count = self.count.map(|count| count + self.labels);
        let events = |row| match count.map(|count| table.value(count, row)) {
            Some(Value::Unsigned(n)) => n,
            _ => 1,
        };
        let Some(filter) = &self.late else {
            self.count_stacks(0..table.rows(), depths, events);
            return table;
        };
        let (kept, removed) = filter.sorted(&table);
        self.count_stacks(kept.iter().map(|row| *row as usize), depths, events);
        let weight = self.weight(&table, &removed, self.labels);
        self.table.kept = self.table.kept.saturating_sub(weight);
        self.table.removed += weight;
        without(table, &kept, &removed)
    }

    fn count_stacks(
        &mut self,
        rows: impl Iterator<Item = usize> + Clone,
        depths: &Depths,
        events: impl Fn(usize) -> u64,
    ) {
        for column in &depths.columns {
            for row in rows.clone() {
                if let Some(Some(depth)) = column.get(row) {
                    let stacks = &mut self.user_stacks;
                    stacks.count(usize::from(*depth), depths.most, events(row));
                }
            }
        }
    }

    /// Returns the numbers of delivered user stacks.
    pub(crate) fn user_stacks(&self) -> UserStacks {
        self.user_stacks
    }

    /// Returns the sum of the rows' counts. Without a column of counts, each row counts as 1.
    fn weight(&self, table: &Batch, rows: &[u32], labels: usize) -> u64 {
        let Some(count) = self.count else {
            return rows.len() as u64;
        };
        let counts = rows
            .iter()
            .map(|row| match table.value(count + labels, *row as usize) {
                Value::Unsigned(n) => n,
                Value::Signed(_) | Value::Bytes(..) | Value::List(_) | Value::Frames(_) => 0,
            });
        counts.fold(0, u64::saturating_add)
    }

    /// Returns the number of `read` events that were not removed.
    pub(crate) fn delivered(&self, read: u64) -> u64 {
        let Events {
            kept: _,
            filtered,
            beyond_limit,
        } = self.events;
        read.saturating_sub(filtered + beyond_limit)
    }

    /// Returns the account, including the rows that were removed here.
    pub(crate) fn so_far(&self, read: Read) -> Read {
        let of_table = self.table.filtered(read.delivered).min(read.delivered);
        let filtered = self.events.filtered + of_table;
        Read {
            delivered: self.delivered(read.delivered) - of_table,
            filtered: read.filtered + filtered,
            beyond_limit: read.beyond_limit + self.events.beyond_limit,
            ..read
        }
    }
}

/// Returns the kept rows, in most cases all.
fn without(rows: Batch, kept: &[u32], removed: &[u32]) -> Batch {
    match removed {
        [] => rows,
        _ => rows.only(kept),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracers::{Data, find};

    /// Returns the sieve of a tracer's first dataset, whose rows have no labels.
    fn sieve(tracer: &str, condition: &str, most: Option<u64>) -> Sieve {
        let dataset = find(tracer).unwrap().datasets().remove(0);
        let filter = Filter::parse(condition, &dataset.labelled()).unwrap();
        let (early, late) = filter.by_time(LABELS.len());
        Sieve::new(&dataset, Left { early, late }, [false; 4], most).0
    }

    /// Returns `count` rows of zeros.
    fn rows(tracer: &str, count: usize) -> Batch {
        let dataset = find(tracer).unwrap().datasets().remove(0);
        let mut batch = Batch::new(&dataset.columns);
        for _ in 0..count {
            let row = vec![0; dataset.row_bytes];
            dataset.decode(&row, &mut batch).unwrap();
        }
        batch
    }

    fn read(delivered: u64, filtered: u64, beyond_limit: u64) -> Read {
        Read {
            delivered,
            filtered,
            beyond_limit,
            ..Read::default()
        }
    }

    #[test]
    fn rows_of_events_that_are_removed_late_are_filtered_and_a_limit_counts_the_others() {
        let mut all = sieve("open", "node == ''", Some(4));
        assert_eq!(
            all.late_events(rows("open", 3), &Depths::default()).rows(),
            3
        );
        assert_eq!(
            all.late_events(rows("open", 3), &Depths::default()).rows(),
            1
        );
        assert_eq!(all.so_far(read(6, 5, 0)), read(4, 5, 2));
        let mut none = sieve("open", "node == a", Some(4));
        assert_eq!(
            none.late_events(rows("open", 3), &Depths::default()).rows(),
            0
        );
        assert_eq!(none.so_far(read(3, 5, 0)), read(0, 8, 0));
    }

    #[test]
    fn rows_of_a_table_that_are_removed_filter_events_by_their_counts_also_where_it_is_sampled() {
        let table = || {
            let columns = find("syscall_count").unwrap().columns();
            let count = columns.iter().position(|one| one.name == "count");
            let mut table = rows("syscall_count", 3);
            table.columns[count.unwrap()] = Data::Unsigned(vec![10, 20, 30]);
            table
        };
        for (condition, kept, of_all, of_sampled) in [
            ("count > 10", 2, (50, 10), (5, 1)),
            ("count > 10 && node == ''", 2, (50, 10), (5, 1)),
            ("count > 10 && node == a", 0, (0, 60), (0, 6)),
            ("count > 0", 3, (60, 0), (6, 0)),
        ] {
            let mut sieve = sieve("syscall_count", condition, None);
            let early = sieve.early(table(), None);
            assert_eq!(
                sieve.late_table(early, &Depths::default()).rows(),
                kept,
                "{condition}"
            );
            for (events, (delivered, filtered)) in [(60, of_all), (6, of_sampled)] {
                let account = sieve.so_far(read(events, 0, 0));
                assert_eq!(account, read(delivered, filtered, 0), "{condition}");
            }
        }
    }

    #[test]
    fn user_stacks_of_kept_rows_are_counted_and_a_table_replaces_the_last_one() {
        let depths = Depths {
            most: 127,
            columns: vec![vec![Some(1), Some(127), None]],
        };
        let mut all = sieve("open", "node == ''", Some(4));
        all.late_events(rows("open", 3), &depths);
        all.late_events(rows("open", 3), &depths);
        let counted = |delivered, truncated, short| UserStacks {
            delivered,
            truncated,
            empty: 0,
            short,
        };
        // The limit of 4 ends with the second batch's first row.
        assert_eq!(all.user_stacks(), counted(3, 1, 2));
        let columns = find("syscall_count").unwrap().columns();
        let count = columns.iter().position(|one| one.name == "count");
        let mut table = rows("syscall_count", 3);
        table.columns[count.unwrap()] = Data::Unsigned(vec![10, 20, 30]);
        for condition in ["count > 0", "count > 0 && node == ''"] {
            let mut sieve = sieve("syscall_count", condition, None);
            for _ in 0..2 {
                sieve.late_table(table.clone(), &depths);
                assert_eq!(sieve.user_stacks(), counted(30, 20, 10), "{condition}");
            }
        }
    }

    #[test]
    fn each_reading_of_a_snapshot_adds_its_filtered_rows() {
        let mut none = sieve("rss", "pid > 0", None);
        let mut some = sieve("rss", "pid >= 0", None);
        for reading in 1..=3 {
            assert_eq!(none.early(rows("rss", 1), Some(1)).rows(), 0);
            assert_eq!(none.so_far(read(reading, 0, 0)), read(0, reading, 0));
            assert_eq!(some.early(rows("rss", 1), Some(1)).rows(), 1);
            assert_eq!(some.so_far(read(reading, 0, 0)), read(reading, 0, 0));
        }
    }

    #[test]
    fn events_of_a_table_are_filtered_by_the_share_of_the_rows_that_are_removed() {
        let share = |kept, removed, reading, before| Share {
            kept,
            removed,
            reading,
            before,
        };
        assert_eq!(share(30, 10, None, 0).filtered(40), 10);
        // Sampled: rows count 40 for 4 events.
        assert_eq!(share(30, 10, None, 0).filtered(4), 1);
        assert_eq!(share(0, 10, None, 0).filtered(4), 4);
        assert_eq!(share(0, 0, None, 0).filtered(4), 0);
        assert_eq!(share(3, 1, Some(4), 7).filtered(100), 8);
        assert_eq!(share(0, u64::MAX, None, 0).filtered(u64::MAX), u64::MAX);
    }
}
