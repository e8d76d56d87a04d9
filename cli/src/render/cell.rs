//! One value as a table shows it. Only the column's kind, unit and role decide.

use super::human;
use rows::{
    Wall,
    escape::{arguments, escape, quote},
    ip,
};
use std::fmt::Write;
use tracers::{Batch, Column, Kind, Role, Unit, Value, errno, error_of, syscall};

/// How a cell stands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Not at all.
    #[default]
    Plain,
    /// Something failed.
    Bad,
}

/// Appends a value of `column`, escaped, on one line.
pub(crate) fn cell(
    column: &Column,
    batch: &Batch,
    value: Value<'_>,
    wall: Wall,
    out: &mut String,
) -> Tone {
    match (column.kind, value) {
        (Kind::Bool, Value::Unsigned(n)) => out.push_str(match n {
            0 => "no",
            1 => "yes",
            _ => "",
        }),
        (Kind::Time, Value::Unsigned(n)) => wall.time_of_day(n, out),
        (Kind::Syscall, Value::Unsigned(n)) => out.push_str(&syscall(n)),
        (Kind::Octal, Value::Unsigned(n)) => push(out, format_args!("{n:04o}")),
        (Kind::Flags(names), Value::Unsigned(n)) => escape(names(n).as_bytes(), out),
        // A stack that nobody has symbolised.
        (Kind::UserStack | Kind::KernelStack, Value::Unsigned(0)) => {}
        (Kind::UserStack | Kind::KernelStack, Value::Unsigned(n)) => {
            push(out, format_args!("{n:#x}"));
        }
        (_, Value::Unsigned(n)) => number(column, n, out),
        (Kind::Outcome, Value::Signed(n)) => return outcome(n, out),
        (_, Value::Signed(n)) => {
            if n < 0 {
                out.push('-');
            }
            number(column, n.unsigned_abs(), out);
        }
        (Kind::Ip, Value::Bytes(bytes, _)) => match ip(bytes) {
            Some(address) => push(out, format_args!("{address}")),
            None => escape(bytes, out),
        },
        (Kind::Args, Value::Bytes(bytes, cut)) => args(bytes, cut, out),
        (_, Value::Bytes(bytes, cut)) => {
            escape(bytes, out);
            // A path by its directory entries is cut at its beginning, and says so itself.
            if cut && !bytes.starts_with(b"...") {
                out.push('…');
            }
        }
        (Kind::Errors, Value::List(pairs)) => return errors(pairs, out),
        (_, Value::List(list)) => {
            let all = list.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
            human::grouped(all, out);
        }
        (_, Value::Frames(ids)) => stack(batch, ids, out),
    }
    Tone::Plain
}

fn number(column: &Column, n: u64, out: &mut String) {
    let unit = column.unit();
    let is_identity = match column.role {
        Role::None | Role::Key | Role::Last => unit == Unit::None,
        Role::Count | Role::Sum | Role::Max | Role::Min | Role::Gauge | Role::Histogram => false,
    };
    match is_identity {
        // Such as a process: separators would only be in the way.
        true => out.push_str(itoa::Buffer::new().format(n)),
        false => human::quantity(n, unit, out),
    }
}

fn outcome(n: i64, out: &mut String) -> Tone {
    match error_of(n) {
        Some(error) => {
            out.push_str(&errno(error));
            Tone::Bad
        }
        None => {
            out.push_str(itoa::Buffer::new().format(n));
            Tone::Plain
        }
    }
}

fn args(bytes: &[u8], cut: bool, out: &mut String) {
    let mut line = Vec::with_capacity(bytes.len() + 8);
    for (index, argument) in arguments(bytes).enumerate() {
        if index > 0 {
            line.push(b' ');
        }
        quote(argument, &mut line);
    }
    escape(&line, out);
    if cut {
        out.push_str(" …");
    }
}

/// `1,022 EAGAIN, 3 EINTR`, most frequent first; `0` for none.
fn errors(pairs: &[u64], out: &mut String) -> Tone {
    let mut pairs: Vec<[u64; 2]> = pairs.as_chunks().0.to_vec();
    pairs.sort_by_key(|[_, count]| std::cmp::Reverse(*count));
    if pairs.is_empty() {
        out.push('0');
        return Tone::Plain;
    }
    for (index, [error, count]) in pairs.into_iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        human::grouped(count, out);
        out.push(' ');
        match error {
            0 => out.push_str("other"),
            error => out.push_str(&errno(error)),
        }
    }
    Tone::Bad
}

/// Function names, innermost first.
fn stack(batch: &Batch, ids: &[u32], out: &mut String) {
    for (index, id) in ids.iter().enumerate() {
        if index > 0 {
            out.push_str(" < ");
        }
        if let Some(frame) = batch.frames.get(*id as usize) {
            escape(frame.name.as_bytes(), out);
        }
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}
