//! `throttle`: options and columns. Kernel side: `agent-ebpf/src/bin/throttle.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// CPU limits that are in effect: how often and how long a container had to wait because its CPU quota was used up.
///
/// The numbers are those of cpu.stat since the cgroup was created. Only cgroups with a quota (cpu.max, cpu.cfs_quota_us) are shown; a
/// process belongs to its nearest cgroup with a quota.
#[event(snapshot)]
pub struct Throttle {
    /// Cgroup with the quota: the inode number of its directory.
    #[key]
    pub cgroup: u64,
    /// Target that has the quota.
    #[key]
    pub target: Target,
    #[key]
    pub _pad: u32,
    /// CPU time per period that the quota allows.
    #[max]
    pub quota_ns: u64,
    /// Length of a period.
    #[max]
    pub period_ns: u64,
    /// Number of periods in which a process of the cgroup ran.
    #[max]
    pub periods: u64,
    /// Number of periods in which the quota was used up.
    #[max]
    pub used_up: u64,
    /// Total time that CPUs of the cgroup were throttled.
    #[max]
    pub throttled_ns: u64,
}

/// Options of `throttle`.
#[params]
pub struct Params {}

impl Tracer for Throttle {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Cpu;
    const POINTS: &'static [&'static [Point]] = &[&[iter("task").by("throttle")]];
    const COST: &'static str = "about 1 µs per thread of the host at each interval";
    const EXAMPLES: &'static [&'static str] = &["--host --duration 1s", "--container 3f2a --interval 1s", "--pid 4242 -o json"];
}
