//! `locks_user`: options and columns. Kernel side: `agent-ebpf/src/bin/locks_user.rs`.
use crate::{Class, Family, Tracer, option, prelude::*};

/// Waits in futex(2), by user stack: contended mutexes, condition variables, semaphores and joins of threads.
///
/// An uncontended lock never enters the kernel and has no wait. The kernel does not know whether a futex is a mutex or a condition
/// variable: the stack shows it.
#[event]
pub struct LocksUser {
    /// PID of the process, in the host's PID namespace.
    #[key]
    pub pid: Pid,
    /// Target that waits.
    #[key]
    pub target: Target,
    /// Name of the thread.
    #[key]
    pub comm: Text16,
    /// User stack of the wait.
    #[key]
    pub user_stack: UserStack,
    /// Number of waits.
    #[count]
    pub waits: u64,
    /// Waits among them that ended by their timeout.
    #[sum]
    #[wide]
    pub timeouts: u64,
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

/// Options of `locks_user`.
#[params]
pub struct Params {
    /// Count only waits with at least this duration.
    pub min_wait: option::Duration,
}

impl Tracer for LocksUser {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Cpu;
    const POINTS: &'static [&'static [Point]] =
        &[&[raw_tp("sys_enter"), raw_tp("sys_exit"), raw_tp("sched_process_exit")]];
    const COST: &'static str = "about 2 µs per futex wait of the target, 0.1 µs per other system call";
    const EXAMPLES: &'static [&'static str] =
        &["--pid 4242 --duration 10s", "--min-wait 1ms --container 3f2a", "-o flamegraph=locks.svg -- ./myprogram"];
}
