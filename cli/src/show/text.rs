//! Prose in columns, for `list`, `describe` and `doctor`.

/// Breaks text into lines of at most `width` characters; a longer word has a line of its own.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Breaks the lines of a text that are longer than `width` characters between words; other lines stay as they are.
pub(crate) fn wrap_lines(text: &str, width: usize) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for line in text.lines() {
        match line.chars().count() <= width {
            true => out.push_str(line),
            false => out.push_str(&wrap(line, width).join("\n")),
        }
        out.push('\n');
    }
    out
}

/// Appends columns of prose beside each other; `widths` has the widths of all but the last.
pub(crate) fn beside(cells: &[Vec<String>], widths: &[usize], out: &mut String) {
    let lines = cells.iter().map(Vec::len).max().unwrap_or(0);
    for line in 0..lines {
        let mut due = 0;
        for (at, cell) in cells.iter().enumerate() {
            let text = cell.get(line).map_or("", String::as_str);
            if !text.is_empty() {
                out.extend(std::iter::repeat_n(' ', due));
                out.push_str(text);
                due = 0;
            }
            if let Some(width) = widths.get(at) {
                due += width.saturating_sub(text.chars().count()) + 2;
            }
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_lines_are_broken() {
        let text = "a  b\nfour words of text\n";
        assert_eq!(wrap_lines(text, 10), "a  b\nfour words\nof text\n");
        assert_eq!(wrap_lines(text, 80), text);
        assert_eq!(wrap_lines("", 80), "");
    }

    #[test]
    fn prose_is_broken_between_words_and_aligned() {
        let mut out = String::new();
        let cells = [
            wrap("one", 5),
            wrap("two words and more", 9),
            wrap("and a tail", 6),
        ];
        beside(&cells, &[5, 9], &mut out);
        assert_eq!(out, "one    two words  and a\n       and more   tail\n");
        assert_eq!(
            wrap("incomprehensibilities is long", 4),
            ["incomprehensibilities", "is", "long"]
        );
    }
}
