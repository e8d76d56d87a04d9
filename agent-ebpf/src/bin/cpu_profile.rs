//! Kernel side of `cpu_profile`. Columns and options: `tracers/src/catalogue/cpu_profile.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    Loss, TakenStack, add, book, current_comm, interrupt_frames, kernel_stack, rows, sample,
    selected, taken_stack, ticks,
};
use aya_ebpf::{
    EbpfContext, Global,
    helpers::bpf_get_current_pid_tgid,
    programs::{FEntryContext, RawTracePointContext},
};
use tracers::{
    KernelStack, Pid, Target, Text16,
    cpu_profile::{CpuProfileKey, CpuProfileValue},
    program,
};

#[unsafe(no_mangle)]
static USER_ONLY: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static KERNEL_ONLY: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static PER_THREAD: Global<u8> = Global::new(0);

ticks!();
rows!(CpuProfileKey => CpuProfileValue, 16384);

/// `(struct hrtimer *hrtimer, …)`: the timer of the tick, where functions cannot be hooked.
#[program(raw_tp = "hrtimer_expire_entry")]
fn hrtimer_expire_entry(ctx: &RawTracePointContext) {
    if let Some(stands_for) = TICKS.sample_at_timer(ctx)
        && let Some(target) = selected()
    {
        book(profile(ctx, stands_for, target, interrupt_frames(ctx)));
    }
}

/// `void update_process_times(int user_tick)`, kernel/time/timer.c: the tick, whichever clock it comes from.
///
/// Where addresses of functions are hidden, its kernel stack has the interrupt too.
#[program(fentry = "update_process_times")]
fn update_process_times(ctx: &FEntryContext) {
    if let Some(stands_for) = TICKS.sample_now()
        && let Some(target) = selected()
    {
        let skipped = match ctx.arg::<u32>(0) {
            0 => Some(interrupt_frames(ctx).unwrap_or(0)),
            _ => None,
        };
        book(profile(ctx, stands_for, target, skipped));
    }
}

#[inline(always)]
fn profile<C: EbpfContext>(
    ctx: &C,
    period: u64,
    target: Target,
    skipped: Option<u64>,
) -> Result<bool, Loss> {
    let pid_tgid = bpf_get_current_pid_tgid();
    // The idle thread of each CPU.
    if pid_tgid == 0 {
        return Ok(false);
    }
    if (USER_ONLY.load() == 1 && skipped.is_some())
        || (KERNEL_ONLY.load() == 1 && skipped.is_none())
    {
        return Ok(false);
    }
    let weight = sample()?;
    let ns = TICKS.runtime(period)?;
    let user_stack = match KERNEL_ONLY.load() {
        1 => TakenStack::NONE,
        _ => taken_stack(ctx),
    };
    let key = CpuProfileKey {
        pid: Pid((pid_tgid >> 32) as u32),
        tid: match PER_THREAD.load() {
            1 => pid_tgid as u32,
            _ => 0,
        },
        comm: Text16(current_comm()),
        user_stack: user_stack.stack,
        kernel_stack: skipped.map_or(KernelStack(0), |frames| kernel_stack(ctx, frames)),
        target,
        _pad: 0,
    };
    TABLE.change(&key, weight, &user_stack, |row| {
        add(&mut row.samples, weight);
        // The time since the last sample of all counts for those that `sample` leaves out too.
        add(&mut row.cpu_ns, ns);
    })?;
    Ok(true)
}
