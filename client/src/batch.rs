//! Rows from a message, after a check of all indexes and sizes.

use crate::limits::{STACK_FRAMES, TABLE_BYTES, TEXT_BYTES};
use crate::schema::{Schema, Sort};
use proto::v1::{self, values::Values as Wire};
use std::sync::Arc;
use tracers::{Batch, Data, Frame, Kind, Store};

/// Buckets of a histogram: one per bit of its values.
const BUCKETS: u32 = 64;

/// Assembly of the batches of a stream. A batch of events is complete, and a table may have several parts.
#[derive(Debug, Default)]
pub struct Join {
    held: Option<Held>,
    /// Whether a table has begun or a message is missing, and no complete table has followed.
    missing: bool,
}

/// Received parts of a table.
#[derive(Debug, Default)]
struct Held {
    columns: Vec<Data>,
    rows: usize,
    strings: Vec<Arc<str>>,
    frames: Vec<Frame>,
    bytes: usize,
    /// Number of the next part.
    next: u32,
}

impl Join {
    /// Adds the next batch of a stream with this schema. Returns the rows; for a table, after its last part.
    ///
    /// A part after a missing part is dropped: its table is lost, and a newer table replaces it.
    ///
    /// # Errors
    /// If the batch does not fit the schema, an index is out of range, or the batch exceeds a limit.
    pub fn take(&mut self, batch: v1::Batch, schema: &Schema) -> Result<Option<Batch>, String> {
        let (part, more) = (batch.part, batch.more);
        if !schema.table && (part > 0 || more) {
            return Err("rows of events in the form of a table".to_owned());
        }
        self.missing |= schema.table;
        let held = match part {
            0 => {
                self.held = None;
                Held::default()
            }
            part => match self.held.take() {
                Some(held) if held.next == part => held,
                _ => return Ok(None),
            },
        };
        let held = held.with(batch, schema)?;
        if more {
            self.held = Some(held);
            return Ok(None);
        }
        self.missing = false;
        Ok(Some(Batch::from_columns(held.columns, held.frames)))
    }

    /// Records that messages of the stream are missing, which may be parts of a table.
    pub fn clear(&mut self) {
        self.held = None;
        self.missing = true;
    }

    /// Returns whether the newest table is incomplete. At the end of a stream of tables, the last table is missing then.
    pub fn is_missing(&self) -> bool {
        self.missing
    }
}

impl Held {
    fn with(mut self, batch: v1::Batch, schema: &Schema) -> Result<Self, String> {
        let v1::Batch {
            rows,
            columns,
            frames,
            strings,
            interned,
            part,
            more: _,
        } = batch;
        self.next = part.saturating_add(1);
        for text in strings {
            self.strings.push(self::text(text)?);
        }
        for frame in frames {
            self.frames.push(alone(frame)?);
        }
        self.intern(interned.unwrap_or_default())?;
        let new = self::columns(rows, columns, self.frames.len(), schema)?;
        let bytes = |data: &Data| {
            (0..data.rows())
                .map(|row| data.row_bytes(row))
                .sum::<usize>()
        };
        self.bytes += new.iter().map(bytes).sum::<usize>();
        let texts: usize = self.strings.iter().map(|text| text.len()).sum();
        let all = self.bytes + texts + self.frames.len() * size_of::<Frame>();
        if schema.table && all > TABLE_BYTES {
            return Err(format!("a table of more than {TABLE_BYTES} bytes"));
        }
        let first = self.rows == 0;
        self.rows += rows as usize;
        if first {
            self.columns = new;
        } else if rows > 0 {
            let mut both = self.columns.iter_mut().zip(new);
            if !both.all(|(into, from)| into.append(from)) {
                return Err("parts of a table whose values are of different kinds".to_owned());
            }
        }
        Ok(self)
    }

    /// Adds frames whose texts are in a separate list.
    fn intern(&mut self, frames: v1::Frames) -> Result<(), String> {
        let v1::Frames {
            names,
            modules,
            offsets,
            files,
            lines,
        } = frames;
        let lengths = [modules.len(), offsets.len(), files.len(), lines.len()];
        if lengths.iter().any(|len| *len != names.len()) {
            return Err("frames whose columns differ in length".to_owned());
        }
        let strings = &self.strings;
        let text = |at: u32| match strings.get(at as usize) {
            Some(text) => Ok(Arc::clone(text)),
            None => Err(format!("text {at}, and there are {}", strings.len())),
        };
        for (at, name) in names.into_iter().enumerate() {
            self.frames.push(Frame {
                name: text(name)?,
                module: text(modules[at])?,
                offset: offsets[at],
                file: text(files[at])?,
                line: lines[at],
            });
        }
        Ok(())
    }
}

/// Columns of one message.
fn columns(
    rows: u32,
    columns: Vec<v1::Values>,
    frames: usize,
    schema: &Schema,
) -> Result<Vec<Data>, String> {
    if columns.len() != schema.columns.len() {
        return Err(format!(
            "a batch of {} columns, where its schema has {}",
            columns.len(),
            schema.columns.len()
        ));
    }
    let kinds = schema
        .columns
        .iter()
        .map(|column| (&column.name, column.kind));
    if rows == 0 && columns.iter().all(is_empty) {
        // An empty column has no values of a wrong kind.
        let none = kinds
            .zip(&schema.sorts)
            .map(|((_, kind), sort)| empty(*sort, kind));
        return Ok(none.collect());
    }
    let decoded = kinds.zip(&schema.sorts).zip(columns);
    let columns = decoded.map(|(((name, kind), sort), values)| {
        let data = column(values, *sort, kind, frames);
        let data = data.map_err(|why| format!("column {name}: {why}"))?;
        match data.rows() == rows as usize {
            true => Ok(data),
            false => Err(format!(
                "column {name} has {} rows, and the batch {rows}",
                data.rows()
            )),
        }
    });
    columns.collect()
}

