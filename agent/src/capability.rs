//! Linux capabilities of this process.

use std::{fmt, fs};

/// Capabilities that tracing asks about. Values: include/uapi/linux/capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Load programs and make maps.
    Bpf = 39,
    /// Read kernel memory and attach to tracepoints and functions.
    Perfmon = 38,
    /// Everything above and more; never needed here.
    SysAdmin = 21,
    /// Open files below `/proc/PID/root` of other users' processes.
    SysPtrace = 19,
    /// Read the addresses of kernel symbols.
    Syslog = 34,
    /// Raise RLIMIT_MEMLOCK, by which kernels before 5.11 count maps.
    SysResource = 24,
    /// Attach programs to cgroups that decide about packets and calls.
    NetAdmin = 12,
}

impl Capability {
    /// Whether this process has it in effect.
    pub fn have(self) -> bool {
        effective() >> self as u32 & 1 == 1
    }

    /// Several of them, joined by "and".
    pub(crate) fn list(of: &[Self]) -> String {
        let names: Vec<String> = of.iter().map(ToString::to_string).collect();
        names.join(" and ")
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bpf => "CAP_BPF",
            Self::Perfmon => "CAP_PERFMON",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::Syslog => "CAP_SYSLOG",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::NetAdmin => "CAP_NET_ADMIN",
        })
    }
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
