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
    columns: Vec<Named>,
    out: Vec<u8>,
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
        let named = |column: &Column| Named {
            column: column.clone(),
            key: format!("\"{}\":", column.name).into_bytes(),
            is_named: column.kind.is_named(),
            last: None,
        };
        Self {
            to,
            columns: columns.iter().map(named).collect(),
            out: Vec::with_capacity(2 * CHUNK),
        }
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
        for row in rows {
            self.out.push(b'{');
            if let Some(elapsed) = elapsed {
                self.out.extend_from_slice(b"\"elapsed_ns\":");
                integer(elapsed.as_nanos() as u64, &mut self.out);
                self.out.push(b',');
            }
            for (at, named) in self.columns.iter_mut().enumerate() {
                if at > 0 {
                    self.out.push(b',');
                }
                self.out.extend_from_slice(&named.key);
                named.value(batch.value(at, row), batch, wall, &mut self.out);
            }
            self.out.extend_from_slice(b"}\n");
            if self.out.len() >= CHUNK {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.to.write_all(&self.out);
        self.out.clear();
        written
    }
}
