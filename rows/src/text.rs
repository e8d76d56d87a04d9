//! Text from peers and libraries, made safe and short: one policy for terminals, objects and JSON.
//!
//! An agent, a gateway or an API server is not trusted. Its text may move a cursor, reorder a line, hide, or fill memory.

use tracers::escape::escaped;

/// Returns the beginning of a peer's text on one line, with escapes for characters that a terminal acts on: `most` characters at most.
pub fn excerpt(text: &str, most: usize) -> String {
    let end = |text: &str| {
        text.char_indices()
            .nth(most)
            .map_or(text.len(), |(at, _)| at)
    };
    let mut shown = escaped(&text.as_bytes()[..end(text)]);
    // Escapes are longer than what they stand for.
    shown.truncate(end(&shown));
    shown
}

/// Returns the first `most` characters of a peer's text with its line breaks, every line as in [`excerpt`]; `…` marks a longer text.
pub fn excerpt_lines(text: &str, most: usize) -> String {
    let start = text.char_indices().nth(most).map(|(at, _)| at);
    let lines = text[..start.unwrap_or(text.len())].lines();
    let lines = lines.map(|line| escaped(line.as_bytes()));
    let mut out = lines.collect::<Vec<_>>().join("\n");
    if start.is_some() {
        out.push('…');
    }
    out
}

/// Returns an error's message with those of its sources. A message that an earlier one contains is left out.
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let sources = std::iter::successors(error.source(), |error| error.source());
    for source in sources {
        let more = source.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use tracers::escape::is_printable;

    #[test]
    fn an_excerpt_is_short_and_a_terminal_does_not_act_on_it() {
        let hostile = "a\u{1b}[31m\u{202e}b\nc\u{200b}";
        let shown = excerpt(hostile, 100);
        assert!(shown.chars().all(is_printable), "{shown:?}");
        assert_eq!(excerpt("日本語", 2), "日本");
        assert_eq!(excerpt("", 0), "");
        assert_eq!(excerpt("\u{202e}\u{202e}", 2).chars().count(), 2);
        let lines = excerpt_lines(hostile, 100);
        assert_eq!(lines.lines().count(), 2);
        assert!(lines.chars().all(|c| c == '\n' || is_printable(c)));
        assert_eq!(excerpt_lines("abc", 2), "ab…");
    }

    #[test]
    fn a_chain_has_each_message_once() {
        #[derive(Debug)]
        struct Outer(&'static str, io::Error);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0)
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.1)
            }
        }
        let of = |text| error_chain(&Outer(text, io::Error::other("refused")));
        assert_eq!(of("cannot connect"), "cannot connect: refused");
        assert_eq!(of("connection refused"), "connection refused");
    }
}
