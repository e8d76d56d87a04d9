//! `syscall_count`: what it takes and what it emits. Kernel side: `agent-ebpf/src/bin/syscall_count.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Calls, errors and latency by system call.
///
/// A call is counted when it returns, or when its thread dies in it. One whose beginning was not seen has the duration 0: it began
/// before the trace, or was answered before the kernel began it, by seccomp(2) or by a tracer.
/// Where seccomp answers by SIGSYS the error is `ENOSYS`.
/// One in which seccomp kills the thread at once (`SECCOMP_RET_KILL_THREAD`, before 5.16 also `SECCOMP_RET_KILL_PROCESS`) is not counted.
#[event]
pub struct SyscallCount {
    /// The system call.
    #[key]
    pub syscall: Syscall,
    /// The process; 0 unless `per_process`.
    #[key]
    #[wide]
    pub pid: u32,
    /// The name of the thread that called; empty unless `per_process`.
    #[key]
    #[wide]
    pub comm: Text16,
    /// Whose calls these are.
    #[key]
    pub target: Target,
    /// Calls.
    #[count]
    pub count: u64,
    /// Calls that failed, by error.
    #[histogram]
    pub errors: Errors,
    /// Time spent in these calls.
    #[sum]
    pub total_ns: u64,
    /// The longest call.
    #[max]
    pub max_ns: u64,
    /// Calls by duration.
    #[histogram]
    pub latency: Log2Ns,
}

/// Options of `syscall_count`.
#[params]
pub struct Params {
    /// A row per process and system call instead of one per system call.
    pub per_process: bool,
    /// Only calls that failed.
    pub failed_only: bool,
    /// Only calls that took at least this long.
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
