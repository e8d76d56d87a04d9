//! Human-readable numbers in tables and sentences.

use std::{fmt::Write, time::Duration};
use tracers::human::bytes;
pub(crate) use tracers::human::{grouped, quantity};

/// Appends a rate per second: a whole number from 10, else with one decimal.
pub(crate) fn rate(per_second: f64, out: &mut String) {
    match per_second {
        r if r >= 9.95 => grouped(r.round() as u64, out),
        r if r >= 0.05 => push(out, format_args!("{r:.1}")),
        r if r > 0.0 => out.push_str("<0.1"),
        _ => out.push('0'),
    }
}

/// Formats a time span for a sentence: `59 ms`, `30.0 s`, `1m05s`.
pub(crate) fn span(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        seconds @ 60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        seconds => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Formats a number with separators of thousands.
pub(crate) fn count(value: u64) -> String {
    let mut out = String::new();
    grouped(value, &mut out);
    out
}

/// Formats a number with its noun: `1 row`, `2 rows`.
pub(crate) fn plural(value: u64, one: &str) -> String {
    let ending = if value == 1 { "" } else { "s" };
    format!("{} {one}{ending}", count(value))
}

/// Formats a size for a sentence: `1.2 MiB`.
pub(crate) fn size(value: u64) -> String {
    let mut out = String::new();
    bytes(value, &mut out);
    match out.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => format!("{} {}", &out[..at], &out[at..]),
        None => out + " B",
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_in_a_sentence_is_apart_from_its_unit() {
        assert_eq!(size(1_258_291), "1.2 MiB");
    }
}