fn text(text: String) -> Result<Arc<str>, String> {
    match text.len() <= TEXT_BYTES {
        true => Ok(text.into()),
        false => Err(format!(
            "a name of {} bytes; it has {TEXT_BYTES} at most",
            text.len()
        )),
    }
}

/// Reads a frame with its texts, as agents before version 0.2 send it.
fn alone(frame: v1::Frame) -> Result<Frame, String> {
    let v1::Frame {
        name,
        module,
        offset,
        file,
        line,
    } = frame;
    Ok(Frame {
        name: text(name)?,
        module: text(module)?,
        offset,
        file: text(file)?,
        line,
    })
}

/// Returns whether a column of a message has no value.
fn is_empty(values: &v1::Values) -> bool {
    match &values.values {
        Some(Wire::Unsigned(of)) => of.values.is_empty(),
        Some(Wire::Signed(of)) => of.values.is_empty(),
        Some(Wire::Bytes(of)) => of.ends.is_empty() && of.data.is_empty() && of.cut.is_empty(),
        Some(Wire::Lists(of)) => of.ends.is_empty() && of.values.is_empty(),
        Some(Wire::Stacks(of)) => of.ends.is_empty() && of.frames.is_empty(),
        None => false,
    }
}

/// Returns a column without values.
fn empty(sort: Sort, kind: Kind) -> Data {
    match sort {
        Sort::Unsigned => Data::of(Kind::Unsigned),
        Sort::Signed => Data::of(Kind::Signed),
        Sort::Bytes => Data::of(Kind::Text),
        Sort::Lists => Data::of(Kind::Errors),
        Sort::Stacks => Data::Frames {
            ends: Vec::new(),
            ids: Vec::new(),
        },
        Sort::Any => Data::of(kind),
    }
}

fn column(values: v1::Values, sort: Sort, kind: Kind, frames: usize) -> Result<Data, String> {
    let data = match (values.values, sort) {
        (Some(Wire::Unsigned(of)), Sort::Unsigned | Sort::Stacks | Sort::Any) => {
            Data::Unsigned(of.values)
        }
        (Some(Wire::Signed(of)), Sort::Signed | Sort::Any) => Data::Signed(of.values),
        (Some(Wire::Bytes(of)), Sort::Bytes | Sort::Any) => {
            let v1::Bytes { ends, data, cut } = of;
            check_ends(&ends, data.len())?;
            let rows = ends.len();
            if !cut.is_sorted() || cut.last().is_some_and(|row| *row as usize >= rows) {
                return Err(
                    "the list of truncated values is not in order, or an entry is in no row"
                        .to_owned(),
                );
            }
            Data::Bytes {
                ends,
                data: data.into(),
                cut,
            }
        }
        (Some(Wire::Lists(of)), Sort::Lists | Sort::Any) => {
            let v1::Lists { ends, values } = of;
            check_ends(&ends, values.len())?;
            check_lists(&ends, kind)?;
            Data::List { ends, values }
        }
        (Some(Wire::Stacks(of)), Sort::Stacks | Sort::Any) => {
            let v1::Stacks { ends, frames: ids } = of;
            check_ends(&ends, ids.len())?;
            if let Some(most) = lengths(&ends).find(|len| *len > STACK_FRAMES) {
                return Err(format!(
                    "a stack of {most} frames; it has {STACK_FRAMES} at most"
                ));
            }
            if let Some(id) = ids.iter().find(|id| **id as usize >= frames) {
                return Err(format!("frame {id}, and there are {frames}"));
            }
            Data::Frames { ends, ids }
        }
        (None, _) => return Err("it has no values".to_owned()),
        (Some(_), _) => return Err("its values are not of its kind".to_owned()),
    };
    Ok(data)
}

/// Checks that ends do not decrease, and that the last one is the length of the data.
fn check_ends(ends: &[u32], len: usize) -> Result<(), String> {
    let last = ends.last().map_or(0, |end| *end as usize);
    match ends.is_sorted() && last == len {
        true => Ok(()),
        false => Err(format!("its rows do not end where its {len} values do")),
    }
}

/// Returns the number of values of each row.
fn lengths(ends: &[u32]) -> impl Iterator<Item = u32> {
    let mut start = 0;
    ends.iter()
        .map(move |end| end - std::mem::replace(&mut start, *end))
}

fn check_lists(ends: &[u32], kind: Kind) -> Result<(), String> {
    let mut lengths = lengths(ends);
    match kind.store() {
        Store::Buckets if lengths.any(|len| len > BUCKETS) => {
            Err(format!("a histogram of more than {BUCKETS} buckets"))
        }
        Store::Pairs if lengths.any(|len| len % 2 != 0) => {
            Err("an error without its count".to_owned())
        }
        Store::Buckets
        | Store::Pairs
        | Store::Unsigned
        | Store::Signed
        | Store::Bytes
        | Store::Stack => Ok(()),
    }
}
