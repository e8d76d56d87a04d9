//! `cpu_profile`: options and columns. Kernel side: `agent-ebpf/src/bin/cpu_profile.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// CPU time by stack, from samples: where a program spends its time on the CPU.
///
/// Samples are taken at the kernel's tick, CONFIG_HZ times per second and CPU (250 on Debian). With a lower frequency a part of the ticks is
/// sampled, so that the mean is exact. A higher frequency has no effect. Work that is synchronized with the tick is over- or
/// underrepresented, code that runs with interrupts off is attributed to the code after it, and CPUs without a tick
/// (`nohz_full`) have no samples.
/// A sample stands for the CPU time of its thread since the thread's last sample, so that the sum is the CPU time of the thread.
/// A sample in user mode has a user stack. A sample in the kernel has both stacks.
#[event]
pub struct CpuProfile {
    /// PID of the process, in the host's PID namespace.
    #[key]
    pub pid: Pid,
    /// Thread ID, in the host's PID namespace; 0 without `per_thread`.
    #[key]
    #[wide]
    pub tid: u32,
    /// Name of the thread.
    #[key]
    pub comm: Text16,
    /// User stack of the sample.
    #[key]
    pub user_stack: UserStack,
    /// Kernel stack of the sample; empty for a sample in user mode.
    #[key]
    pub kernel_stack: KernelStack,
    /// Target that ran.
    #[key]
    pub target: Target,
    #[key]
    pub _pad: u32,
    /// Number of samples.
    #[count]
    pub samples: u64,
    /// CPU time of the threads since the samples before.
    #[sum]
    pub cpu_ns: u64,
}

/// Options of `cpu_profile`.
#[params]
pub struct Params {
    /// Samples per second and CPU.
    #[default = 99]
    #[range = 1..=1000]
    pub frequency: u64,
    /// Take only samples in user mode.
    pub user_only: bool,
    /// Take only samples in the kernel, without user stacks.
    pub kernel_only: bool,
    /// Count each thread separately.
    pub per_thread: bool,
    /// How user stacks are taken. A copied stack is unwound in user space by the unwind tables of the mapped files, which programs without
    /// frame pointers need.
    pub unwind: crate::Unwind,
    /// Maximum bytes of a copied stack. A deeper stack ends with `[deeper than recorded]`.
    #[default = "16KiB"]
    #[range = "4KiB"..="64KiB"]
    pub stack_copy: option::Size,
}

impl Tracer for CpuProfile {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Cpu;
    const POINTS: &'static [&'static [Point]] = &[
        &[fentry("update_process_times").with(&[(0, "int")])],
        &[raw_tp("hrtimer_expire_entry").with(&[(0, "struct hrtimer *")]).if_high_resolution()],
    ];
    const NESTS: bool = true;
    const COST: &'static str = "about 3 µs per sample, 3 µs more with a copied stack, 0.1 µs per other timer of the host";
    const EXAMPLES: &'static [&'static str] =
        &["-o flamegraph=cpu.svg --pid 4242 --duration 10s", "--frequency 199 --container 3f2a", "--user-only -o folded -- ./myprogram"];
}
