//! Escapes of text from targets, for safe printing: one line, printable, of known width.
//!
//! Programs choose the names of files and threads. Characters that move the cursor, change colours, reorder the line or are invisible are
//! escaped: a target must not control the user's terminal.

use std::{fmt::Write, string::String, vec::Vec};
use unicode_width::UnicodeWidthChar;

/// Combining marks that may follow one another; a heap of them would paint over neighbouring rows.
const MARKS: usize = 2;

/// Appends `bytes` with everything escaped that is not plain printable text.
pub fn escape(bytes: &[u8], out: &mut String) {
    if bytes.iter().all(|b| (b' '..=b'~').contains(b)) {
        out.extend(bytes.iter().map(|&b| char::from(b)));
        return;
    }
    // Marks at the very start would combine with what stands before the text.
    let mut marks = MARKS;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            marks = if is_mark(c) { marks + 1 } else { 0 };
            match marks <= MARKS && is_printable(c) {
                true => out.push(c),
                false => escape_char(c, out),
            }
        }
        for byte in chunk.invalid() {
            push(out, format_args!("\\x{byte:02x}"));
            marks = MARKS;
        }
    }
}

/// The same as a new string.
pub fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    escape(bytes, &mut out);
    out
}

/// Whether a character prints as itself, in its place, and does nothing else.
pub fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        _ if c.is_control() => false,
        // Soft hyphen, bidirectional controls, joiners and other invisible ones, line and paragraph separators,
        // fillers that look like nothing, variation selectors, tags. Unicode 16, DerivedCoreProperties.txt, Default_Ignorable_Code_Point.
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => false,
        // No characters, and never will be; XML does not allow all of them. Unicode 16, 23.7.
        '\u{fdd0}'..='\u{fdef}' => false,
        _ => c as u32 & 0xfffe != 0xfffe,
    }
}

fn is_mark(c: char) -> bool {
    c.width() == Some(0)
}

