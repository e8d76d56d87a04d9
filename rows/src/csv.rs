//! Rows as comma-separated values (RFC 4180): numbers raw, texts byte for byte. docs/output.md says which columns there are.

use crate::{
    Wall,
    escape::{arguments, escaped, quote},
    ip,
    json::lower_bounds,
};
use std::{
    io::{self, Write},
    ops::Range,
    time::Duration,
};
use tracers::{Batch, Column, Kind, Value, errno, error_of, syscall};

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
            if let Some(more) = more(column) {
                self.to
                    .write_field(format!("{}_{more}", column.name))
                    .map_err(io)?;
            }
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
                field(column, batch, value, wall, &mut self.field);
                if self.escaped {
                    self.field = escaped(&self.field).into_bytes();
                }
                self.to.write_field(&self.field).map_err(io)?;
                match (more(column), value) {
                    (Some("error"), Value::Signed(n)) => {
                        let name = error_of(n).map(errno).unwrap_or_default();
                        self.to.write_field(name.as_bytes()).map_err(io)?;
                    }
                    (Some(_), Value::Bytes(_, cut)) => {
                        self.to
                            .write_field(if cut { "true" } else { "false" })
                            .map_err(io)?;
                    }
                    (Some(_), _) => self.to.write_field("").map_err(io)?,
                    (None, _) => {}
                }
            }
            self.to.write_record(None::<&[u8]>).map_err(io)?;
        }
        self.to.flush()
    }
}

/// The column that follows this one, as the part of its name behind the `_`.
fn more(column: &Column) -> Option<&'static str> {
    match column.kind {
        Kind::Outcome => Some("error"),
        Kind::Path | Kind::Args => Some("cut"),
        _ => None,
    }
}

fn field(column: &Column, batch: &Batch, value: Value<'_>, wall: Wall, out: &mut Vec<u8>) {
    match (column.kind, value) {
        (Kind::Bool, Value::Unsigned(n)) => {
            out.extend_from_slice(match n {
                0 => b"false",
                1 => b"true",
                _ => b"",
            });
        }
        (Kind::Time, Value::Unsigned(n)) => number(wall.unix_ns(n), out),
        (Kind::Syscall, Value::Unsigned(n)) => out.extend_from_slice(syscall(n).as_bytes()),
        (Kind::Octal, Value::Unsigned(n)) => push(out, format_args!("{n:04o}")),
        (Kind::Flags(names), Value::Unsigned(n)) => out.extend_from_slice(names(n).as_bytes()),
        // A stack that nobody has symbolised.
        (Kind::UserStack | Kind::KernelStack, Value::Unsigned(0)) => {}
        (Kind::UserStack | Kind::KernelStack, Value::Unsigned(n)) => {
            push(out, format_args!("{n:#x}"))
        }
        (_, Value::Unsigned(n)) => number(n, out),
        (_, Value::Signed(n)) => out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes()),
        (Kind::Ip, Value::Bytes(bytes, _)) => match ip(bytes) {
            Some(address) => push(out, format_args!("{address}")),
            None => out.extend_from_slice(bytes),
        },
        (Kind::Args, Value::Bytes(bytes, _)) => {
            for (index, argument) in arguments(bytes).enumerate() {
                separate(index, b' ', out);
                quote(argument, out);
            }
        }
        (_, Value::Bytes(bytes, _)) => out.extend_from_slice(bytes),
        (Kind::Errors, Value::List(pairs)) => {
            for (index, [error, count]) in pairs.as_chunks().0.iter().enumerate() {
                separate(index, b' ', out);
                match error {
                    0 => out.extend_from_slice(b"other"),
                    error => out.extend_from_slice(errno(*error).as_bytes()),
                }
                out.push(b':');
                number(*count, out);
            }
        }
        (_, Value::List(buckets)) => {
            for (index, (from, count)) in lower_bounds(buckets).enumerate() {
                separate(index, b' ', out);
                push(out, format_args!("{from}:{count}"));
            }
        }
        // From the root, as folded stacks are.
        (_, Value::Frames(ids)) => {
            let names = ids
                .iter()
                .rev()
                .filter_map(|id| batch.frames.get(*id as usize));
            for (index, frame) in names.enumerate() {
                separate(index, b';', out);
                out.extend_from_slice(frame.name.as_bytes());
            }
        }
    }
}

fn separate(index: usize, by: u8, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(by);
    }
}

fn number(n: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

fn push(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = out.write_fmt(text);
}

/// Our sink is all that can fail.
fn io(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
