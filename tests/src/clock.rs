//! The wall clock, set wrong for a while: on a test kernel's own machine, and never on any other.

use crate::in_vm;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

/// A wall clock that jumped; it jumps back when this is dropped.
pub struct JumpedClock {
    seconds: i64,
}

impl JumpedClock {
    /// Lets the clock jump; `None` where it is not a test kernel's.
    pub fn by(seconds: i64) -> Option<Self> {
        // Any user can set the environment, but only the owner of the machine sets the kernel's command line.
        let command = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
        let ours = command
            .split_whitespace()
            .any(|word| word.starts_with("tracejob.kernel="));
        (in_vm() && ours).then(|| {
            jump(seconds);
            Self { seconds }
        })
    }
}

impl Drop for JumpedClock {
    fn drop(&mut self) {
        jump(-self.seconds);
    }
}

fn jump(seconds: i64) {
    let now = clock_gettime(ClockId::Realtime);
    let then = Timespec {
        tv_sec: now.tv_sec + seconds,
        ..now
    };
    clock_settime(ClockId::Realtime, then).unwrap();
}
