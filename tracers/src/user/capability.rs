//! Linux capabilities, by name and number.

use crate::Class;
use core::fmt;
use std::{string::String, string::ToString, vec::Vec};

/// Capabilities that tracing uses or asks about. Values: include/uapi/linux/capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Attach programs to cgroups' sockets and packets.
    NetAdmin = 12,
    /// Raise RLIMIT_MEMLOCK, by which kernels before 5.11 count maps.
    SysResource = 24,
}

impl Capability {
    /// The name that capabilities(7) has for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bpf => "CAP_BPF",
            Self::Perfmon => "CAP_PERFMON",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::Syslog => "CAP_SYSLOG",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
        }
    }

    /// Several of them, joined by "and".
    pub fn list(of: &[Self]) -> String {
        let names: Vec<String> = of.iter().map(ToString::to_string).collect();
        names.join(" and ")
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Class {
    /// The capabilities that tracers of this class may use, required or helpful. An agent that allows the class keeps them.
    ///
    /// A tracer that needs another one does not pass the test of its class: a class never gains a capability unnoticed.
    pub const fn capabilities(self) -> &'static [Capability] {
        use Capability::{Bpf, NetAdmin, Perfmon, SysPtrace, Syslog};
        match self {
            Self::Observe | Self::Payload | Self::Memory => &[Bpf, Perfmon, SysPtrace, Syslog],
            Self::Act => &[Bpf, Perfmon, NetAdmin],
        }
    }

    /// The capabilities of several classes together, each once.
    pub fn capabilities_of(classes: &[Self]) -> Vec<Capability> {
        let mut all = Vec::new();
        for capability in classes.iter().flat_map(|class| class.capabilities()) {
            if !all.contains(capability) {
                all.push(*capability);
            }
        }
        all
    }
}
