//! JSON by hand, into one buffer: at half a million rows a second there is no time for a tree of values.

use crate::{Column, Frame, user::escape::is_printable};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use std::{io::Write, vec::Vec};

/// Appends a frame of a stack.
pub(crate) fn frame(frame: &Frame, out: &mut Vec<u8>) {
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

/// Appends the key of what else there is to say of a column's value.
pub(crate) fn extra(column: &Column, what: &str, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = write!(out, ",\"{}_{what}\":", column.name);
}

/// Appends an array.
pub(crate) fn list<T>(
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

/// Appends a number.
pub fn integer(n: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Appends that the kernel had more than the record could hold.
pub(crate) fn cut(cut: bool, column: &Column, out: &mut Vec<u8>) {
    if cut {
        extra(column, "cut", out);
        out.extend_from_slice(b"true");
    }
}

/// Bytes without loss: a string where they are one, else base64.
pub(crate) fn text(bytes: &[u8], out: &mut Vec<u8>) {
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
pub fn string(text: &str, out: &mut Vec<u8>) {
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
    use std::string::String;

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
