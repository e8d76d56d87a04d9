//! `time_budget`: options and columns. Kernel side: `agent-ebpf/src/bin/time_budget.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Where the time of each process goes: CPU, run queue, throttling, and waits by their reason.
///
/// The parts of all threads add up to the time in which the threads existed during the trace. The reason of a wait follows from the
/// thread's state, its system call, and the file behind the descriptor:
/// `disk` is I/O of files and block devices, and fsync(2). `network` is sockets of other families than AF_UNIX. `lock` is futex(2), flock(2) and locks of the kernel.
/// `timer` is nanosleep(2). `process` is pipes, local sockets, messages and wait(2). `memory` is page faults and reclaim.
/// `work` is poll(2), epoll(7), select(2), signals, and files such as eventfds: an idle server waits for work.
/// System calls of 32-bit programs have the reason `other`.
/// The division of CPU time into user and kernel is that of /proc/PID/stat, which the kernel samples at its tick.
#[event]
pub struct TimeBudget {
    /// PID of the process, in the host's PID namespace.
    #[key]
    pub pid: Pid,
    /// Target that the process belongs to.
    #[key]
    pub target: Target,
    /// Name of the process, which is the name of its main thread.
    #[key]
    pub comm: Text16,
    /// Number of changes of a thread's state.
    #[count]
    #[wide]
    pub changes: u64,
    /// Time in which the threads existed during the trace.
    #[sum]
    pub wall_ns: u64,
    /// CPU time in user mode.
    #[sum]
    #[part("cpu_profile --user-only")]
    pub user_ns: u64,
    /// CPU time in the kernel.
    #[sum]
    #[part("cpu_profile --kernel-only")]
    pub kernel_ns: u64,
    /// Time in run queues.
    #[sum]
    #[part("run_queue")]
    pub run_queue_ns: u64,
    /// Time without a CPU because a quota was used up.
    #[sum]
    #[part("throttle")]
    pub throttled_ns: u64,
    /// Waits for a disk.
    #[sum]
    #[part("off_cpu --where 'reason == disk'")]
    pub disk_ns: u64,
    /// Waits for the network.
    #[sum]
    #[part("off_cpu --where 'reason == network'")]
    pub network_ns: u64,
    /// Waits for locks.
    #[sum]
    #[part("off_cpu --where 'reason == lock'")]
    pub lock_ns: u64,
    /// Sleeps.
    #[sum]
    #[part("off_cpu --where 'reason == timer'")]
    pub timer_ns: u64,
    /// Waits for other processes.
    #[sum]
    #[part("off_cpu --where 'reason == process'")]
    pub process_ns: u64,
    /// Waits for memory.
    #[sum]
    #[part("off_cpu --where 'reason == memory'")]
    pub memory_ns: u64,
    /// Waits for work.
    #[sum]
    #[part("off_cpu --where 'reason == work'")]
    pub work_ns: u64,
    /// Other waits.
    #[sum]
    #[part("off_cpu --where 'reason == other'")]
    pub other_ns: u64,
}

/// Options of `time_budget`.
#[params]
pub struct Params {}

impl Tracer for TimeBudget {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Cpu;
    const POINTS: &'static [&'static [Point]] = &[&[
        iter("task").by("each_task"),
        raw_tp("sched_wakeup"),
        raw_tp("sched_wakeup_new"),
        raw_tp("sched_process_exit"),
        raw_tp("task_rename").with(&[(0, "struct task_struct *")]),
        raw_tp("sched_switch").with(&[(1, "struct task_struct *"), (2, "struct task_struct *")]),
    ]];
    const COST: &'static str = "about 1 µs per context switch of the target, 0.1 µs of everything else";
    const EXAMPLES: &'static [&'static str] =
        &["--container 3f2a --duration 10s", "--pid 4242 --interval 1s", "-- ./myprogram"];
}
