//! Rows of one state with equal keys become one: over CPUs, over nodes, and where keys are left out. Only the columns' roles say how.

use crate::{Batch, Column, Data, Frame, Kind, Role, Store, Value, weight};
use std::{collections::HashMap, vec::Vec};

/// Rows told apart by their keys.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    targets: Vec<u32>,
    /// Empty columns of the sorts that the first batch had.
    sorts: Vec<Data>,
    index: HashMap<Vec<u8>, usize>,
    frames: Vec<Frame>,
    frame_index: HashMap<Frame, u32>,
}

#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Unsigned(u64),
    Signed(i64),
    Bytes(Vec<u8>, bool),
    List(Vec<u64>),
    Frames(Vec<u32>),
}

impl Table {
    /// An empty table of these columns.
    pub fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
            targets: Vec::new(),
            sorts: Vec::new(),
            index: HashMap::new(),
            frames: Vec::new(),
            frame_index: HashMap::new(),
        }
    }

    /// Merges the rows of a batch, which must have this table's columns.
    pub fn add(&mut self, batch: &Batch) {
        self.add_within(usize::MAX, batch, |_| {});
    }

    /// The same of a table of so many rows at most: `refused` hears of each row of the batch with a new key for which there is no room.
    pub fn add_within(&mut self, most: usize, batch: &Batch, mut refused: impl FnMut(usize)) {
        let frames: Vec<u32> = batch.frames.iter().map(|f| self.intern(f)).collect();
        if self.sorts.is_empty() {
            self.sorts = batch.columns.iter().map(Data::like).collect();
        }
        let mut key = Vec::new();
        for row in 0..batch.rows() {
            let cells: Vec<Cell> = (0..self.columns.len())
                .map(|column| owned(batch.value(column, row), &frames))
                .collect();
            key.clear();
            key.extend_from_slice(&batch.targets[row].to_be_bytes());
            for (column, cell) in self.columns.iter().zip(&cells) {
                if column.role == Role::Key {
                    encode(cell, &mut key);
                }
            }
            match self.index.get(&key) {
                Some(&at) => {
                    for ((column, into), from) in
                        self.columns.iter().zip(&mut self.rows[at]).zip(cells)
                    {
                        merge(column, into, from);
                    }
                }
                None if self.rows.len() >= most => refused(row),
                None => {
                    self.index.insert(key.clone(), self.rows.len());
                    self.rows.push(cells);
                    self.targets.push(batch.targets[row]);
                }
            }
        }
    }

    /// The merged rows, largest first by [`weight`], ties by key.
    pub fn batch(&self) -> Batch {
        let by = weight(&self.columns);
        let mut order: Vec<(i128, &Vec<u8>, usize)> = self
            .index
            .iter()
            .map(|(key, &at)| {
                let weight = match by.map(|by| &self.rows[at][by]) {
                    Some(Cell::Unsigned(n)) => i128::from(*n),
                    Some(Cell::Signed(n)) => i128::from(*n),
                    Some(Cell::Bytes(..) | Cell::List(_) | Cell::Frames(_)) | None => 0,
                };
                (weight, key, at)
            })
            .collect();
        order.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let columns = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let mut data = self.empty(index, column.kind);
                for &(_, _, at) in &order {
                    let pushed = data.push(borrowed(&self.rows[at][index]));
                    debug_assert!(pushed, "a column holds one sort of value");
                }
                data
            })
            .collect();
        let mut batch = Batch::from_columns(columns, self.frames.clone());
        batch.targets = order.iter().map(|&(_, _, at)| self.targets[at]).collect();
        batch
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Takes away the rows whose values are all zero: they are as if nothing had ever been added to them.
    pub fn drop_zeros(&mut self) {
        let columns = &self.columns;
        let is_zero = |row: &[Cell]| {
            let mut values = columns.iter().zip(row).filter(|(c, _)| c.role != Role::Key);
            values.all(|(_, cell)| match cell {
                Cell::Unsigned(n) => *n == 0,
                Cell::Signed(n) => *n == 0,
                Cell::Bytes(bytes, _) => bytes.is_empty(),
                Cell::List(list) => list.iter().all(|n| *n == 0),
                Cell::Frames(ids) => ids.is_empty(),
            })
        };
        if !self.rows.iter().any(|row| is_zero(row)) {
            return;
        }
        let (rows, targets) = (&mut self.rows, &mut self.targets);
        let (mut kept, mut kept_targets) = (Vec::new(), Vec::new());
        self.index.retain(|_, at| {
            let row = std::mem::take(&mut rows[*at]);
            if is_zero(&row) {
                return false;
            }
            kept_targets.push(targets[*at]);
            *at = kept.len();
            kept.push(row);
            true
        });
        (*rows, *targets) = (kept, kept_targets);
    }

    /// A stack's column is numbers before it is symbolised and frames after, a system call's a number here and a name elsewhere.
    /// Where there is no row, batches without rows say it.
    fn empty(&self, index: usize, kind: Kind) -> Data {
        match self.rows.first().map(|row| &row[index]) {
            None => self
                .sorts
                .get(index)
                .map_or_else(|| Data::of(kind), Data::like),
            Some(Cell::Frames(_)) => Data::Frames {
                ends: Vec::new(),
                ids: Vec::new(),
            },
            Some(Cell::Bytes(..)) => Data::of(Kind::Text),
            _ => Data::of(kind),
        }
    }

    fn intern(&mut self, frame: &Frame) -> u32 {
        if let Some(&id) = self.frame_index.get(frame) {
            return id;
        }
        let id = self.frames.len() as u32;
        self.frames.push(frame.clone());
        self.frame_index.insert(frame.clone(), id);
        id
    }
}

