//! `off_cpu`: options and columns. Kernel side: `agent-ebpf/src/bin/off_cpu.rs`.
use crate::{Class, Family, Tracer, option, prelude::*};

/// Time that threads spend off the CPU, by stack and state: where a program waits, and for how long.
///
/// A wait begins when a thread leaves the CPU and ends when it runs again. It includes the time in the run queue after the wake-up, which
/// `run_queue` shows by itself. The state `running` is of threads that were preempted or yielded.
/// The sum of these waits and the thread's CPU time is the wall time.
/// Of a wait that began before the trace or has not ended when the trace ends, the part within the trace is counted. If it began before
/// the trace, its user stack is unknown.
#[event]
pub struct OffCpu {
    /// PID of the process, in the host's PID namespace.
    #[key]
    pub pid: Pid,
    /// State of the thread while it waits, in the words of /proc/PID/status.
    #[key]
    pub state: ThreadState,
    /// Name of the thread.
    #[key]
    pub comm: Text16,
    /// User stack of the wait.
    #[key]
    pub user_stack: UserStack,
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

/// Options of `off_cpu`. Each option restricts the traced events.
#[params]
pub struct Params {
    /// Count only waits with at least this duration.
    pub min_wait: option::Duration,
    /// Count only waits that the thread asked for: not those in which it was preempted.
    pub blocked_only: bool,
}

impl Tracer for OffCpu {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Cpu;
    const POINTS: &'static [&'static [Point]] =
        &[&[raw_tp("sched_switch").with(&[(1, "struct task_struct *"), (2, "struct task_struct *")]), iter("task").by("each_task")]];
    const COST: &'static str = "about 2 µs per context switch of the target, 0.1 µs of everything else";
    const EXAMPLES: &'static [&'static str] =
        &["-o flamegraph=waits.svg --pid 4242 --duration 10s", "--min-wait 1ms --container 3f2a", "--blocked-only -- ./myprogram"];
}
