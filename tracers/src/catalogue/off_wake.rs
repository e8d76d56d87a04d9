//! `off_wake`: options and columns. Kernel side: `agent-ebpf/src/bin/off_wake.rs`.
use crate::{Class, Family, Tracer, option, prelude::*};

/// Waits of threads, with the thread that ended each: by both of their stacks.
///
/// A wait begins when a thread leaves the CPU without being preempted, and ends when it is woken; `run_queue` shows the time from there
/// until it runs. A flame graph has the stacks of the waker, from the wake-up on, on top of those of the thread that waited.
/// If an interrupt ends a wait, such as that of a timer or of a disk, the waker is the thread that was interrupted, and its kernel stack
/// has the functions of the interrupt.
/// Of a wait that began before the trace or has not ended when the trace ends, the part within the trace is counted.
#[event]
pub struct OffWake {
    /// PID of the process, in the host's PID namespace.
    #[key]
    pub pid: Pid,
    /// Name of the thread.
    #[key]
    pub comm: Text16,
    /// What the thread waits for, as in `off_cpu`.
    #[key]
    pub reason: WaitReason,
    /// User stack of the wait.
    #[key]
    pub user_stack: UserStack,
    /// Kernel stack of the wait.
    #[key]
    #[spare]
    pub kernel_stack: KernelStack,
    /// Name of the thread that ended the wait; empty if that was not seen.
    #[key]
    #[on_top]
    pub waker: Text16,
    /// PID of its process, in the host's PID namespace.
    #[key]
    pub waker_pid: Pid,
    /// Target that waits.
    #[key]
    pub target: Target,
    /// Kernel stack of the thread that ended the wait.
    #[key]
    #[on_top]
    #[spare]
    pub waker_kernel_stack: KernelStack,
    /// User stack of the thread that ended the wait.
    #[key]
    #[on_top]
    #[spare]
    pub waker_user_stack: UserStack,
    /// Number of waits.
    #[count]
    pub waits: u64,
    /// Waits among them that began before the trace or had not ended at its end.
    #[sum]
    #[spare]
    pub partial: u64,
    /// Total duration of the waits.
    #[sum]
    pub total_ns: u64,
    /// Duration of the longest wait.
    #[max]
    pub max_ns: u64,
}

/// Options of `off_wake`.
#[params]
pub struct Params {
    /// Count only waits with at least this duration.
    pub min_wait: option::Duration,
}

impl Tracer for OffWake {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Cpu;
    const POINTS: &'static [&'static [Point]] = &[&[
        iter("task").by("each_task"),
        raw_tp("sched_waking").with(&[(0, "struct task_struct *")]),
        raw_tp("sched_switch").with(&[(1, "struct task_struct *"), (2, "struct task_struct *")]),
    ]];
    const COST: &'static str = "about 4 µs per wait of the target, 0.1 µs of everything else";
    const EXAMPLES: &'static [&'static str] =
        &["-o flamegraph=wakers.svg --pid 4242 --duration 10s", "--min-wait 1ms --container 3f2a", "--where 'reason == lock' -- ./myprogram"];
}
