//! Rows in columns: what decoding fills and renderers read. No allocation per row once the columns have grown.

use crate::{Column, Kind, Store, Tail};
use std::{ops::Range, sync::Arc, vec::Vec};

/// Some rows of one dataset.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// One per column of the dataset, all of the same number of rows.
    pub columns: Vec<Data>,
    /// The frames that [`Data::Frames`] refers to by index.
    pub frames: Vec<Frame>,
    /// Whose each row is, by the number of [`crate::Target`]; it never leaves the agent, where it becomes the columns [`crate::LABELS`].
    pub targets: Vec<u32>,
    /// Of which of its tracer's datasets they are: the first is 0.
    pub dataset: usize,
    rows: usize,
}

/// The values of one column.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Numbers from 0, and everything that is stored as one.
    Unsigned(Vec<u64>),
    /// Numbers.
    Signed(Vec<i64>),
    /// Byte strings, one after the other.
    Bytes {
        /// Where each row's bytes end.
        ends: Vec<u32>,
        /// All rows' bytes.
        data: Vec<u8>,
        /// The rows, in order, whose bytes the kernel cut.
        cut: Vec<u32>,
    },
    /// Lists of numbers: a histogram's buckets, or errno and count in turn.
    List {
        /// Where each row's list ends.
        ends: Vec<u32>,
        /// All rows' numbers.
        values: Vec<u64>,
    },
    /// Stacks, innermost frame first.
    Frames {
        /// Where each row's stack ends.
        ends: Vec<u32>,
        /// Indexes into [`Batch::frames`].
        ids: Vec<u32>,
    },
}

