//! Linux capabilities of this process.

use std::fs;
use tracers::{At, Capability};

/// Whether this thread has a capability.
pub(crate) trait Held {
    /// Whether this thread has it in effect.
    fn have(self) -> bool;
    /// The same, or has CAP_SYS_ADMIN, which includes it where the kernel asks for bpf(2): `bpf_capable` and its siblings,
    /// include/linux/capability.h and include/linux/bpf.h.
    fn suffices(self) -> bool;
}

impl Held for Capability {
    fn have(self) -> bool {
        effective() >> self as u32 & 1 == 1
    }

    fn suffices(self) -> bool {
        let included = match self {
            Self::Bpf | Self::Perfmon | Self::NetAdmin => true,
            Self::SysAdmin | Self::SysPtrace | Self::Syslog | Self::SysResource => false,
        };
        self.have() || included && Self::SysAdmin.have()
    }
}

/// Returns the capability that a place needs and this thread lacks.
pub(crate) fn lacks(at: &At) -> Option<Capability> {
    at.capability().filter(|capability| !capability.suffices())
}

/// The effective set of this thread; empty where /proc does not tell.
fn effective() -> u64 {
    fs::read_to_string("/proc/thread-self/status")
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("CapEff:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        })
        .unwrap_or(0)
}
