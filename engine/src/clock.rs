//! Conversion of the kernel's time to wall clock time.

use crate::Kernel;
use rustix::time::{ClockId, clock_gettime};

/// Converter of the kernel's time to wall clock time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Wall clock time minus CLOCK_BOOTTIME, ns.
    offset: i64,
}

impl Clock {
    /// Compares both clocks. The shortest of several comparisons counts, because the thread may be preempted within one.
    pub(crate) fn now(kernel: &Kernel) -> Self {
        let ns = |clock| {
            let time = clock_gettime(clock);
            time.tv_sec * 1_000_000_000 + time.tv_nsec
        };
        let compared = (0..5).map(|_| {
            let (before, wall, after) = (
                ns(ClockId::Boottime),
                ns(ClockId::Realtime),
                ns(ClockId::Boottime),
            );
            (after - before, wall - before)
        });
        let (_, offset) = compared.min().unwrap_or_default();
        Self {
            offset: offset.saturating_add(kernel.boottime_ahead_ns),
        }
    }

    /// Converts a CLOCK_BOOTTIME time to nanoseconds since 1970.
    pub fn unix_ns(&self, boottime_ns: u64) -> i64 {
        self.offset.saturating_add_unsigned(boottime_ns)
    }
}
