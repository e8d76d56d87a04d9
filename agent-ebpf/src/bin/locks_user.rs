//! Kernel side of `locks_user`. Columns and options: `tracers/src/catalogue/locks_user.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    Loss, add, add_duration, argument, book, calls, current_comm, current_tgid, now, rows, sample,
    selected, syscall, user_stack,
};
use aya_ebpf::{Global, programs::RawTracePointContext};
use tracers::{
    Pid, Target, Text16,
    arch::machine,
    locks_user::{LocksUserKey, LocksUserValue},
    program,
};

#[unsafe(no_mangle)]
static MIN_WAIT: Global<u64> = Global::new(0);

rows!(LocksUserKey => LocksUserValue, 8192);

/// A wait that has begun.
#[repr(C)]
#[derive(Clone, Copy)]
struct Wait {
    since: u64,
    target: Target,
    _pad: u32,
}

calls!(Wait);

/// ETIMEDOUT, include/uapi/asm-generic/errno.h.
const TIMED_OUT: i64 = -110;

/// `(struct pt_regs *regs, long id)`.
#[program(raw_tp = "sys_enter")]
fn sys_enter(ctx: &RawTracePointContext) {
    if let Some(target) = selected() {
        book(begin(ctx.arg(0), ctx.arg::<u64>(1) as u32, target));
    }
}

#[inline(always)]
fn begin(regs: *const u8, number: u32, target: Target) -> Result<bool, Loss> {
    let call = syscall(number);
    let waits = match machine::futex(call.is_compat(), number) {
        None => false,
        Some(false) => true,
        Some(true) => is_wait(argument::<1>(regs, call.is_compat())?),
    };
    if !waits {
        return Ok(false);
    }
    let wait = Wait {
        since: now(),
        target,
        _pad: 0,
    };
    CALLS.begin(&wait).map(|()| false)
}

/// Whether an operation of futex(2) waits: FUTEX_WAIT, LOCK_PI, WAIT_BITSET, WAIT_REQUEUE_PI, LOCK_PI2 of include/uapi/linux/futex.h,
/// without the flags of FUTEX_CMD_MASK.
#[inline(always)]
const fn is_wait(operation: u64) -> bool {
    matches!(operation & 0x7f, 0 | 6 | 9 | 11 | 13)
}

/// `(struct pt_regs *regs, long ret)`.
#[program(raw_tp = "sys_exit")]
fn sys_exit(ctx: &RawTracePointContext) {
    if let Some(wait) = CALLS.end() {
        book(waited(ctx, &wait, ctx.arg(1)));
    }
}

#[inline(always)]
fn waited(ctx: &RawTracePointContext, wait: &Wait, result: i64) -> Result<bool, Loss> {
    let ns = now().saturating_sub(wait.since);
    if ns < MIN_WAIT.load() {
        return Ok(false);
    }
    let weight = sample()?;
    let key = LocksUserKey {
        pid: Pid(current_tgid()),
        target: wait.target,
        comm: Text16(current_comm()),
        user_stack: user_stack(ctx),
    };
    let row = TABLE.row(&key, weight)?;
    add(&mut row.waits, weight);
    if result == TIMED_OUT {
        add(&mut row.timeouts, weight);
    }
    add(&mut row.total_ns, ns * weight);
    if ns > row.max_ns {
        row.max_ns = ns;
    }
    add_duration(&mut row.latency, ns, weight);
    Ok(true)
}

/// A thread that is killed in a wait.
#[program(raw_tp = "sched_process_exit")]
fn sched_process_exit(ctx: &RawTracePointContext) {
    if let Some(wait) = CALLS.leave() {
        book(waited(ctx, &wait, 0));
    }
}