fn owned(value: Value<'_>, frames: &[u32]) -> Cell {
    match value {
        Value::Unsigned(n) => Cell::Unsigned(n),
        Value::Signed(n) => Cell::Signed(n),
        Value::Bytes(bytes, cut) => Cell::Bytes(bytes.to_vec(), cut),
        Value::List(list) => Cell::List(list.to_vec()),
        Value::Frames(ids) => Cell::Frames(ids.iter().map(|&id| frames[id as usize]).collect()),
    }
}

fn borrowed(cell: &Cell) -> Value<'_> {
    match cell {
        Cell::Unsigned(n) => Value::Unsigned(*n),
        Cell::Signed(n) => Value::Signed(*n),
        Cell::Bytes(bytes, cut) => Value::Bytes(bytes, *cut),
        Cell::List(list) => Value::List(list),
        Cell::Frames(ids) => Value::Frames(ids),
    }
}

/// Self-delimiting, so that no two keys run into each other.
fn encode(cell: &Cell, out: &mut Vec<u8>) {
    let mut sized = |len: usize, bytes: &mut dyn Iterator<Item = u8>| {
        out.extend_from_slice(&(len as u32).to_be_bytes());
        out.extend(bytes);
    };
    match cell {
        Cell::Unsigned(n) => out.extend_from_slice(&n.to_be_bytes()),
        Cell::Signed(n) => out.extend_from_slice(&n.to_be_bytes()),
        Cell::Bytes(bytes, _) => sized(bytes.len(), &mut bytes.iter().copied()),
        Cell::List(list) => sized(list.len(), &mut list.iter().flat_map(|n| n.to_be_bytes())),
        Cell::Frames(ids) => sized(ids.len(), &mut ids.iter().flat_map(|n| n.to_be_bytes())),
    }
}

fn merge(column: &Column, into: &mut Cell, from: Cell) {
    match column.role {
        Role::Key => {}
        Role::Count | Role::Sum | Role::Gauge => {
            numbers(into, from, u64::wrapping_add, i64::wrapping_add);
        }
        Role::Max => numbers(into, from, u64::max, i64::max),
        Role::Min => numbers(into, from, u64::min, i64::min),
        Role::Histogram => match (into, from) {
            (Cell::List(a), Cell::List(b)) => match column.kind.store() {
                Store::Pairs => add_pairs(a, &b),
                Store::Buckets | Store::Unsigned | Store::Signed | Store::Bytes | Store::Stack => {
                    add_buckets(a, &b)
                }
            },
            (into, from) => *into = from,
        },
        Role::Last | Role::None => *into = from,
    }
}

/// Merges two numbers; of what is none, the newer stays.
fn numbers(
    into: &mut Cell,
    from: Cell,
    unsigned: fn(u64, u64) -> u64,
    signed: fn(i64, i64) -> i64,
) {
    match (into, from) {
        (Cell::Unsigned(a), Cell::Unsigned(b)) => *a = unsigned(*a, b),
        (Cell::Signed(a), Cell::Signed(b)) => *a = signed(*a, b),
        (into, from) => *into = from,
    }
}