/// One value of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number from 0.
    Unsigned(u64),
    /// A number.
    Signed(i64),
    /// Bytes, and whether the kernel cut them.
    Bytes(&'a [u8], bool),
    /// Numbers.
    List(&'a [u64]),
    /// Indexes into [`Batch::frames`].
    Frames(&'a [u32]),
}

/// One frame of a stack. Its texts are shared by all frames that have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The function, or module and offset where it has no name.
    pub name: Arc<str>,
    /// The file it lies in, as the process sees it, or `[kernel]`.
    pub module: Arc<str>,
    /// Bytes from the start of the function, or of the module's file where the function is unknown.
    pub offset: u64,
    /// Source file; empty where unknown.
    pub file: Arc<str>,
    /// Line in the source file; 0 where unknown.
    pub line: u32,
}

impl Data {
    /// An empty column of the given kind.
    pub fn of(kind: Kind) -> Self {
        match kind.store() {
            // Until it is symbolised, a stack is the number of one.
            Store::Unsigned | Store::Stack => Self::Unsigned(Vec::new()),
            Store::Signed => Self::Signed(Vec::new()),
            Store::Bytes => Self::Bytes {
                ends: Vec::new(),
                data: Vec::new(),
                cut: Vec::new(),
            },
            Store::Buckets | Store::Pairs => Self::List {
                ends: Vec::new(),
                values: Vec::new(),
            },
        }
    }

    /// An empty column of the same sort.
    pub fn like(other: &Self) -> Self {
        match other {
            Self::Unsigned(_) => Self::Unsigned(Vec::new()),
            Self::Signed(_) => Self::Signed(Vec::new()),
            Self::Bytes { .. } => Self::Bytes {
                ends: Vec::new(),
                data: Vec::new(),
                cut: Vec::new(),
            },
            Self::List { .. } => Self::List {
                ends: Vec::new(),
                values: Vec::new(),
            },
            Self::Frames { .. } => Self::Frames {
                ends: Vec::new(),
                ids: Vec::new(),
            },
        }
    }

    /// Rows in this column.
    pub fn rows(&self) -> usize {
        match self {
            Self::Unsigned(values) => values.len(),
            Self::Signed(values) => values.len(),
            Self::Bytes { ends, .. } | Self::List { ends, .. } | Self::Frames { ends, .. } => {
                ends.len()
            }
        }
    }

    /// The value of one row, which must be there.
    pub fn value(&self, row: usize) -> Value<'_> {
        let span = |ends: &[u32]| {
            let start = row.checked_sub(1).map_or(0, |before| ends[before]);
            start as usize..ends[row] as usize
        };
        match self {
            Self::Unsigned(values) => Value::Unsigned(values[row]),
            Self::Signed(values) => Value::Signed(values[row]),
            Self::Bytes { ends, data, cut } => {
                let was_cut = cut.binary_search(&(row as u32)).is_ok();
                Value::Bytes(&data[span(ends)], was_cut)
            }
            Self::List { ends, values } => Value::List(&values[span(ends)]),
            Self::Frames { ends, ids } => Value::Frames(&ids[span(ends)]),
        }
    }

    /// Appends a value; false where it is not of this column's sort.
    pub fn push(&mut self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Unsigned(values), Value::Unsigned(v)) => values.push(v),
            (Self::Signed(values), Value::Signed(v)) => values.push(v),
            (Self::Bytes { ends, data, cut }, Value::Bytes(v, was_cut)) => {
                if was_cut {
                    cut.push(ends.len() as u32);
                }
                data.extend_from_slice(v);
                ends.push(data.len() as u32);
            }
            (Self::List { ends, values }, Value::List(v)) => {
                values.extend_from_slice(v);
                ends.push(values.len() as u32);
            }
            (Self::Frames { ends, ids }, Value::Frames(v)) => {
                ids.extend_from_slice(v);
                ends.push(ids.len() as u32);
            }
            _ => return false,
        }
        true
    }

    /// Some of its rows, which must be in range.
    pub fn slice(&self, rows: Range<usize>) -> Self {
        let span = |ends: &[u32]| {
            let end = |row: usize| row.checked_sub(1).map_or(0, |before| ends[before]);
            end(rows.start) as usize..end(rows.end) as usize
        };
        let moved = |ends: &[u32]| {
            let start = span(ends).start as u32;
            let ends = ends[rows.clone()].iter();
            ends.map(|end| end - start).collect()
        };
        match self {
            Self::Unsigned(values) => Self::Unsigned(values[rows].to_vec()),
            Self::Signed(values) => Self::Signed(values[rows].to_vec()),
            Self::Bytes { ends, data, cut } => {
                let within = cut
                    .iter()
                    .filter(|&&row| rows.contains(&(row as usize)))
                    .map(|row| row - rows.start as u32);
                Self::Bytes {
                    cut: within.collect(),
                    data: data[span(ends)].to_vec(),
                    ends: moved(ends),
                }
            }
            Self::List { ends, values } => Self::List {
                values: values[span(ends)].to_vec(),
                ends: moved(ends),
            },
            Self::Frames { ends, ids } => Self::Frames {
                ids: ids[span(ends)].to_vec(),
                ends: moved(ends),
            },
        }
    }

    /// Appends all rows of another column; false where that is of another sort, or where both together have more than 2³² values.
    pub fn append(&mut self, other: Self) -> bool {
        let fits = |have: usize, more: usize| u32::try_from(have + more).is_ok();
        match (self, other) {
            (Self::Unsigned(into), Self::Unsigned(from)) => into.extend(from),
            (Self::Signed(into), Self::Signed(from)) => into.extend(from),
            (
                Self::Bytes { ends, data, cut },
                Self::Bytes {
                    ends: more_ends,
                    data: more,
                    cut: more_cut,
                },
            ) if fits(data.len(), more.len()) && fits(ends.len(), more_ends.len()) => {
                let (rows, bytes) = (ends.len() as u32, data.len() as u32);
                cut.extend(more_cut.iter().map(|row| row + rows));
                ends.extend(more_ends.iter().map(|end| end + bytes));
                data.extend(more);
            }
            (
                Self::List { ends, values },
                Self::List {
                    ends: more_ends,
                    values: more,
                },
            ) if fits(values.len(), more.len()) => {
                let before = values.len() as u32;
                ends.extend(more_ends.iter().map(|end| end + before));
                values.extend(more);
            }
            (
                Self::Frames { ends, ids },
                Self::Frames {
                    ends: more_ends,
                    ids: more,
                },
            ) if fits(ids.len(), more.len()) => {
                let before = ids.len() as u32;
                ends.extend(more_ends.iter().map(|end| end + before));
                ids.extend(more);
            }
            _ => return false,
        }
        true
    }

    /// About how many bytes a row takes, which must be in range.
    pub fn row_bytes(&self, row: usize) -> usize {
        match self.value(row) {
            Value::Unsigned(_) | Value::Signed(_) => 8,
            Value::Bytes(bytes, _) => bytes.len() + 4,
            Value::List(list) => 8 * list.len() + 4,
            Value::Frames(ids) => 4 * ids.len() + 4,
        }
    }

    /// Room for as much as another column of its sort has.
    fn reserve(&mut self, other: &Self) {
        match (self, other) {
            (Self::Unsigned(values), Self::Unsigned(others)) => values.reserve(others.len()),
            (Self::Signed(values), Self::Signed(others)) => values.reserve(others.len()),
            (
                Self::Bytes { ends, data, .. },
                Self::Bytes {
                    ends: more_ends,
                    data: more,
                    ..
                },
            ) => {
                ends.reserve(more_ends.len());
                data.reserve(more.len());
            }
            // Rows of events have few of the others.
            _ => {}
        }
    }

    /// Keeps the first `rows` rows.
    pub fn truncate(&mut self, rows: usize) {
        let end = |ends: &mut Vec<u32>| {
            ends.truncate(rows);
            ends.last().map_or(0, |&end| end as usize)
        };
        match self {
            Self::Unsigned(values) => values.truncate(rows),
            Self::Signed(values) => values.truncate(rows),
            Self::Bytes { ends, data, cut } => {
                data.truncate(end(ends));
                cut.retain(|&row| (row as usize) < rows);
            }
            Self::List { ends, values } => values.truncate(end(ends)),
            Self::Frames { ends, ids } => ids.truncate(end(ends)),
        }
    }
}

