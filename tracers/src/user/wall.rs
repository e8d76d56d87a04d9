//! From the kernel's clock to the one on the wall.

use std::{fmt::Write, string::String};

/// What CLOCK_BOOTTIME means on the wall.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wall {
    /// Wall-clock time at boot: Unix time, ns.
    pub boot_unix_ns: u64,
    /// Seconds that the local zone is ahead of UTC.
    pub offset_s: i32,
}

impl Wall {
    /// Unix time in ns of a time since boot.
    pub fn unix_ns(self, boottime_ns: u64) -> u64 {
        self.boot_unix_ns.saturating_add(boottime_ns)
    }

    /// Appends the local time of day, `10:15:02.113`.
    pub fn time_of_day(self, boottime_ns: u64, out: &mut String) {
        let ms = self.unix_ns(boottime_ns) / 1_000_000;
        let local = (ms as i64 + i64::from(self.offset_s) * 1000).rem_euclid(86_400_000);
        let (s, ms) = (local / 1000, local % 1000);
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "{:02}:{:02}:{:02}.{ms:03}",
            s / 3600,
            s / 60 % 60,
            s % 60
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_that_of_the_local_zone() {
        let shown = |offset_s| {
            let wall = Wall {
                boot_unix_ns: 1_700_000_000_000_000_000,
                offset_s,
            };
            let mut out = String::new();
            wall.time_of_day(123_000_000, &mut out);
            out
        };
        assert_eq!(shown(0), "22:13:20.123");
        assert_eq!(shown(3600 * 2), "00:13:20.123");
        assert_eq!(shown(-5 * 3600 - 1800), "16:43:20.123");
    }
}
