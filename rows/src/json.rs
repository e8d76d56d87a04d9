//! One JSON object per row. The forms are documented in docs/output.md and do not change.
//!
//! Written by hand into one buffer: at half a million rows a second there is no time for a tree of values.

use crate::{
    Wall,
    escape::{arguments, is_printable},
    ip,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use std::{
    io::{self, Write},
    ops::Range,
    time::Duration,
};
use tracers::{Batch, Column, Frame, Kind, Value, errno, error_of, syscall};

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
    /// The last number whose text is made up, and that text: rows that follow each other mostly have the same.
    last: Option<(u64, Vec<u8>)>,
}

impl Named {
    /// Appends the text of a number.
    fn made_up(&mut self, number: u64, out: &mut Vec<u8>, text: impl FnOnce(&mut Vec<u8>)) {
        if self.last.as_ref().is_none_or(|(of, _)| *of != number) {
            let mut bytes = Vec::new();
            text(&mut bytes);
            self.last = Some((number, bytes));
        }
        if let Some((_, bytes)) = &self.last {
            out.extend_from_slice(bytes);
        }
    }
}

impl<W: Write> Json<W> {
    /// Rows of these columns.
    pub fn new(columns: &[Column], to: W) -> Self {
        let named = |column: &Column| Named {
            column: column.clone(),
            key: format!("\"{}\":", column.name).into_bytes(),
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
                value(
                    named,
                    batch.value(at, row),
                    wall,
                    &batch.frames,
                    &mut self.out,
                );
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

/// Appends one value, and after it whatever else is to be said of it under a name of its own.
fn value(named: &mut Named, value: Value<'_>, wall: Wall, frames: &[Frame], out: &mut Vec<u8>) {
    match (named.column.kind, value) {
        (Kind::Bool, Value::Unsigned(n)) => {
            out.extend_from_slice(match n {
                0 => b"false",
                1 => b"true",
                _ => b"null",
            });
        }
        (Kind::Time, Value::Unsigned(n)) => integer(wall.unix_ns(n), out),
        (Kind::Syscall, Value::Unsigned(n)) => {
            named.made_up(n, out, |text| plain(&syscall(n), text));
        }
        (Kind::Octal, Value::Unsigned(n)) => plain(&format!("{n:04o}"), out),
        (Kind::Flags(names), Value::Unsigned(n)) => {
            named.made_up(n, out, |text| string(&names(n), text));
        }
        // A stack that nobody has symbolised.
        (Kind::UserStack | Kind::KernelStack, Value::Unsigned(0)) => out.extend_from_slice(b"[]"),
        (Kind::UserStack | Kind::KernelStack, Value::Unsigned(n)) => plain(&format!("{n:#x}"), out),
        (_, Value::Unsigned(n)) => integer(n, out),
        (kind, Value::Signed(n)) => {
            out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
            if let (Kind::Outcome, Some(error)) = (kind, error_of(n)) {
                extra(&named.column, "error", out);
                plain(&errno(error), out);
            }
        }
        (Kind::Ip, Value::Bytes(bytes, _)) => match ip(bytes) {
            // Writing to a vector cannot fail.
            Some(address) => drop(write!(out, "\"{address}\"")),
            None => text(bytes, out),
        },
        (kind, Value::Bytes(bytes, cut)) => {
            match kind {
                Kind::Args => list(arguments(bytes), out, text),
                _ => text(bytes, out),
            }
            if cut {
                extra(&named.column, "cut", out);
                out.extend_from_slice(b"true");
            }
        }
        (Kind::Errors, Value::List(pairs)) => {
            out.push(b'{');
            for (index, [error, count]) in pairs.as_chunks().0.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                match error {
                    0 => plain("other", out),
                    error => plain(&errno(*error), out),
                }
                out.push(b':');
                integer(*count, out);
            }
            out.push(b'}');
        }
        (Kind::Log2 { .. }, Value::List(buckets)) => {
            list(lower_bounds(buckets), out, |(from, count), out| {
                out.push(b'[');
                integer(from, out);
                out.push(b',');
                integer(count, out);
                out.push(b']');
            })
        }
        (_, Value::List(numbers)) => list(numbers.iter(), out, |n, out| integer(*n, out)),
        (_, Value::Frames(ids)) => {
            list(ids.iter(), out, |id, out| match frames.get(*id as usize) {
                Some(of) => frame(of, out),
                None => out.extend_from_slice(b"null"),
            })
        }
    }
}

/// The buckets that have something in them: the smallest value that belongs there, and how many did.
pub(crate) fn lower_bounds(buckets: &[u64]) -> impl Iterator<Item = (u64, u64)> {
    let some = buckets.iter().enumerate().filter(|(_, count)| **count > 0);
    some.map(|(n, count)| {
        (
            if n == 0 {
                0
            } else {
                1u64.checked_shl(n as u32).unwrap_or(u64::MAX)
            },
            *count,
        )
    })
}

fn frame(frame: &Frame, out: &mut Vec<u8>) {
    let Frame {
        name,
        module,
        offset,
        file,
        line,
    } = frame;
    out.extend_from_slice(b"{\"name\":");
    string(name, out);
    out.extend_from_slice(b",\"module\":");
    string(module, out);
    out.extend_from_slice(b",\"offset\":");
    integer(*offset, out);
    if !file.is_empty() {
        out.extend_from_slice(b",\"file\":");
        string(file, out);
        out.extend_from_slice(b",\"line\":");
        integer((*line).into(), out);
    }
    out.push(b'}');
}

fn extra(column: &Column, what: &str, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = write!(out, ",\"{}_{what}\":", column.name);
}

fn list<T>(
    items: impl Iterator<Item = T>,
    out: &mut Vec<u8>,
    mut item: impl FnMut(T, &mut Vec<u8>),
) {
    out.push(b'[');
    for (index, one) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item(one, out);
    }
    out.push(b']');
}

fn integer(n: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// A name of ours, which needs no escape.
fn plain(name: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
}

/// Bytes without loss: a string where they are one, else base64.
fn text(bytes: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => string(text, out),
        Err(_) => {
            out.extend_from_slice(b"{\"base64\":\"");
            out.extend_from_slice(BASE64_STANDARD.encode(bytes).as_bytes());
            out.extend_from_slice(b"\"}");
        }
    }
}

/// A string. What a terminal would act on is escaped, which changes nothing for whoever parses it.
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let harmless = |b: &u8| (b' '..=b'~').contains(b) && *b != b'"' && *b != b'\\';
    if text.as_bytes().iter().all(harmless) {
        out.extend_from_slice(text.as_bytes());
    } else {
        for c in text.chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\t' => out.extend_from_slice(b"\\t"),
                c if is_printable(c) => {
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes())
                }
                c => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a vector cannot fail.
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_string_survives_and_any_bytes_do() {
        for seed in 0..4_000u32 {
            let string_: String = (0..seed % 9)
                .filter_map(|at| {
                    char::from_u32(seed.wrapping_mul(0x9e37_79b9).rotate_left(at * 5) % 0x11_0000)
                })
                .collect();
            let mut out = Vec::new();
            string(&string_, &mut out);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), string_);
        }
    }
}
