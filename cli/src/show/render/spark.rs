//! Histograms as lines of bars, over one axis for all rows of a table.

use tracers::{Batch, Column, Unit, Value};

/// Range of buckets that a column of histograms shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// First bucket.
    start: usize,
    /// Bucket after the last.
    end: usize,
}

/// Returns the named powers of two, with their names.
const fn ticks(unit: Unit) -> [(usize, &'static str); 4] {
    match unit {
        // 2^10 ns is 2.4 % more than 1 µs.
        Unit::Nanoseconds => [(0, "1ns"), (10, "1µs"), (20, "1ms"), (30, "1s")],
        Unit::Microseconds => [(0, "1µs"), (10, "1ms"), (20, "1s"), (30, "18m")],
        Unit::Bytes => [(0, "1B"), (10, "1KiB"), (20, "1MiB"), (30, "1GiB")],
        Unit::None | Unit::Pages | Unit::Percent => [(0, "1"), (10, "1K"), (20, "1M"), (30, "1G")],
    }
}

impl Axis {
    /// The buckets that any row of the column uses, and where they begin early enough for the heading to have
    /// room before the first tick.
    pub(crate) fn of(batch: &Batch, column: usize, unit: Unit, heading: usize) -> Self {
        let mut used = (usize::MAX, 0);
        for row in 0..batch.rows() {
            if let Value::List(buckets) = batch.value(column, row) {
                let first = buckets.iter().position(|&n| n > 0).unwrap_or(usize::MAX);
                let end = buckets
                    .iter()
                    .rposition(|&n| n > 0)
                    .map_or(0, |last| last + 1);
                used = (used.0.min(first), used.1.max(end));
            }
        }
        let (first, end) = used;
        if first >= end {
            return Self {
                start: 0,
                end: heading,
            };
        }
        // The first tick at which the heading and one blank fit before it.
        let tick = ticks(unit)
            .into_iter()
            .find(|(at, _)| *at > first && *at > heading);
        let Some((at, label)) = tick else {
            return Self {
                start: first,
                end: end.max(first + heading),
            };
        };
        let start = first.min(at - heading - 1);
        // Room for the labels of all ticks that are passed.
        let passed = ticks(unit).into_iter().filter(|(tick, _)| *tick < end);
        let ends = passed
            .chain([(at, label)])
            .map(|(at, label)| at + label.chars().count());
        Self {
            start,
            end: ends.fold(end, usize::max),
        }
    }

    /// Returns the width on the screen.
    pub(crate) fn width(self) -> usize {
        self.end - self.start
    }

    /// Returns the heading, followed by the ticks at their places.
    pub(crate) fn heading(self, name: &str, unit: Unit) -> String {
        let mut line: Vec<char> = name.chars().collect();
        line.resize(self.width().max(line.len()), ' ');
        for (at, label) in ticks(unit) {
            let Some(place) = at.checked_sub(self.start) else {
                continue;
            };
            let span = place..place + label.chars().count();
            let free = |line: &[char]| {
                line.get(span.clone())
                    .is_some_and(|l| l.iter().all(|c| *c == ' '))
            };
            if place > name.len() && free(&line) {
                line.splice(span, label.chars());
            }
        }
        line.into_iter().collect::<String>().trim_end().to_owned()
    }

    /// Appends one row: each bucket relative to the row's largest. A non-zero bucket is always visible.
    pub(crate) fn line(self, buckets: &[u64], out: &mut String) {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let most = buckets.iter().copied().max().unwrap_or(0);
        let shown = buckets.get(self.start..).unwrap_or(&[]);
        let end = shown
            .iter()
            .rposition(|&n| n > 0)
            .map_or(0, |last| last + 1);
        out.extend(shown[..end].iter().map(|&n| match n {
            0 => ' ',
            n => BARS[(u128::from(n) * 8).div_ceil(u128::from(most)) as usize - 1],
        }));
    }
}

/// The heading's name for the value that [`tracers::percentile`] gives.
pub(crate) fn percentile_heading(column: &Column, alone: bool) -> String {
    match alone {
        true => "P99".to_owned(),
        false => format!("P99_{}", column.name.to_uppercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracers::Data;

    fn batch(rows: &[&[u64]]) -> Batch {
        let mut data = Data::List {
            ends: vec![],
            values: vec![],
        };
        for row in rows {
            assert!(data.push(Value::List(row)));
        }
        Batch::from_columns(vec![data], vec![])
    }

    fn buckets(from: usize, values: &[u64]) -> Vec<u64> {
        let mut out = vec![0; from];
        out.extend(values);
        out
    }

    #[test]
    fn rows_share_an_axis_whose_ticks_stand_over_their_buckets() {
        let rows = [buckets(9, &[1, 4, 8]), buckets(20, &[1])];
        let batch = batch(&[&rows[0], &rows[1]]);
        let axis = Axis::of(&batch, 0, Unit::Nanoseconds, "LATENCY".len());
        let heading = axis.heading("LATENCY", Unit::Nanoseconds);
        let mut lines = [String::new(), String::new()];
        axis.line(&rows[0], &mut lines[0]);
        axis.line(&rows[1], &mut lines[1]);
        assert_eq!(heading, "LATENCY 1µs       1ms");
        assert_eq!(lines[0].trim_end(), "       ▁▄█");
        let place = |text: &str, what: char| text.chars().position(|c| c == what).unwrap();
        assert_eq!(
            place(&heading, '1'),
            8,
            "bucket 10 is the second of the first row"
        );
        assert_eq!(place(&lines[1], '█'), 18, "bucket 20 is under 1ms");
    }

    #[test]
    fn the_smallest_part_is_visible_and_nothing_is_blank() {
        let axis = Axis { start: 0, end: 4 };
        let mut out = String::new();
        axis.line(&[1, 0, u64::MAX, u64::MAX / 2], &mut out);
        assert_eq!(out, "▁ █▄");
        out.clear();
        axis.line(&[], &mut out);
        assert_eq!(out, "");
    }
}
