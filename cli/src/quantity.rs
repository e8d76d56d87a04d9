//! Durations and sizes on the command line.

use std::time::Duration;
use tracers::quantity::{nanoseconds, size_bytes};

/// Parses a duration with its unit: `10s`, `5m`, `1m30s`, `250ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || "expected a duration with its unit: 10s, 5m, 1m30s, 250ms".to_owned();
    match nanoseconds(text).ok_or_else(wanted)? {
        0 => Err("a duration must be longer than 0".to_owned()),
        some => Ok(Duration::from_nanos(some)),
    }
}

/// Parses a number of bytes, with or without a unit.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    text.parse()
        .ok()
        .or_else(|| size_bytes(text))
        .ok_or_else(|| {
            "expected a size with its unit (64KiB, 8MiB, 1GiB) or a number of bytes".to_owned()
        })
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
    fn sizes_are_plain_or_with_a_unit() {
        assert_eq!(bytes("1500"), Ok(1500));
        assert_eq!(bytes("8MiB"), Ok(8 << 20));
        assert_eq!(bytes("8M"), Ok(8 << 20));
        assert_eq!(bytes("1.5KiB"), Ok(1536));
        assert_eq!(bytes("1MB"), Ok(1_000_000));
        assert!(bytes("8 MiB").is_err());
        assert!(bytes("20000000000GiB").is_err());
    }
}
