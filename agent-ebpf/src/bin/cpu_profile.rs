//! Kernel side of `cpu_profile`. Columns and options: `tracers/src/catalogue/cpu_profile.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    Loss, TakenStack, add, book, current, current_comm, interrupted_stack, kernel_fields,
    kernel_functions, kernel_stack, now, rows, sample, selected, taken_stack,
};
use aya_ebpf::{
    EbpfContext, Global,
    helpers::bpf_get_current_pid_tgid,
    macros::map,
    maps::LruHashMap,
    programs::{FEntryContext, RawTracePointContext},
};
use tracers::{
    KernelStack, Pid, Target, Text16,
    cpu_profile::{CpuProfileKey, CpuProfileValue},
    program,
};

#[unsafe(no_mangle)]
static FREQUENCY: Global<u64> = Global::new(99);
/// Period of the kernel's tick.
#[unsafe(no_mangle)]
static TICK_NS: Global<u64> = Global::new(4_000_000);
#[unsafe(no_mangle)]
static USER_ONLY: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static KERNEL_ONLY: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static PER_THREAD: Global<u8> = Global::new(0);

rows!(CpuProfileKey => CpuProfileValue, 16384);

kernel_functions! {
    // The tick, by which the kernel itself accounts CPU time: kernel/time/tick-sched.c.
    TICK = tick_nohz_handler | tick_sched_timer;
}

kernel_fields! {
    TIMER_FUNCTION = hrtimer.function: u64;
    TIMER_EXPIRES = hrtimer.node.expires: u64;
    TASK_RUNTIME = task_struct.se.sum_exec_runtime: u64;
}

/// CPU time of a thread at its last sample, ns, by thread ID.
#[map]
static RUNTIMES: LruHashMap<u32, u64> = LruHashMap::with_max_entries(16384, 0);

/// `(struct hrtimer *hrtimer, …)`.
#[program(raw_tp = "hrtimer_expire_entry")]
fn hrtimer_expire_entry(ctx: &RawTracePointContext) {
    let timer: *const u8 = ctx.arg(0);
    if TIMER_FUNCTION.read(timer) != Ok(TICK.address()) {
        return;
    }
    let Ok(expires) = TIMER_EXPIRES.read(timer) else {
        return;
    };
    if let Some(stands_for) = due(expires)
        && let Some(target) = selected()
    {
        book(profile(ctx, stands_for, target, interrupted_stack(ctx)));
    }
}

/// `void update_process_times(int user_tick)`, kernel/time/timer.c: the tick where addresses of functions are hidden.
///
/// Its kernel stack has the interrupt too, whose functions are as unknown.
#[program(fentry = "update_process_times")]
fn update_process_times(ctx: &FEntryContext) {
    if let Some(stands_for) = due(now())
        && let Some(target) = selected()
    {
        let kernel_stack = match ctx.arg::<u32>(0) {
            0 => Some(kernel_stack(ctx, 0)),
            _ => None,
        };
        book(profile(ctx, stands_for, target, kernel_stack));
    }
}

/// Returns the time that the sample of the tick at this time stands for; `None` where none is due.
///
/// Samples are due at multiples of their period. A tick takes the sample if one was due since the tick before it, whether that one came or
/// the CPU was idle then: so what runs at the tick does not matter, nor what ran before.
#[inline(always)]
fn due(at: u64) -> Option<u64> {
    let (every, frequency) = (TICK_NS.load(), FREQUENCY.load());
    let wanted = 1_000_000_000_u64.checked_div(frequency)?;
    if wanted <= every {
        return Some(every);
    }
    match at / wanted == at.saturating_sub(every) / wanted {
        true => None,
        false => Some(wanted),
    }
}

/// Returns the CPU time that the current thread had since its last sample; `period` at its first one.
///
/// So the sum of a thread's samples is its CPU time even where ticks are missing: a virtual CPU that waits for a real one has none.
#[inline(always)]
fn runtime(period: u64) -> Result<u64, Loss> {
    let (thread, now) = (
        bpf_get_current_pid_tgid() as u32,
        TASK_RUNTIME.read(current())?,
    );
    // SAFETY: copied at once.
    let before = unsafe { RUNTIMES.get(&thread) }.copied();
    RUNTIMES
        .insert(&thread, &now, 0)
        .map_err(|_| Loss::MapFull)?;
    Ok(match before {
        Some(before) if before <= now => now - before,
        // A new thread, with the ID of an old one.
        Some(_) | None => period,
    })
}

#[inline(always)]
fn profile<C: EbpfContext>(
    ctx: &C,
    period: u64,
    target: Target,
    kernel_stack: Option<KernelStack>,
) -> Result<bool, Loss> {
    let pid_tgid = bpf_get_current_pid_tgid();
    // The idle thread of each CPU.
    if pid_tgid == 0 {
        return Ok(false);
    }
    if (USER_ONLY.load() == 1 && kernel_stack.is_some())
        || (KERNEL_ONLY.load() == 1 && kernel_stack.is_none())
    {
        return Ok(false);
    }
    let weight = sample()?;
    let ns = runtime(period)?;
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
        kernel_stack: kernel_stack.unwrap_or(KernelStack(0)),
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