fn add_buckets(into: &mut Vec<u64>, from: &[u64]) {
    if into.len() < from.len() {
        into.resize(from.len(), 0);
    }
    for (a, b) in into.iter_mut().zip(from) {
        *a = a.wrapping_add(*b);
    }
}

/// Pairs of a name and a count: counts of equal names add up, the largest first.
fn add_pairs(into: &mut Vec<u64>, from: &[u64]) {
    for [name, count] in from.as_chunks::<2>().0 {
        match into
            .as_chunks_mut::<2>()
            .0
            .iter_mut()
            .find(|have| have[0] == *name)
        {
            Some(have) => have[1] = have[1].wrapping_add(*count),
            None => into.extend_from_slice(&[*name, *count]),
        }
    }
    let mut pairs = into.as_chunks::<2>().0.to_vec();
    pairs.sort_by_key(|[name, count]| (core::cmp::Reverse(*count), *name));
    *into = pairs.concat();
}

impl core::fmt::Display for Frame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unit;
    use std::vec;

    fn columns() -> Vec<Column> {
        let column = |name: &'static str, kind, role| Column::of(name, "", role, false).kind(kind);
        vec![
            column("name", Kind::Text, Role::Key),
            column("count", Kind::Unsigned, Role::Count),
            column("total_ns", Kind::Unsigned, Role::Sum),
            column("max_ns", Kind::Unsigned, Role::Max),
            column("min", Kind::Signed, Role::Min),
            column("last", Kind::Unsigned, Role::Last),
            column(
                "latency",
                Kind::Log2 {
                    unit: Unit::Nanoseconds,
                },
                Role::Histogram,
            ),
            column("errors", Kind::Errors, Role::Histogram),
            column("stack", Kind::UserStack, Role::Key),
        ]
    }

    fn batch(
        name: &str,
        numbers: [u64; 4],
        min: i64,
        buckets: &[u64],
        errors: &[u64],
        stack: &[&str],
    ) -> Batch {
        let mut data: Vec<Data> = columns().iter().map(|c| Data::of(c.kind)).collect();
        data[8] = Data::Frames {
            ends: vec![],
            ids: vec![],
        };
        let frames = stack
            .iter()
            .map(|name| Frame {
                name: (*name).into(),
                ..Frame::default()
            })
            .collect();
        let ids: Vec<u32> = (0..stack.len() as u32).collect();
        let [count, total, max, last] = numbers.map(Value::Unsigned);
        let row = [
            Value::Bytes(name.as_bytes(), false),
            count,
            total,
            max,
            Value::Signed(min),
            last,
            Value::List(buckets),
            Value::List(errors),
            Value::Frames(&ids),
        ];
        for (data, value) in data.iter_mut().zip(row) {
            assert!(data.push(value));
        }
        Batch::from_columns(data, frames)
    }

    #[test]
    fn rows_with_equal_keys_merge_by_role() {
        let mut table = Table::new(&columns());
        table.add(&batch("a", [1, 10, 7, 1], -3, &[0, 1], &[2, 5], &["main"]));
        table.add(&batch(
            "a",
            [2, 20, 5, 2],
            -9,
            &[1, 1, 1],
            &[11, 1, 2, 4],
            &["main"],
        ));
        table.add(&batch("b", [9, 1, 1, 1], 0, &[], &[], &["main"]));
        let merged = table.batch();
        assert_eq!(merged.rows(), 2, "a and b");
        assert_eq!(
            merged.value(0, 0),
            Value::Bytes(b"b", false),
            "the larger count comes first"
        );
        let row: Vec<Value<'_>> = (1..9).map(|column| merged.value(column, 1)).collect();
        assert_eq!(row[0], Value::Unsigned(3));
        assert_eq!(row[1], Value::Unsigned(30));
        assert_eq!(row[2], Value::Unsigned(7));
        assert_eq!(row[3], Value::Signed(-9));
        assert_eq!(row[4], Value::Unsigned(2));
        assert_eq!(row[5], Value::List(&[1, 2, 1]));
        assert_eq!(row[6], Value::List(&[2, 9, 11, 1]));
    }

    #[test]
    fn equal_stacks_of_two_batches_are_one_key_whatever_their_frames_are_numbered() {
        let mut table = Table::new(&columns());
        table.add(&batch("a", [1, 0, 0, 0], 0, &[], &[], &["leaf", "main"]));
        let mut other = batch("a", [1, 0, 0, 0], 0, &[], &[], &["leaf", "main"]);
        other.frames.swap(0, 1);
        other.columns[8] = Data::Frames {
            ends: vec![2],
            ids: vec![1, 0],
        };
        table.add(&other);
        assert_eq!(table.rows(), 1);
        table.add(&batch("a", [1, 0, 0, 0], 0, &[], &[], &["main", "leaf"]));
        assert_eq!(table.rows(), 2);
    }

    fn gauges() -> Vec<Column> {
        let column = |name, kind, role| Column::of(name, "", role, false).kind(kind);
        vec![
            column("name", Kind::Text, Role::Key),
            column("used", Kind::Unsigned, Role::Gauge),
            column("change", Kind::Signed, Role::Gauge),
        ]
    }

    fn gauge(name: &str, used: u64, change: i64) -> Batch {
        let mut data: Vec<Data> = gauges().iter().map(|c| Data::of(c.kind)).collect();
        let row = [
            Value::Bytes(name.as_bytes(), false),
            Value::Unsigned(used),
            Value::Signed(change),
        ];
        for (data, value) in data.iter_mut().zip(row) {
            assert!(data.push(value));
        }
        Batch::from_columns(data, vec![])
    }

    #[test]
    fn gauges_of_one_state_add_up_and_order_rows_where_there_is_no_count() {
        let mut table = Table::new(&gauges());
        table.add(&gauge("small", 5, -2));
        table.add(&gauge("large", 4, 1));
        table.add(&gauge("large", 4, -7));
        let merged = table.batch();
        let row = |row| (0..3).map(|c| merged.value(c, row)).collect::<Vec<_>>();
        let large = [
            Value::Bytes(b"large", false),
            Value::Unsigned(8),
            Value::Signed(-6),
        ];
        assert_eq!(row(0), large);
        assert_eq!(row(1)[1], Value::Unsigned(5));
    }

    #[test]
    fn a_full_table_takes_no_new_key_and_says_which() {
        let mut table = Table::new(&gauges());
        let mut refused = Vec::new();
        for (name, used) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            table.add_within(2, &gauge(name, used, 0), |row| refused.push((name, row)));
        }
        assert_eq!(refused, [("c", 0)]);
        let merged = table.batch();
        assert_eq!((merged.rows(), merged.value(1, 0)), (2, Value::Unsigned(4)));
    }

    #[test]
    fn a_row_that_is_zero_again_is_dropped_and_the_others_still_merge() {
        let mut table = Table::new(&gauges());
        table.add(&gauge("gone", 5, 3));
        table.add(&gauge("stays", 7, 0));
        table.add(&gauge("gone", 5_u64.wrapping_neg(), -3));
        table.drop_zeros();
        assert_eq!(table.rows(), 1);
        table.add(&gauge("stays", 1, 0));
        table.add(&gauge("gone", 2, 0));
        let merged = table.batch();
        assert_eq!(merged.rows(), 2);
        assert_eq!(merged.value(0, 0), Value::Bytes(b"stays", false));
        assert_eq!(merged.value(1, 0), Value::Unsigned(8));
        assert_eq!(merged.value(1, 1), Value::Unsigned(2));
    }

    #[test]
    fn merging_in_any_order_gives_the_same_rows() {
        let parts = [
            batch("x", [1, 5, 9, 1], 4, &[3], &[2, 1], &["f"]),
            batch("y", [2, 5, 1, 1], 4, &[0, 2], &[], &["g"]),
            batch("x", [4, 1, 2, 1], 1, &[0, 0, 1], &[2, 2], &["f"]),
        ];
        let merged = |order: [usize; 3]| {
            let mut table = Table::new(&columns());
            for part in order {
                table.add(&parts[part]);
            }
            let batch = table.batch();
            (0..8).map(|c| batch.columns[c].clone()).collect::<Vec<_>>()
        };
        assert_eq!(merged([0, 1, 2]), merged([2, 1, 0]));
    }
}
