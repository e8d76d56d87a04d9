//! `off_cpu`: options and columns. Kernel side: `agent-ebpf/src/bin/off_cpu.rs`.
use crate::{Class, Family, Tracer, option, prelude::*};

/// Time that threads spend off the CPU, by stack and state: where a program waits, and for how long.
///
/// A wait begins when a thread leaves the CPU and ends when it runs again. It includes the time in the run queue after the wake-up, which
/// `run_queue` shows by itself. The state `running` is of threads that were preempted or yielded.
/// The sum of these waits and the thread's CPU time is the wall time. With `with_cpu` the rows have both.
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
    /// What the thread waits for, as `time_budget` has it: disk, network, lock, timer, process, memory, work, other, or cpu if it was preempted; on_cpu of time that is no wait.
    #[key]
    pub reason: WaitReason,
    /// Name of the thread.
    #[key]
    pub comm: Text16,
    /// Target that waits.
    #[key]
    pub target: Target,
    /// User stack of the wait.
    #[key]
    pub user_stack: UserStack,
    /// Kernel stack of the wait.
    #[key]
    pub kernel_stack: KernelStack,
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
    /// Count CPU time too, by samples at the kernel's tick as in `cpu_profile`. A flame graph then shows the whole time.
    pub with_cpu: bool,
    /// How user stacks are taken. A copied stack is unwound in user space by the unwind tables of the mapped files, which programs without
    /// frame pointers need. The stack is copied after a wait that counts, where the kernel has the tracepoint `sched_exit_tp` (Linux 6.16) or fexit.
    pub unwind: crate::Unwind,
    /// Maximum bytes of a copied stack. A deeper stack ends with `[deeper than recorded]`.
    #[default = "16KiB"]
    #[range = "4KiB"..="64KiB"]
    pub stack_copy: option::Size,
}

/// The tick, and the timer of the tick where functions cannot be hooked.
const TICK: Point = fentry("update_process_times").with(&[(0, "int")]).if_on("WITH_CPU");
const TICK_TIMER: Point = raw_tp("hrtimer_expire_entry").with(&[(0, "struct hrtimer *")]).if_high_resolution().if_on("WITH_CPU");
const EACH: Point = iter("task").by("each_task");
const SWITCH: Point = raw_tp("sched_switch").with(&[(1, "struct task_struct *"), (2, "struct task_struct *")]);

impl Tracer for OffCpu {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Cpu;
    const POINTS: &'static [&'static [Point]] = &[
        &[SWITCH, raw_tp("sched_exit_tp"), EACH, TICK],
        &[SWITCH, raw_tp("sched_exit_tp"), EACH, TICK_TIMER],
        &[SWITCH, fexit("schedule"), EACH, TICK],
        &[SWITCH, fexit("schedule"), EACH, TICK_TIMER],
        // Without copies.
        &[SWITCH, EACH, TICK],
        &[SWITCH, EACH, TICK_TIMER],
    ];
    const COST: &'static str = "about 2 µs per context switch of the target, 3 µs more with a copied stack, 0.2 µs of everything else";
    const EXAMPLES: &'static [&'static str] =
        &["-o flamegraph=waits.svg --pid 4242 --duration 10s", "--min-wait 1ms --container 3f2a", "--with-cpu -o flamegraph=time.svg -- ./myprogram"];
}
