//! One JSON object per row. The forms are documented in docs/output.md and do not change.
//!
//! Written by hand into one buffer, as `tracers::json` writes values: at half a million rows a second there is no time for more.

use crate::Wall;
use std::{
    io::{self, Write},
    ops::Range,
    time::Duration,
};
use tracers::{Batch, Column, Shown, Value, json::integer};

/// Bytes after which the buffer is written.
const CHUNK: usize = 64 << 10;

/// JSON lines.
#[derive(Debug)]
pub struct Json<W> {
    to: W,
    /// Of each dataset.
    datasets: Vec<Rows>,
    out: Vec<u8>,
}

/// What is written of a dataset.
#[derive(Debug)]
struct Rows {
    /// What each object begins with: of which dataset it is, where that is not the first.
    start: Vec<u8>,
    columns: Vec<Named>,
}

impl Rows {
    fn new(start: String, columns: &[Column]) -> Self {
        let named = |column: &Column| Named {
            column: column.clone(),
            key: format!("\"{}\":", column.name).into_bytes(),
            is_named: column.kind.is_named(),
            last: None,
        };
        Self {
            start: start.into_bytes(),
            columns: columns.iter().map(named).collect(),
        }
    }
}

/// A column with its name as it stands in an object.
#[derive(Debug)]
struct Named {
    column: Column,
    key: Vec<u8>,
    /// Whether its numbers are shown by name.
    is_named: bool,
    /// The last of these numbers, and its name: rows that follow each other mostly have the same.
    last: Option<(u64, Vec<u8>)>,
}

impl Named {
    /// Appends a value, and after it whatever else is to be said of it.
    #[inline]
    fn value(&mut self, value: Value<'_>, batch: &Batch, wall: Wall, out: &mut Vec<u8>) {
        let column = &self.column;
        let shown = Shown {
            column,
            frames: &batch.frames,
            wall,
        };
        match value {
            Value::Unsigned(number) if self.is_named => {
                if self.last.as_ref().is_none_or(|(of, _)| *of != number) {
                    let mut bytes = Vec::new();
                    column.kind.json(value, shown, &mut bytes);
                    self.last = Some((number, bytes));
                }
                if let Some((_, bytes)) = &self.last {
                    out.extend_from_slice(bytes);
                }
            }
            value => column.kind.json(value, shown, out),
        }
    }
}

impl<W: Write> Json<W> {
    /// Rows of these columns.
    pub fn new(columns: &[Column], to: W) -> Self {
        Self {
            to,
            datasets: vec![Rows::new("{".to_owned(), columns)],
            out: Vec::with_capacity(2 * CHUNK),
        }
    }

    /// Writes rows of a further dataset too, the next one by its number; its name has nothing that JSON escapes.
    pub fn also(&mut self, dataset: &str, columns: &[Column]) {
        let start = format!("{{\"dataset\":\"{dataset}\",");
        self.datasets.push(Rows::new(start, columns));
    }

    /// Where they go.
    pub fn to(&mut self) -> &mut W {
        &mut self.to
    }

    /// Writes rows; those of a state of a map are marked by its time where that is given.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn write(
        &mut self,
        batch: &Batch,
        wall: Wall,
        elapsed: Option<Duration>,
    ) -> io::Result<()> {
        self.write_some(batch, 0..batch.rows(), wall, elapsed)
    }

    /// Writes some of a batch's rows, which must be in range.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn write_some(
        &mut self,
        batch: &Batch,
        rows: Range<usize>,
        wall: Wall,
        elapsed: Option<Duration>,
    ) -> io::Result<()> {
        let Self { to, datasets, out } = self;
        let Some(dataset) = datasets.get_mut(batch.dataset) else {
            return Err(io::Error::other("rows of a dataset without columns: a bug"));
        };
        for row in rows {
            out.extend_from_slice(&dataset.start);
            if let Some(elapsed) = elapsed {
                out.extend_from_slice(b"\"elapsed_ns\":");
                integer(elapsed.as_nanos() as u64, out);
                out.push(b',');
            }
            for (at, named) in dataset.columns.iter_mut().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(&named.key);
                named.value(batch.value(at, row), batch, wall, out);
            }
            out.extend_from_slice(b"}\n");
            if out.len() >= CHUNK {
                flush(to, out)?;
            }
        }
        flush(to, out)
    }
}

fn flush(to: &mut impl Write, out: &mut Vec<u8>) -> io::Result<()> {
    let written = to.write_all(out);
    out.clear();
    written
}
