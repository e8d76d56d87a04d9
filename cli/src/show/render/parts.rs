//! Parts of a whole: a bar of letters, the names of the largest parts, and the command that shows more of the largest one.

use tracers::{Batch, Column, Value};

/// Letters of a bar.
const BAR: u64 = 20;
/// Number of parts that are named.
const NAMED: usize = 3;
/// Smallest share of a part that is named, in per cent. The largest part is named whatever its share.
const LEAST_PERCENT: u64 = 5;

/// What a cell shows of the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A stacked bar: the letter of each part as often as it has twentieths of the whole.
    Bar,
    /// The largest parts, with their shares.
    Largest,
    /// The command that shows more of the largest part.
    Next,
}

/// A part of a row's whole.
struct Part<'a> {
    column: &'a Column,
    letter: char,
    value: u64,
}

impl Form {
    /// All forms, in the order of their columns.
    pub(crate) const ALL: [Self; 3] = [Self::Bar, Self::Largest, Self::Next];

    /// Returns the heading.
    pub(crate) const fn heading(self) -> &'static str {
        match self {
            Self::Bar => "PARTS",
            Self::Largest => "LARGEST",
            Self::Next => "NEXT",
        }
    }

    /// Returns the usual width.
    pub(crate) const fn width(self) -> usize {
        match self {
            Self::Bar => BAR as usize,
            Self::Largest => 36,
            Self::Next => 24,
        }
    }

    /// Appends the cell of one row.
    pub(crate) fn cell(self, columns: &[Column], batch: &Batch, row: usize, out: &mut String) {
        let mut parts = of(columns, batch, row);
        let whole: u128 = parts.iter().map(|part| u128::from(part.value)).sum();
        if whole == 0 {
            return;
        }
        match self {
            Self::Bar => bar(&parts, whole, out),
            Self::Largest => {
                parts.sort_by_key(|part| std::cmp::Reverse(part.value));
                for (at, part) in parts.iter().take(NAMED).enumerate() {
                    let percent = percent(part.value, whole);
                    if at > 0 && percent < LEAST_PERCENT {
                        break;
                    }
                    let comma = if at > 0 { ", " } else { "" };
                    out.push_str(&format!("{comma}{} {percent} %", part.column.short()));
                }
            }
            Self::Next => {
                let largest = parts
                    .iter()
                    .min_by_key(|part| std::cmp::Reverse(part.value));
                out.push_str(largest.and_then(|part| part.column.part).unwrap_or(""));
            }
        }
    }
}

/// Returns the parts of a row, each with a letter of its own: the first letter of its name that no part before it has.
fn of<'a>(columns: &'a [Column], batch: &Batch, row: usize) -> Vec<Part<'a>> {
    let mut parts: Vec<Part<'a>> = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        if column.part.is_none() {
            continue;
        }
        let Value::Unsigned(value) = batch.value(at, row) else {
            continue;
        };
        let is_free = |letter: &char| !parts.iter().any(|part| part.letter == *letter);
        let letter = column.short().chars().find(is_free).unwrap_or('?');
        parts.push(Part {
            column,
            letter,
            value,
        });
    }
    parts
}

/// Returns the share of a part in per cent, rounded.
fn percent(value: u64, whole: u128) -> u64 {
    (u128::from(value) * 200 / whole).div_ceil(2) as u64
}

/// Appends exactly [`BAR`] letters. The letters that rounding down leaves go to the parts that lost most by it.
fn bar(parts: &[Part<'_>], whole: u128, out: &mut String) {
    let twentieths = |part: &Part<'_>| u128::from(part.value) * u128::from(BAR);
    let mut letters: Vec<u128> = { parts.iter() }
        .map(|part| twentieths(part) / whole)
        .collect();
    let left = u128::from(BAR).saturating_sub(letters.iter().sum()) as usize;
    let mut by_rest: Vec<usize> = (0..parts.len()).collect();
    by_rest.sort_by_key(|at| std::cmp::Reverse(twentieths(&parts[*at]) % whole));
    for at in by_rest.into_iter().take(left) {
        letters[at] += 1;
    }
    for (part, count) in parts.iter().zip(letters) {
        out.extend(std::iter::repeat_n(part.letter, count as usize));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracers::{Data, Kind, Role};

    fn column(name: &'static str) -> Column {
        Column {
            kind: Kind::Unsigned,
            ..Column::of(name, "", Role::Sum, true)
        }
        .part(name)
    }

    fn cells(values: [u64; 4]) -> [String; 3] {
        let columns = ["disk_ns", "timer_ns", "throttled_ns", "other_ns"].map(column);
        let data = values.map(|value| Data::Unsigned(vec![value]));
        let batch = Batch::from_columns(data.to_vec(), Default::default());
        Form::ALL.map(|form| {
            let mut out = String::new();
            form.cell(&columns, &batch, 0, &mut out);
            out
        })
    }

    #[test]
    fn a_bar_has_the_letters_of_the_parts_and_the_largest_are_named() {
        let [bar, largest, next] = cells([50, 24, 20, 6]);
        assert_eq!(bar, "ddddddddddttttthhhho");
        assert_eq!(largest, "disk 50 %, timer 24 %, throttled 20 %");
        assert_eq!(next, "disk_ns");
    }

    #[test]
    fn small_parts_are_not_named_but_the_largest_is() {
        let [bar, largest, _] = cells([0, 970, 30, 0]);
        assert_eq!((bar.len(), &*largest), (20, "timer 97 %"));
        assert_eq!(cells([0, 0, 0, 1])[1], "other 100 %");
    }

    #[test]
    fn nothing_has_no_parts_and_large_numbers_do_not_overflow() {
        assert_eq!(cells([0; 4]), ["", "", ""]);
        let [bar, largest, _] = cells([u64::MAX, u64::MAX, 0, 0]);
        assert_eq!((bar.len(), largest.is_empty()), (20, false));
    }
}
