//! Values by how they are stored, for kinds that show them as they are.

use super::form::*;
use crate::Role;
use itoa::Buffer;

pub(super) fn text(value: Value<'_>, shown: Shown<'_>, out: &mut String) -> Tone {
    match value {
        Value::Unsigned(n) => number(shown.column, n, out),
        Value::Signed(n) => {
            if n < 0 {
                out.push('-');
            }
            number(shown.column, n.unsigned_abs(), out);
        }
        Value::Bytes(bytes, cut) => {
            escape::escape(bytes, out);
            // A path by its directory entries is cut at its beginning, and says so itself.
            if cut && !bytes.starts_with(b"...") {
                out.push('…');
            }
        }
        Value::List(list) => {
            let all = list.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
            human::grouped(all, out);
        }
        // Function names, innermost first.
        Value::Frames(ids) => {
            for (index, id) in ids.iter().enumerate() {
                if index > 0 {
                    out.push_str(" < ");
                }
                if let Some(frame) = shown.frames.get(*id as usize) {
                    escape::escape(frame.name.as_bytes(), out);
                }
            }
        }
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
        true => out.push_str(Buffer::new().format(n)),
        false => human::quantity(n, unit, out),
    }
}

pub(super) fn json(value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Unsigned(n) => json::integer(n, out),
        Value::Signed(n) => out.extend_from_slice(Buffer::new().format(n).as_bytes()),
        Value::Bytes(bytes, cut) => {
            json::text(bytes, out);
            json::cut(cut, shown.column, out);
        }
        Value::List(numbers) => json::list(numbers.iter(), out, |n, out| json::integer(*n, out)),
        Value::Frames(ids) => json::list(ids.iter(), out, |id, out| {
            match shown.frames.get(*id as usize) {
                Some(frame) => json::frame(frame, out),
                None => out.extend_from_slice(b"null"),
            }
        }),
    }
}

pub(super) fn csv(value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Unsigned(n) => json::integer(n, out),
        Value::Signed(n) => out.extend_from_slice(Buffer::new().format(n).as_bytes()),
        Value::Bytes(bytes, _) => out.extend_from_slice(bytes),
        Value::List(numbers) => {
            for (index, n) in numbers.iter().enumerate() {
                separate(index, b' ', out);
                json::integer(*n, out);
            }
        }
        // From the root, as folded stacks are.
        Value::Frames(ids) => {
            let frames = ids.iter().rev();
            let frames = frames.filter_map(|id| shown.frames.get(*id as usize));
            for (index, frame) in frames.enumerate() {
                separate(index, b';', out);
                out.extend_from_slice(frame.name.as_bytes());
            }
        }
    }
}

pub(super) fn separate(index: usize, by: u8, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(by);
    }
}

/// The form of a kind whose numbers have names: the same name in a table, in JSON and in CSV, each as its form writes text.
macro_rules! by_name {
    ($this:pat, $n:ident => $name:expr) => {
        fn text(self, value: Value<'_>, shown: Shown<'_>, out: &mut String) -> Tone {
            match value {
                Value::Unsigned($n) => {
                    let $this = self;
                    escape::escape($name.as_bytes(), out);
                    Tone::Plain
                }
                value => plain::text(value, shown, out),
            }
        }
        fn json(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            match value {
                Value::Unsigned($n) => {
                    let $this = self;
                    json::string(&$name, out);
                }
                value => plain::json(value, shown, out),
            }
        }
        fn csv(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            match value {
                Value::Unsigned($n) => {
                    let $this = self;
                    out.extend_from_slice($name.as_bytes());
                }
                value => plain::csv(value, shown, out),
            }
        }
    };
}
/// The form of a kind whose values are shown as they are stored.
macro_rules! as_stored {
    () => {
        fn text(self, value: Value<'_>, shown: Shown<'_>, out: &mut String) -> Tone {
            plain::text(value, shown, out)
        }
        fn json(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            plain::json(value, shown, out);
        }
        fn csv(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            plain::csv(value, shown, out);
        }
    };
}
/// The form of stacks: frames, or a number where nobody has symbolised them.
macro_rules! stack {
    () => {
        fn text(self, value: Value<'_>, shown: Shown<'_>, out: &mut String) -> Tone {
            match value {
                Value::Unsigned(0) => {}
                Value::Unsigned(n) => out.push_str(&std::format!("{n:#x}")),
                value => return plain::text(value, shown, out),
            }
            Tone::Plain
        }
        fn json(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            match value {
                Value::Unsigned(0) => out.extend_from_slice(b"[]"),
                Value::Unsigned(n) => json::string(&std::format!("{n:#x}"), out),
                value => plain::json(value, shown, out),
            }
        }
        fn csv(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            match value {
                Value::Unsigned(0) => {}
                Value::Unsigned(n) => out.extend_from_slice(std::format!("{n:#x}").as_bytes()),
                value => plain::csv(value, shown, out),
            }
        }
    };
}
/// A field that is one column of a kind.
///
/// Its number, where it has one, is that of its bytes as they are. Bytes say how they lie there: [`crate::Held`].
macro_rules! cell {
    ($ty:ty => $kind:expr, |$value:ident, $out:ident| $push:expr) => {
        cell! { $ty => $kind, |$value, $out| $push, |base| base.number(size_of::<$ty>()) }
    };
    ($ty:ty => $kind:expr, |$value:ident, $out:ident| $push:expr, |$base:ident| $held:expr) => {
        impl crate::Cell for $ty {
            fn columns(base: Column, out: &mut Vec<Column>) {
                let $base = base.kind($kind);
                out.push($held);
            }
            fn push(&self, $out: &mut crate::Cursor<'_>) {
                let $value = self;
                $push;
            }
        }
    };
}
pub(super) use {as_stored, by_name, cell, stack};
