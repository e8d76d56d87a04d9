//! Rows as comma-separated values (RFC 4180): numbers raw, texts byte for byte. docs/output.md says which columns there are.

use crate::{Wall, escape::escaped};
use std::{
    io::{self, Write},
    ops::Range,
    time::Duration,
};
use tracers::{Batch, Beside, Column, Shown, Value, errno, error_of};

/// Comma-separated values.
#[derive(Debug)]
pub struct Csv<W: Write> {
    to: csv::Writer<W>,
    columns: Vec<Column>,
    /// Whether each row of a state of a map is marked by its time.
    intervals: bool,
    /// Whether texts are escaped: a terminal would act on what they say.
    escaped: bool,
    headed: bool,
    field: Vec<u8>,
}

impl<W: Write> Csv<W> {
    /// Rows of these columns: each marked by a time where there are `intervals`, texts escaped where a terminal would act on what they
    /// say.
    pub fn new(columns: &[Column], intervals: bool, escaped: bool, to: W) -> Self {
        let to = csv::WriterBuilder::new()
            .buffer_capacity(64 << 10)
            .from_writer(to);
        Self {
            to,
            columns: columns.to_vec(),
            intervals,
            escaped,
            headed: false,
            field: Vec::new(),
        }
    }

    /// Where they go, which has all of them after [`Self::write`].
    pub fn to(&self) -> &W {
        self.to.get_ref()
    }

    /// Writes the names of the columns, where that has not been done.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn head(&mut self) -> io::Result<()> {
        if self.headed {
            return Ok(());
        }
        self.headed = true;
        if self.intervals {
            self.to.write_field("elapsed_ns").map_err(io)?;
        }
        for column in &self.columns {
            self.to.write_field(&*column.name).map_err(io)?;
            let beside = match column.kind.beside() {
                Beside::Nothing => continue,
                Beside::Error => "error",
                Beside::Cut => "cut",
            };
            let beside = format!("{}_{beside}", column.name);
            self.to.write_field(beside).map_err(io)?;
        }
        self.to.write_record(None::<&[u8]>).map_err(io)?;
        self.to.flush()
    }

    /// Writes rows, and before the first the names of the columns.
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
        self.head()?;
        for row in rows {
            if let Some(elapsed) = elapsed {
                self.to
                    .write_field(elapsed.as_nanos().to_string())
                    .map_err(io)?;
            }
            for (at, column) in self.columns.iter().enumerate() {
                let value = batch.value(at, row);
                self.field.clear();
                let shown = Shown {
                    column,
                    frames: &batch.frames,
                    wall,
                };
                column.kind.csv(value, shown, &mut self.field);
                if self.escaped {
                    self.field = escaped(&self.field).into_bytes();
                }
                self.to.write_field(&self.field).map_err(io)?;
                let beside = match (column.kind.beside(), value) {
                    (Beside::Nothing, _) => continue,
                    (Beside::Error, Value::Signed(n)) => error_of(n).map(errno).unwrap_or_default(),
                    (Beside::Cut, Value::Bytes(_, true)) => "true".into(),
                    (Beside::Cut, Value::Bytes(_, false)) => "false".into(),
                    (Beside::Error | Beside::Cut, _) => "".into(),
                };
                self.to.write_field(&*beside).map_err(io)?;
            }
            self.to.write_record(None::<&[u8]>).map_err(io)?;
        }
        self.to.flush()
    }
}

/// Returns the field of a value that needs neither stack frames nor the wall clock.
pub fn field(column: &Column, value: Value<'_>) -> Vec<u8> {
    let shown = Shown {
        column,
        frames: &[],
        wall: Wall::default(),
    };
    let mut field = Vec::new();
    column.kind.csv(value, shown, &mut field);
    field
}

/// Our sink is all that can fail.
fn io(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
