//! `interrupts`: options and columns. Kernel side: `agent-ebpf/src/bin/interrupts.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Time in hard and soft interrupts, by name.
///
/// The time of a hard interrupt within a soft interrupt belongs to the hard interrupt alone.
/// With targets, only interrupts that interrupt a thread of a target are counted, whatever they are for: this time is stolen from the target.
/// Interrupts that no driver has requested, such as the timer of each CPU, have no tracepoint here and are not counted.
#[event]
pub struct Interrupts {
    /// Name: that of the driver's handler, or of the soft interrupt.
    #[key]
    pub name: Text16,
    /// Number of the hard interrupt, as in /proc/interrupts; of a soft interrupt, its number in the kernel.
    #[key]
    pub number: u32,
    /// CPU; 0 without `per_cpu`.
    #[key]
    #[wide]
    pub cpu: u32,
    /// Whether it is a soft interrupt.
    #[key]
    pub soft: Bool,
    #[key]
    pub _pad: [u8; 3],
    /// Target that was interrupted.
    #[key]
    pub target: Target,
    /// Number of interrupts.
    #[count]
    pub count: u64,
    /// Total duration.
    #[sum]
    pub total_ns: u64,
    /// Longest duration.
    #[max]
    pub max_ns: u64,
    /// Histogram of the durations.
    #[histogram]
    pub latency: Log2Ns,
}

/// Options of `interrupts`.
#[params]
pub struct Params {
    /// Count each CPU separately instead of all CPUs together.
    pub per_cpu: bool,
}

impl Tracer for Interrupts {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Cpu;
    const POINTS: &'static [&'static [Point]] = &[&[
        raw_tp("irq_handler_entry"),
        raw_tp("irq_handler_exit"),
        raw_tp("softirq_entry"),
        raw_tp("softirq_exit"),
    ]];
    const NESTS: bool = true;
    const COST: &'static str = "about 0.3 µs per interrupt";
    const EXAMPLES: &'static [&'static str] = &["--host --duration 10s", "--per-cpu --host -o json", "--pid 4242 --interval 1s"];
}