impl Batch {
    /// No rows yet.
    pub fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.iter().map(|column| Data::of(column.kind)).collect(),
            frames: Vec::new(),
            targets: Vec::new(),
            dataset: 0,
            rows: 0,
        }
    }

    /// No rows yet, and room for as many as another had: columns that grow are copied again and again.
    pub fn like(other: &Self, columns: &[Column]) -> Self {
        let mut batch = Self::new(columns);
        for (data, other) in batch.columns.iter_mut().zip(&other.columns) {
            data.reserve(other);
        }
        batch.targets.reserve(other.targets.len());
        batch
    }

    /// From whole columns.
    ///
    /// # Panics
    /// Where the columns differ in length: a bug of the caller.
    pub fn from_columns(columns: Vec<Data>, frames: Vec<Frame>) -> Self {
        let rows = columns.first().map_or(0, Data::rows);
        assert!(columns.iter().all(|column| column.rows() == rows));
        Self {
            columns,
            frames,
            targets: std::vec![0; rows],
            dataset: 0,
            rows,
        }
    }

    /// Rows of several batches in any order, each by its batch and its place there, which must be in range. All batches have columns of
    /// the same sorts; one that has not gives no rows, and the answer is `None`.
    pub fn gather(batches: &[&Self], rows: &[(u32, u32)]) -> Option<Self> {
        let first = batches.first()?;
        let mut frames = Vec::new();
        // Where each batch's frames begin among all.
        let mut begin = Vec::with_capacity(batches.len());
        for batch in batches {
            begin.push(frames.len() as u32);
            frames.extend_from_slice(&batch.frames);
        }
        let mut columns = Vec::with_capacity(first.columns.len());
        let mut moved = Vec::new();
        for (at, like) in first.columns.iter().enumerate() {
            let mut column = Data::like(like);
            for (batch, row) in rows {
                let data = batches[*batch as usize].columns.get(at)?;
                let fits = match data.value(*row as usize) {
                    Value::Frames(ids) => {
                        moved.clear();
                        moved.extend(ids.iter().map(|id| id + begin[*batch as usize]));
                        column.push(Value::Frames(&moved))
                    }
                    value => column.push(value),
                };
                if !fits {
                    return None;
                }
            }
            columns.push(column);
        }
        Some(Self::from_columns(columns, frames))
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// One value; both indexes must be in range.
    pub fn value(&self, column: usize, row: usize) -> Value<'_> {
        self.columns[column].value(row)
    }

    /// Takes all rows away, keeping the columns' memory.
    pub fn clear(&mut self) {
        for column in &mut self.columns {
            column.truncate(0);
        }
        self.frames.clear();
        self.targets.clear();
        self.rows = 0;
    }

    /// The rows of these numbers, which must be in range.
    #[must_use]
    pub fn only(&self, rows: &[u32]) -> Self {
        let from: Vec<(u32, u32)> = rows.iter().map(|row| (0, *row)).collect();
        let mut only = Self::gather(&[self], &from).unwrap_or_default();
        only.targets = rows.iter().map(|row| self.targets[*row as usize]).collect();
        only.dataset = self.dataset;
        only
    }

    /// Takes the last row away, before frames have come to it.
    pub fn remove_last(&mut self) {
        let Some(rows) = self.rows.checked_sub(1) else {
            return;
        };
        for column in &mut self.columns {
            column.truncate(rows);
        }
        self.targets.truncate(rows);
        self.rows = rows;
    }

    /// Appends one row by `write`; a row that turns out malformed leaves no trace, and the answer is false.
    pub(crate) fn append(&mut self, tail: &[u8], write: impl FnOnce(&mut Cursor<'_>)) -> bool {
        let mut cursor = Cursor {
            columns: self.columns.iter_mut(),
            tail,
            malformed: false,
            target: 0,
        };
        write(&mut cursor);
        let (malformed, target) = (cursor.malformed, cursor.target);
        if malformed {
            let rows = self.rows;
            for column in &mut self.columns {
                column.truncate(rows);
            }
        } else {
            self.targets.push(target);
            self.rows += 1;
        }
        !malformed
    }
}

