//! Text that callers and targets chose: truncated, and made printable for the log.

use std::{
    borrow::Cow,
    io::{self, Write},
};

/// Returns the text, or its beginning if it is longer than this number of bytes.
pub(crate) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let room = most.saturating_sub('…'.len_utf8());
        text.truncate(text.floor_char_boundary(room));
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

/// JSON whose strings have escapes instead of characters that a terminal may act on or that hide: DEL, C1 controls, bidirectional
/// controls, separators of lines. Parsers read the same JSON.
pub(crate) fn printable(json: &str) -> Cow<'_, str> {
    let plain = |c: char| c == '\n' || rows::escape::is_printable(c);
    if json.chars().all(plain) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        match plain(c) {
            true => out.push(c),
            false => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    Cow::Owned(out)
}

/// A writer of lines of JSON that are [`printable`].
pub(crate) struct Printable<W>(pub(crate) W);

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match str::from_utf8(line) {
            Ok(json) => self.0.write_all(printable(json).as_bytes())?,
            Err(_) => self
                .0
                .write_all(line.escape_ascii().to_string().as_bytes())?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_is_no_longer_than_allowed_and_ends_with_an_ellipsis() {
        assert_eq!(cut("abc".to_owned(), 3), "abc");
        for most in 3..40 {
            let text = cut("é\u{1f600}".repeat(50), most);
            assert!(text.len() <= most && text.ends_with('…'), "{most}: {text}");
        }
    }

    #[test]
    fn json_for_a_log_has_nothing_that_a_terminal_acts_on_and_parses_to_the_same_text() {
        let hostile = "a\u{9b}31m\u{9d}0;x\u{7f}\u{202e}b\u{2028}\u{e0041}\x1b[2J\n日本";
        let json = serde_json::to_string(hostile).unwrap();
        let line = printable(&json);
        assert!(line.chars().all(rows::escape::is_printable), "{line:?}");
        let parsed: String = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed, hostile);
        assert!(line.contains("日本"), "what is printable stays");
        let mut written = Vec::new();
        writeln!(Printable(&mut written), "{json}").unwrap();
        assert_eq!(written, format!("{line}\n").as_bytes());
    }
}
