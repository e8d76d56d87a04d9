//! `locks_kernel`: options and columns. Kernel side: `agent-ebpf/src/bin/locks_kernel.rs`.
use crate::{Class, Family, Tracer, option, prelude::*};

/// Waits for contended locks of the kernel, by stack.
///
/// Only a lock that another task holds has a wait. Spinning waits use CPU time, other waits sleep.
/// A wait in an interrupt is counted for the thread that was interrupted.
#[event]
pub struct LocksKernel {
    /// Kind of lock: spin, read, write, mutex and others.
    #[key]
    pub lock: LockFlags,
    /// PID of the process, in the host's PID namespace.
    #[key]
    pub pid: Pid,
    /// Name of the thread.
    #[key]
    pub comm: Text16,
    /// Kernel stack of the wait.
    #[key]
    pub kernel_stack: KernelStack,
    /// Target that waits.
    #[key]
    pub target: Target,
    #[key]
    pub _pad: u32,
    /// Number of waits.
    #[count]
    pub waits: u64,
    /// Total duration of the waits.
    #[sum]
    pub total_ns: u64,
    /// Duration of the longest wait.
    #[max]
    pub max_ns: u64,
    /// Histogram of the durations.
    #[histogram]
    pub latency: Log2Ns,
}

/// Options of `locks_kernel`.
#[params]
pub struct Params {
    /// Count only waits with at least this duration.
    pub min_wait: option::Duration,
}

impl Tracer for LocksKernel {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Cpu;
    const POINTS: &'static [&'static [Point]] = &[&[raw_tp("contention_begin"), raw_tp("contention_end")]];
    const NESTS: bool = true;
    const COST: &'static str = "about 1 µs per contended lock of the target";
    const EXAMPLES: &'static [&'static str] =
        &["--host --duration 10s", "--min-wait 10us --container 3f2a", "-o flamegraph=locks.svg --pid 4242"];
}
