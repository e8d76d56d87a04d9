//! `syscall_count`: options and columns. Kernel side: `agent-ebpf/src/bin/syscall_count.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Calls, errors and latency per system call.
///
/// A call is counted when it returns, or when its thread dies during the call. A call whose start was not recorded has the duration 0:
/// it started before the trace, or seccomp(2) or a ptrace tracer handled it before the kernel started it.
/// If seccomp sends SIGSYS, the error is `ENOSYS`.
/// A call in which seccomp kills the thread at once (`SECCOMP_RET_KILL_THREAD`, before 5.16 also `SECCOMP_RET_KILL_PROCESS`) is not counted.
#[event]
pub struct SyscallCount {
    /// Name of the system call.
    #[key]
    pub syscall: Syscall,
    /// PID of the process, in the host's PID namespace; 0 without `per_process`.
    #[key]
    #[wide]
    pub pid: u32,
    /// Name of the calling thread; empty without `per_process`.
    #[key]
    #[wide]
    pub comm: Text16,
    /// Target that made the calls.
    #[key]
    pub target: Target,
    /// Number of calls.
    #[count]
    pub count: u64,
    /// Failed calls by error.
    #[histogram]
    pub errors: Errors,
    /// Total duration of the calls.
    #[sum]
    pub total_ns: u64,
    /// Duration of the longest call.
    #[max]
    pub max_ns: u64,
    /// Histogram of call durations.
    #[histogram]
    pub latency: Log2Ns,
}

/// Options of `syscall_count`.
#[params]
pub struct Params {
    /// Count each process separately instead of all processes together.
    pub per_process: bool,
    /// Count only failed calls.
    pub failed_only: bool,
    /// Count only calls with at least this duration.
    pub min_latency_ns: u64,
}

impl Tracer for SyscallCount {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Syscalls;
    const POINTS: &'static [&'static [Point]] =
        &[&[raw_tp("sys_enter"), raw_tp("sys_exit"), raw_tp("sched_process_exit")]];
    const COST: &'static str = "about 0.3 µs per system call of the target, 0.1 µs of everything else";
    const EXAMPLES: &'static [&'static str] =
        &["--pid 4242 --duration 10s", "--per-process --container 3f2a", "-o json -- ls -l /etc"];
}
