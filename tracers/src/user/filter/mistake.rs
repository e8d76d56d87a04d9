//! What is wrong with a condition that a user wrote, and where.

use crate::escape;
use core::{fmt, ops::Range};
use std::{
    format,
    string::{String, ToString},
};

/// Columns of the terminal before the place that is marked, and behind it: more of a long condition is left out.
const AROUND: usize = 60;

/// Why a condition cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    what: String,
    place: Range<usize>,
}

impl Mistake {
    pub(super) fn new(what: impl ToString, place: Range<usize>) -> Self {
        Self {
            what: what.to_string(),
            place,
        }
    }

    /// The bytes of the condition that are wrong. The range is empty where something is missing.
    pub fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    /// Returns two lines: the condition, and `^^^` below the place. The condition is escaped for terminals, and shortened where it is long.
    pub fn marked(&self, text: &str) -> String {
        // A place of another text marks nothing, but never panics.
        let part = |range: Range<usize>| escape::escaped(text.get(range).unwrap_or("").as_bytes());
        let Range { start, end } = self.place.clone();
        let (before, within, after) = (part(0..start), part(start..end), part(end..text.len()));
        let mut line = String::new();
        escape::cut_left(&before, AROUND, &mut line);
        let indent = escape::width(&line);
        escape::cut_right(&within, 2 * AROUND, &mut line);
        let marks = escape::width(&line).saturating_sub(indent).max(1);
        escape::cut_right(&after, AROUND, &mut line);
        format!("{line}\n{}{}", " ".repeat(indent), "^".repeat(marks))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Mistake {}
