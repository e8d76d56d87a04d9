//! Conversion of the kernel's time to wall clock time.

use crate::Kernel;
use rustix::time::{ClockId, clock_getres, clock_gettime};

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

/// Returns the period of the kernel's tick, ns. The resolution of the coarse clocks is that period (kernel/time/posix-timers.c,
/// `posix_get_coarse_res`).
pub(crate) fn tick_ns() -> u32 {
    resolution_ns(ClockId::MonotonicCoarse)
}

/// Returns whether the kernel's timers have a high resolution: it is 1 ns then, and the tick's otherwise (kernel/time/hrtimer.c,
/// `hrtimer_get_res`).
pub(crate) fn has_high_resolution() -> bool {
    resolution_ns(ClockId::Monotonic) < tick_ns()
}

fn resolution_ns(clock: ClockId) -> u32 {
    u32::try_from(clock_getres(clock).tv_nsec).unwrap_or_default()
}
