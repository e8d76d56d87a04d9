//! `run_queue`: options and columns. Kernel side: `agent-ebpf/src/bin/run_queue.rs`.
use crate::{Class, Family, Tracer, option, prelude::*};

/// Time that threads wait for a CPU, from the wake-up or the preemption until they run.
///
/// Of a wait that began before the trace or has not ended when the trace ends, the part within the trace is counted.
/// Long waits mean that the node or the cgroup has too few CPUs. The numbers correspond to the second field of /proc/PID/schedstat.
#[event]
pub struct RunQueue {
    /// PID of the process, in the host's PID namespace.
    #[key]
    pub pid: Pid,
    /// CPU on which the thread ran after the wait; 0 without `per_cpu`.
    #[key]
    #[wide]
    pub cpu: u32,
    /// Name of the thread.
    #[key]
    pub comm: Text16,
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
    #[wide]
    pub partial: u64,
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

/// Options of `run_queue`.
#[params]
pub struct Params {
    /// Count each CPU separately instead of all CPUs together.
    pub per_cpu: bool,
    /// Count only waits with at least this duration.
    pub min_wait: option::Duration,
}

impl Tracer for RunQueue {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Cpu;
    const POINTS: &'static [&'static [Point]] = &[&[
        iter("task").by("each_task"),
        raw_tp("sched_wakeup"),
        raw_tp("sched_wakeup_new"),
        raw_tp("sched_switch").with(&[(1, "struct task_struct *"), (2, "struct task_struct *")]),
    ]];
    const COST: &'static str = "about 0.5 µs per context switch of the target, 0.1 µs of everything else";
    const EXAMPLES: &'static [&'static str] =
        &["--pid 4242 --duration 10s", "--container 3f2a --interval 1s", "--per-cpu --host -o json"];
}
