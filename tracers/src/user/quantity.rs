//! Times and sizes as people type them: a number with its unit.
//! The functions that read them are `const`, so that defaults and bounds of options are read by the compiler.

use std::{format, string::String};

/// Suffixes of a time with their nanoseconds, the longest time last.
const TIMES: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Suffixes of a size with their bytes. `K`, `M` and `G` are powers of 1024, as the kernel and `ulimit` mean them.
const SIZES: [(&str, u64); 13] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Nanoseconds of a time with units: `250us`, `1.5s`, `1m30s`. `None` where the text is none, or is too long a time for 64 bits.
pub const fn nanoseconds(text: &str) -> Option<u64> {
    sum(text, &TIMES)
}

/// Bytes of a size with units: `64KiB`, `1.5MiB`. `None` where the text is none, or is too large for 64 bits.
pub const fn size_bytes(text: &str) -> Option<u64> {
    sum(text, &SIZES)
}

/// The time in the largest unit up to hours of which it is a whole number: `1500ms`.
pub fn time_text(nanoseconds: u64) -> String {
    whole(
        nanoseconds,
        &["h", "m", "s", "ms", "us", "ns"],
        &TIMES,
        "0s",
    )
}

/// The size in the largest binary unit of which it is a whole number: `64KiB`.
pub fn size_text(bytes: u64) -> String {
    whole(bytes, &["GiB", "MiB", "KiB", "B"], &SIZES, "0B")
}

fn whole(value: u64, names: &[&str], units: &[(&str, u64)], zero: &str) -> String {
    let scales = names
        .iter()
        .filter_map(|name| units.iter().find(|(unit, _)| unit == name));
    for (unit, scale) in scales {
        if value > 0 && value.is_multiple_of(*scale) {
            return format!("{}{unit}", value / scale);
        }
    }
    zero.into()
}

/// Adds up numbers that each have a unit.
const fn sum(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.as_bytes();
    if text.is_empty() {
        return None;
    }
    let (mut at, mut total) = (0, 0u64);
    while at < text.len() {
        let Some((whole, mut end)) = number(text, at) else {
            return None;
        };
        let (mut fraction, mut one) = (0, 1);
        if end < text.len() && text[end] == b'.' {
            let start = end + 1;
            let Some((digits, after)) = number(text, start) else {
                return None;
            };
            if after - start > 9 {
                return None;
            }
            (fraction, one) = (digits, 10u64.pow((after - start) as u32));
            end = after;
        }
        let Some((scale, after)) = unit(text, end, units) else {
            return None;
        };
        let Some(part) = scaled(whole, fraction, one, scale) else {
            return None;
        };
        let Some(sum) = total.checked_add(part) else {
            return None;
        };
        (total, at) = (sum, after);
    }
    Some(total)
}

/// The digits from `at` as a number, and where they end.
const fn number(text: &[u8], at: usize) -> Option<(u64, usize)> {
    let (mut end, mut value) = (at, 0u64);
    while end < text.len() && text[end].is_ascii_digit() {
        let Some(tens) = value.checked_mul(10) else {
            return None;
        };
        let Some(next) = tens.checked_add((text[end] - b'0') as u64) else {
            return None;
        };
        (value, end) = (next, end + 1);
    }
    if end == at { None } else { Some((value, end)) }
}

/// The unit from `at` up to the next digit, as its scale, and where it ends.
const fn unit(text: &[u8], at: usize, units: &[(&str, u64)]) -> Option<(u64, usize)> {
    let mut end = at;
    while end < text.len() && !text[end].is_ascii_digit() {
        end += 1;
    }
    let mut index = 0;
    while index < units.len() {
        let (name, scale) = units[index];
        if same(text, at, end, name.as_bytes()) {
            return Some((scale, end));
        }
        index += 1;
    }
    None
}

const fn same(text: &[u8], start: usize, end: usize, name: &[u8]) -> bool {
    if end - start != name.len() {
        return false;
    }
    let mut index = 0;
    while index < name.len() {
        if text[start + index] != name[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// `whole` and `fraction` of `one`, times `scale`; what is below 1 is cut off.
const fn scaled(whole: u64, fraction: u64, one: u64, scale: u64) -> Option<u64> {
    let below = fraction as u128 * scale as u128 / one as u128;
    let total = whole as u128 * scale as u128 + below;
    if total > u64::MAX as u128 {
        None
    } else {
        Some(total as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units_and_add_up() {
        for (text, value) in [
            ("10s", 10_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5s", 1_500_000_000),
            ("2.5µs", 2_500),
            ("1d", 86_400_000_000_000),
            ("18446744073709551615ns", u64::MAX),
            ("0s", 0),
        ] {
            assert_eq!(nanoseconds(text), Some(value), "{text}");
        }
        for (text, value) in [
            ("8MiB", 8 << 20),
            ("8M", 8 << 20),
            ("1.5KiB", 1536),
            ("1MB", 1_000_000),
            ("7B", 7),
        ] {
            assert_eq!(size_bytes(text), Some(value), "{text}");
        }
        for bad in [
            "",
            "10",
            "s",
            "1.s",
            ".5s",
            "10 s",
            "-1s",
            "10x",
            "1e3s",
            "1..5s",
            "99999999999h",
            "18446744073709551616ns",
            "é",
        ] {
            assert_eq!(nanoseconds(bad), None, "{bad}");
        }
        assert_eq!(size_bytes("8 MiB"), None);
        assert_eq!(size_bytes("20000000000GiB"), None);
    }

    #[test]
    fn what_is_written_reads_as_the_same() {
        for bits in 0..64 {
            for value in [1u64 << bits, (1u64 << bits) - 1, 1000u64.pow(bits / 10) * 7] {
                assert_eq!(nanoseconds(&time_text(value)), Some(value));
                assert_eq!(size_bytes(&size_text(value)), Some(value));
            }
        }
        assert_eq!(time_text(1_500_000_000), "1500ms");
        assert_eq!(time_text(7_200_000_000_000), "2h");
        assert_eq!(size_text(65_536), "64KiB");
        assert_eq!(size_text(1000), "1000B");
    }
}
