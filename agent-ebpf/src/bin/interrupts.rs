//! Kernel side of `interrupts`. Columns and options: `tracers/src/catalogue/interrupts.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{Loss, add, add_duration, book, comm, kernel_fields, now, rows, sample, selected};
use aya_ebpf::{
    Global, helpers::generated::bpf_get_smp_processor_id, macros::map, maps::PerCpuArray,
    programs::RawTracePointContext,
};
use tracers::{
    Bool, Target, Text16,
    interrupts::{InterruptsKey, InterruptsValue},
    program,
};

#[unsafe(no_mangle)]
static PER_CPU: Global<u8> = Global::new(0);

rows!(InterruptsKey => InterruptsValue, 4096);

kernel_fields! {
    ACTION_NAME = irqaction.name: *const u8;
}

/// An interrupt that has begun.
#[repr(C)]
#[derive(Clone, Copy)]
struct Begun {
    /// When it began, ns of CLOCK_BOOTTIME; 0 while there is none.
    since: u64,
    /// Time of hard interrupts in it.
    stolen: u64,
    target: Target,
    _pad: u32,
}

/// The hard and the soft interrupt of a CPU: there is one of each at a time.
#[repr(C)]
struct Under {
    hard: Begun,
    soft: Begun,
}

#[map]
static UNDER: PerCpuArray<Under> = PerCpuArray::with_max_entries(1, 0);

/// Soft interrupts by number: include/linux/interrupt.h, without `_SOFTIRQ`.
const SOFT: [[u8; 16]; 10] = [
    *b"HI\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    *b"TIMER\0\0\0\0\0\0\0\0\0\0\0",
    *b"NET_TX\0\0\0\0\0\0\0\0\0\0",
    *b"NET_RX\0\0\0\0\0\0\0\0\0\0",
    *b"BLOCK\0\0\0\0\0\0\0\0\0\0\0",
    *b"IRQ_POLL\0\0\0\0\0\0\0\0",
    *b"TASKLET\0\0\0\0\0\0\0\0\0",
    *b"SCHED\0\0\0\0\0\0\0\0\0\0\0",
    *b"HRTIMER\0\0\0\0\0\0\0\0\0",
    *b"RCU\0\0\0\0\0\0\0\0\0\0\0\0\0",
];

#[inline(always)]
fn under() -> Option<&'static mut Under> {
    // SAFETY: this CPU's own entry. A hard interrupt changes only what is its own, and `stolen`, which it leaves before the soft one goes on.
    UNDER.get_ptr_mut(0).map(|under| unsafe { &mut *under })
}

#[inline(always)]
fn begin(begun: &mut Begun) {
    match selected() {
        Some(target) => {
            *begun = Begun {
                since: now(),
                stolen: 0,
                target,
                _pad: 0,
            };
        }
        None => begun.since = 0,
    }
}

/// `(int irq, struct irqaction *action)`.
#[program(raw_tp = "irq_handler_entry")]
fn irq_handler_entry(_ctx: &RawTracePointContext) {
    if let Some(under) = under() {
        begin(&mut under.hard);
    }
}

/// `(int irq, struct irqaction *action, int ret)`.
#[program(raw_tp = "irq_handler_exit")]
fn irq_handler_exit(ctx: &RawTracePointContext) {
    let Some(under) = under() else {
        return;
    };
    let begun = under.hard;
    under.hard.since = 0;
    if begun.since == 0 {
        return;
    }
    let ns = now().saturating_sub(begun.since);
    under.soft.stolen += ns;
    let action: *const u8 = ctx.arg(1);
    book(hard(action, ctx.arg::<u64>(0) as u32, ns, begun.target));
}

#[inline(always)]
fn hard(action: *const u8, number: u32, ns: u64, target: Target) -> Result<bool, Loss> {
    let name = Text16(comm(ACTION_NAME.read(action)?)?);
    ended(name, number, Bool(0), ns, target)
}

/// `(unsigned int vec_nr)`.
#[program(raw_tp = "softirq_entry")]
fn softirq_entry(_ctx: &RawTracePointContext) {
    if let Some(under) = under() {
        begin(&mut under.soft);
    }
}

/// `(unsigned int vec_nr)`.
#[program(raw_tp = "softirq_exit")]
fn softirq_exit(ctx: &RawTracePointContext) {
    let Some(under) = under() else {
        return;
    };
    let begun = under.soft;
    under.soft.since = 0;
    if begun.since == 0 {
        return;
    }
    let ns = now().saturating_sub(begun.since + begun.stolen);
    let number = ctx.arg::<u64>(0) as u32;
    let name = SOFT.get(number as usize).copied().unwrap_or_default();
    book(ended(Text16(name), number, Bool(1), ns, begun.target));
}

#[inline(always)]
fn ended(name: Text16, number: u32, soft: Bool, ns: u64, target: Target) -> Result<bool, Loss> {
    let weight = sample()?;
    let cpu = match PER_CPU.load() {
        // SAFETY: the helper only returns a number.
        1 => unsafe { bpf_get_smp_processor_id() },
        _ => 0,
    };
    let key = InterruptsKey {
        name,
        number,
        cpu,
        soft,
        _pad: [0; 3],
        target,
    };
    let row = TABLE.row(&key, weight)?;
    add(&mut row.count, weight);
    add(&mut row.total_ns, ns * weight);
    if ns > row.max_ns {
        row.max_ns = ns;
    }
    add_duration(&mut row.latency, ns, weight);
    Ok(true)
}
