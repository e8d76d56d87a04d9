//! `cpu_distribution`: options and columns. Kernel side: `agent-ebpf/src/bin/cpu_distribution.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Distribution of how long threads run and stay off the CPU at a stretch.
///
/// Many short runs mean that a thread is woken often or preempted. A run ends when the thread leaves the CPU, for whatever reason.
/// Of a stretch that began before the trace or has not ended when the trace ends, the part within the trace is counted.
#[event]
pub struct CpuDistribution {
    /// PID of the process, in the host's PID namespace.
    #[key]
    pub pid: Pid,
    /// Target that runs.
    #[key]
    pub target: Target,
    /// Name of the thread.
    #[key]
    pub comm: Text16,
    /// Number of runs and of stretches off the CPU.
    #[count]
    pub stretches: u64,
    /// Total duration of the runs.
    #[sum]
    pub on_cpu_ns: u64,
    /// Total duration off the CPU.
    #[sum]
    pub off_cpu_ns: u64,
    /// Histogram of the durations of runs.
    #[histogram]
    pub on_cpu: Log2Ns,
    /// Histogram of the durations off the CPU.
    #[histogram]
    pub off_cpu: Log2Ns,
}

/// Options of `cpu_distribution`.
#[params]
pub struct Params {}

impl Tracer for CpuDistribution {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Cpu;
    const POINTS: &'static [&'static [Point]] = &[&[
        iter("task").by("each_task"),
        raw_tp("sched_process_exit"),
        raw_tp("sched_switch").with(&[(1, "struct task_struct *"), (2, "struct task_struct *")]),
    ]];
    const COST: &'static str = "about 0.5 µs per context switch of the target, 0.1 µs of everything else";
    const EXAMPLES: &'static [&'static str] = &["--pid 4242 --duration 10s", "--container 3f2a", "-o json -- ./myprogram"];
}
