//! Numbers as people read them. JSON and CSV never use this.

use crate::Unit;
use std::{fmt::Write, format, string::String};

/// Appends a number in its unit: `312µs`, `1.2MiB`, `41,207`.
pub fn quantity(value: u64, unit: Unit, out: &mut String) {
    match unit {
        Unit::Nanoseconds => nanoseconds(value, out),
        Unit::Microseconds => nanoseconds(value.saturating_mul(1000), out),
        Unit::Bytes => bytes(value, out),
        Unit::Percent => push(out, format_args!("{value} %")),
        Unit::Pages | Unit::None => grouped(value, out),
    }
}

/// A duration with three digits at most: `0`, `870ns`, `2.1µs`, `312µs`, `1.04s`, `5m12s`.
pub fn nanoseconds(value: u64, out: &mut String) {
    match value {
        0 => out.push('0'),
        1..1_000 => push(out, format_args!("{value}ns")),
        1_000..999_500 => three(value, 1_000, "µs", out),
        999_500..999_500_000 => three(value, 1_000_000, "ms", out),
        999_500_000..60_000_000_000 => three(value, 1_000_000_000, "s", out),
        60_000_000_000..3_600_000_000_000 => {
            let seconds = value / 1_000_000_000;
            push(out, format_args!("{}m{:02}s", seconds / 60, seconds % 60));
        }
        _ => {
            let minutes = value / 60_000_000_000;
            push(out, format_args!("{}h{:02}m", minutes / 60, minutes % 60));
        }
    }
}

/// A size with three digits at most: `0`, `512B`, `1.2MiB`, `40GiB`.
pub fn bytes(value: u64, out: &mut String) {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if value == 0 {
        return out.push('0');
    }
    if value < 1024 {
        return push(out, format_args!("{value}B"));
    }
    let power = (63 - value.leading_zeros()) / 10;
    three(value, 1 << (10 * power), UNITS[power as usize - 1], out);
}

/// Thousands apart: `1,204,511`.
pub fn grouped(value: u64, out: &mut String) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
}

/// `value / scale` with three significant digits at most and no zeros behind the point.
fn three(value: u64, scale: u64, unit: &str, out: &mut String) {
    let number = value as f64 / scale as f64;
    let text = match number {
        n if n < 9.995 => format!("{n:.2}"),
        n if n < 99.95 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    };
    match text.contains('.') {
        true => out.push_str(text.trim_end_matches('0').trim_end_matches('.')),
        false => out.push_str(&text),
    }
    out.push_str(unit);
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: u64, unit: Unit) -> String {
        let mut out = String::new();
        quantity(value, unit, &mut out);
        out
    }

    #[test]
    fn numbers_have_their_unit_and_three_digits_at_most() {
        let ns = |value, text| assert_eq!(shown(value, Unit::Nanoseconds), text);
        ns(0, "0");
        ns(870, "870ns");
        ns(2_100, "2.1µs");
        ns(312_000, "312µs");
        ns(999_499, "999µs");
        ns(999_500, "1ms");
        ns(1_040_000_000, "1.04s");
        ns(59_990_000_000, "60s");
        ns(312_000_000_000, "5m12s");
        ns(7_260_000_000_000, "2h01m");
        assert_eq!(shown(312, Unit::Microseconds), "312µs");
        let bytes = |value, text| assert_eq!(shown(value, Unit::Bytes), text);
        bytes(0, "0");
        bytes(1023, "1023B");
        bytes(1024, "1KiB");
        bytes(1_258_291, "1.2MiB");
        bytes(u64::MAX, "16EiB");
        assert_eq!(shown(1_204_511, Unit::None), "1,204,511");
        assert_eq!(shown(999, Unit::None), "999");
    }

    #[test]
    fn every_number_fits_its_column() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1 << shift) - 1, (1 << shift) / 3 * 2] {
                assert!(shown(value, Unit::Bytes).len() <= 7, "{value}");
                if value < 3_600_000_000_000_000 {
                    assert!(
                        shown(value, Unit::Nanoseconds).chars().count() <= 7,
                        "{value}"
                    );
                }
            }
        }
    }
}