fn escape_char(c: char, out: &mut String) {
    match c {
        '\t' => out.push_str("\\t"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        _ if (c as u32) < 0x100 => push(out, format_args!("\\x{:02x}", c as u32)),
        _ => push(out, format_args!("\\u{{{:x}}}", c as u32)),
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

/// Columns that printable text takes on a terminal.
pub fn width(text: &str) -> usize {
    match text.is_ascii() {
        true => text.len(),
        // Character by character, as terminals advance.
        false => text.chars().map(char_width).sum(),
    }
}

fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Cuts text on the right to at most `room` columns; a cut ends with `…`.
pub fn cut_right(text: &str, room: usize, out: &mut String) {
    if width(text) <= room {
        return out.push_str(text);
    }
    let mut left = room.saturating_sub(1);
    for c in text.chars() {
        match left.checked_sub(char_width(c)) {
            Some(rest) => left = rest,
            None => break,
        }
        out.push(c);
    }
    if room > 0 {
        out.push('…');
    }
}

/// Cuts text on the left to at most `room` columns; a cut begins with `…`.
pub fn cut_left(text: &str, room: usize, out: &mut String) {
    if width(text) <= room {
        return out.push_str(text);
    }
    let mut left = room.saturating_sub(1);
    let mut start = text.len();
    for (at, c) in text.char_indices().rev() {
        match left.checked_sub(char_width(c)) {
            Some(rest) => left = rest,
            None => break,
        }
        // A mark belongs to the character before it.
        if !is_mark(c) {
            start = at;
        }
    }
    if room > 0 {
        out.push('…');
    }
    out.push_str(&text[start..]);
}

/// Appends one argument as a shell would need it typed.
pub fn quote(argument: &[u8], out: &mut Vec<u8>) {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_-+=:,./@%^".contains(b) || *b >= 0x80;
    if !argument.is_empty() && argument.iter().all(plain) {
        return out.extend_from_slice(argument);
    }
    out.push(b'\'');
    for &byte in argument {
        match byte {
            b'\'' => out.extend_from_slice(b"'\\''"),
            byte => out.push(byte),
        }
    }
    out.push(b'\'');
}

/// The arguments of a program: each ends with a zero byte, the last where it was cut perhaps without.
pub fn arguments(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    // A lone zero byte is one empty argument; nothing is none.
    let some = !bytes.is_empty();
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    bytes.split(|&b| b == 0).filter(move |_| some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{borrow::ToOwned, string::ToString, vec};

    /// Pseudo-random bytes, biased to what is dangerous.
    fn hostile(seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let pieces: [&[u8]; 14] = [
            b"\x1b[31m",
            b"\x07",
            b"\x7f",
            b"a",
            b"\xff",
            "\u{202e}".as_bytes(),
            "\u{200b}".as_bytes(),
            "日".as_bytes(),
            "e\u{301}\u{301}\u{301}\u{301}".as_bytes(),
            "\u{9b}".as_bytes(),
            b"\xe2\x80",
            b"\r\n\t",
            "\u{e0041}".as_bytes(),
            "\u{feff}".as_bytes(),
        ];
        (0..next() % 24)
            .flat_map(|_| match next() % 3 {
                0 => vec![next() as u8],
                1 => char::from_u32((next() % 0x11_0000) as u32)
                    .unwrap_or('x')
                    .to_string()
                    .into_bytes(),
                _ => pieces[(next() % 14) as usize].to_vec(),
            })
            .collect()
    }

    #[test]
    fn hostile_text_becomes_one_printable_line_of_the_width_that_is_said() {
        for seed in 0..20_000 {
            let bytes = hostile(seed);
            let text = escaped(&bytes);
            assert!(text.chars().all(is_printable), "{bytes:x?} gave {text:?}");
            for room in [0, 1, 2, 7, 20] {
                for cut in [cut_left, cut_right] {
                    let mut short = String::new();
                    cut(&text, room, &mut short);
                    assert!(width(&short) <= room, "{text:?} in {room} gave {short:?}");
                    assert!(
                        width(&text) > room || short == text,
                        "{text:?} would have fitted {room}"
                    );
                }
            }
        }
    }

    #[test]
    fn escapes_are_those_that_people_know() {
        assert_eq!(escaped(b"a\x1b[31mb\n\xff"), "a\\x1b[31mb\\n\\xff");
        assert_eq!(escaped("x\u{202e}y\u{9b}".as_bytes()), "x\\u{202e}y\\x9b");
        assert_eq!(escaped("日本 é".as_bytes()), "日本 é");
        assert_eq!(
            escaped("e\u{301}\u{302}\u{303}".as_bytes()),
            "e\u{301}\u{302}\\u{303}"
        );
        assert_eq!(
            escaped("\u{301}".as_bytes()),
            "\\u{301}",
            "a mark needs something to stand on"
        );
    }

    #[test]
    fn text_is_cut_where_it_matters_least() {
        let cut = |f: fn(&str, usize, &mut String), text, room| {
            let mut out = String::new();
            f(text, room, &mut out);
            out
        };
        assert_eq!(
            cut(cut_left, "/usr/lib/libc.so.6", 10),
            "…ibc.so.6"[..].to_owned().replace("…", "…l")
        );
        assert_eq!(cut(cut_right, "checkout-worker", 8), "checkou…");
        assert_eq!(cut(cut_right, "日本語", 4), "日…");
        assert_eq!(cut(cut_left, "日本語", 4), "…語");
        assert_eq!(cut(cut_right, "fits", 4), "fits");
    }

    #[test]
    fn arguments_are_quoted_as_a_shell_needs_them() {
        let shown = |bytes: &[u8]| {
            let mut out = Vec::new();
            for (index, argument) in arguments(bytes).enumerate() {
                if index > 0 {
                    out.push(b' ');
                }
                quote(argument, &mut out);
            }
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(b"ls\0-l\0/etc/my file\0"), "ls -l '/etc/my file'");
        assert_eq!(shown(b"sh\0-c\0it's\0\0"), r"sh -c 'it'\''s' ''");
        assert_eq!(shown(b""), "");
        assert_eq!(shown(b"\0"), "''");
        assert_eq!(shown(b"a\0cut"), "a cut");
    }
}