/// Appends one row, cell by cell in the order of the columns.
pub struct Cursor<'a> {
    columns: std::slice::IterMut<'a, Data>,
    tail: &'a [u8],
    malformed: bool,
    target: u32,
}

impl Cursor<'_> {
    pub(crate) fn target(&mut self, target: u32) {
        self.target = target;
    }

    pub(crate) fn unsigned(&mut self, value: u64) {
        match self.columns.next() {
            Some(Data::Unsigned(values)) => values.push(value),
            _ => self.malformed = true,
        }
    }

    pub(crate) fn signed(&mut self, value: i64) {
        match self.columns.next() {
            Some(Data::Signed(values)) => values.push(value),
            _ => self.malformed = true,
        }
    }

    /// A value for each column that is left; more columns than values make the row malformed.
    pub(crate) fn rest(&mut self, values: &[u64]) {
        for value in values.iter().take(self.columns.len()) {
            match self.columns.next() {
                Some(Data::Unsigned(column)) => column.push(*value),
                Some(Data::Signed(column)) => column.push(value.cast_signed()),
                _ => self.malformed = true,
            }
        }
        self.malformed |= self.columns.len() > 0;
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.push(Value::Bytes(value, false));
    }

    pub(crate) fn stack(&mut self, hash: u64) {
        self.unsigned(hash);
    }

    pub(crate) fn list(&mut self, list: &[u64]) {
        self.push(Value::List(list));
    }

    pub(crate) fn pairs(&mut self, pairs: impl Iterator<Item = (u64, u64)>) {
        match self.columns.next() {
            Some(Data::List { ends, values }) => {
                values.extend(pairs.flat_map(|(a, b)| [a, b]));
                ends.push(values.len() as u32);
            }
            _ => self.malformed = true,
        }
    }

    /// Bytes of the record's tail; a span that lies outside makes the row malformed.
    pub(crate) fn tail(&mut self, at: Tail) {
        let Tail { start, len, flags } = at;
        let span = usize::from(start)..usize::from(start) + usize::from(len);
        let Some(bytes) = self.tail.get(span) else {
            self.malformed = true;
            return;
        };
        let was_cut = flags & Tail::CUT != 0;
        if flags & Tail::PARTS == 0 {
            return self.push(Value::Bytes(bytes, was_cut));
        }
        match self.columns.next() {
            Some(Data::Bytes { ends, data, cut }) => {
                if was_cut {
                    cut.push(ends.len() as u32);
                    data.extend_from_slice(b"...");
                }
                push_path(bytes, data);
                ends.push(data.len() as u32);
            }
            _ => self.malformed = true,
        }
    }

    fn push(&mut self, value: Value<'_>) {
        let fits = self.columns.next().is_some_and(|column| column.push(value));
        self.malformed |= !fits;
    }
}

/// Turns components from the leaf, each ended by a zero byte, into a path from the root.
fn push_path(parts: &[u8], out: &mut Vec<u8>) {
    let parts = parts.strip_suffix(&[0]).unwrap_or(parts);
    if parts.is_empty() {
        return out.push(b'/');
    }
    for part in parts.rsplit(|&b| b == 0) {
        out.push(b'/');
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cell as _, Cells, Role};

    #[test]
    fn cells_fill_the_columns_that_a_plan_adds_and_no_others() {
        let column = |kind| Column::of("x", "", Role::None, false).kind(kind);
        let row = Cells([1, u64::MAX, 3, 4, 5, 6, 7, 8]);
        let some = [column(Kind::Unsigned), column(Kind::Signed)];
        let mut batch = Batch::new(&some);
        assert!(batch.append(&[], |cursor| row.push(cursor)));
        assert_eq!(batch.value(0, 0), Value::Unsigned(1));
        assert_eq!(batch.value(1, 0), Value::Signed(-1));
        for columns in [
            std::vec![column(Kind::Unsigned); 9],
            std::vec![column(Kind::Text)],
        ] {
            let mut batch = Batch::new(&columns);
            assert!(!batch.append(&[], |cursor| row.push(cursor)));
            assert_eq!(batch.rows(), 0);
        }
    }
}
