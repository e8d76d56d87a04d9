//! Durations and sizes as people type them.

use std::time::Duration;

/// Suffixes of a duration with their length in nanoseconds; the longer suffix comes first.
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

/// Suffixes of a size with their number of bytes. `K`, `M` and `G` are powers of 1024, as the kernel and `ulimit` mean them.
const SIZES: [(&str, u64); 13] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("B", 1),
];

/// A duration with its unit, as `--duration` takes it: `10s`, `5m`, `1m30s`, `250ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || "a duration is a number with its unit: 10s, 5m, 1m30s, 250ms".to_owned();
    let nanoseconds = sum(text, &TIMES).ok_or_else(wanted)?;
    match nanoseconds {
        0 => Err("a duration must be longer than nothing".to_owned()),
        some => Ok(Duration::from_nanos(some)),
    }
}

/// Nanoseconds: with a unit, or plain.
pub(crate) fn nanoseconds(text: &str) -> Result<u64, String> {
    text.parse()
        .ok()
        .or_else(|| sum(text, &TIMES))
        .ok_or_else(|| {
            "a time is a number with its unit (250us, 10ms, 1s) or plain nanoseconds".to_owned()
        })
}

/// Bytes: with a unit, or plain.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    text.parse()
        .ok()
        .or_else(|| sum(text, &SIZES))
        .ok_or_else(|| {
            "a size is a number with its unit (64KiB, 8MiB, 1GiB) or plain bytes".to_owned()
        })
}

/// Adds up numbers that each have a unit: `1m30s`, `1.5MiB`. `None` where it is not that, or too large.
fn sum(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let mut rest = text;
    let mut total = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, *scale)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// `number` times `scale`, exactly, with what is below one unit cut off.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    if fraction.is_empty() {
        return (!number.contains('.')).then_some(whole);
    }
    if fraction.len() > 9 {
        return None;
    }
    let parts = fraction.parse::<u128>().ok()? * u128::from(scale);
    let below = parts / 10u128.pow(fraction.len() as u32);
    whole.checked_add(u64::try_from(below).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_add_up() {
        let ok = |text, ms| assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        ok("10s", 10_000);
        ok("5m", 300_000);
        ok("1m30s", 90_000);
        ok("1.5s", 1_500);
        ok("1h", 3_600_000);
        ok("250ms", 250);
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
            "0s",
            "0.0s",
            "99999999999h",
            "1..5s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_and_sizes_are_plain_or_with_a_unit() {
        assert_eq!(nanoseconds("1500"), Ok(1500));
        assert_eq!(nanoseconds("250us"), Ok(250_000));
        assert_eq!(nanoseconds("2.5µs"), Ok(2_500));
        assert_eq!(bytes("8MiB"), Ok(8 << 20));
        assert_eq!(bytes("8M"), Ok(8 << 20));
        assert_eq!(bytes("1.5KiB"), Ok(1536));
        assert_eq!(bytes("1MB"), Ok(1_000_000));
        assert!(bytes("8 MiB").is_err());
        assert!(bytes("20000000000GiB").is_err());
    }
}
