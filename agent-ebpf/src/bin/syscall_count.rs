//! Kernel side of `syscall_count`. Columns and options: `tracers/src/catalogue/syscall_count.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    Loss, add, add_duration, add_error, answer, book, calls, current_comm, current_tgid, now, rows,
    sample, selected, signed, syscall, syscall_number,
};
use aya_ebpf::{Global, programs::RawTracePointContext};
use tracers::{
    Syscall, Target, Text16,
    arch::machine,
    program,
    syscall_count::{SyscallCountKey, SyscallCountValue},
};

#[unsafe(no_mangle)]
static PER_PROCESS: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static FAILED_ONLY: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static MIN_LATENCY_NS: Global<u64> = Global::new(0);

rows!(SyscallCountKey => SyscallCountValue, 4096);

/// A call that has begun.
#[repr(C)]
#[derive(Clone, Copy)]
struct Begun {
    since: u64,
    syscall: Syscall,
    target: Target,
    _pad: u32,
}

calls!(Begun);

#[program(raw_tp = "sys_enter")]
fn sys_enter(ctx: &RawTracePointContext) {
    if let Some(target) = selected() {
        book(begin(ctx.arg::<u64>(1) as u32, target));
    }
}

#[inline(always)]
fn begin(number: u32, target: Target) -> Result<bool, Loss> {
    let begun = Begun {
        since: now(),
        syscall: syscall(number),
        target,
        _pad: 0,
    };
    CALLS.begin(&begun).map(|()| false)
}

#[program(raw_tp = "sys_exit")]
fn sys_exit(ctx: &RawTracePointContext) {
    let (regs, result): (*const u8, i64) = (ctx.arg(0), ctx.arg(1));
    let call = match CALLS.end() {
        Some(begun) => Ok(Some((begun, result))),
        None => match selected() {
            Some(target) => not_begun(regs, result, target),
            None => return,
        },
    };
    // In one place: the verifier goes through every copy of what follows.
    book(call.and_then(|call| match call {
        Some((begun, result)) => end(&begun, result),
        None => Ok(false),
    }));
}

/// It may be of a call that began before the trace, or that never began: [`answer`].
#[inline(always)]
fn not_begun(regs: *const u8, result: i64, target: Target) -> Result<Option<(Begun, i64)>, Loss> {
    let syscall = syscall(syscall_number(regs)?);
    // A new task returns from a call that its parent made.
    if result == 0 && machine::makes_tasks(syscall.is_compat(), syscall.number()) {
        return Ok(None);
    }
    let begun = Begun {
        since: u64::MAX,
        syscall,
        target,
        _pad: 0,
    };
    Ok(Some((begun, answer(regs, result)?)))
}

/// A thread that dies in a call never returns from it: exit, exit_group, and whatever a signal killed it in.
#[program(raw_tp = "sched_process_exit")]
fn sched_process_exit(_ctx: &RawTracePointContext) {
    if let Some(begun) = CALLS.leave() {
        book(end(&begun, 0));
    }
}

#[inline(always)]
fn end(begun: &Begun, result: i64) -> Result<bool, Loss> {
    let result = signed(result, begun.syscall.is_compat());
    let now = now();
    let ns = now.saturating_sub(begun.since);
    // Numbers from -4095 on are errors: include/linux/err.h.
    let failed = (-4095..0).contains(&result);
    if ns < MIN_LATENCY_NS.load() || (FAILED_ONLY.load() == 1 && !failed) {
        return Ok(false);
    }
    let weight = sample()?;
    let (pid, comm) = match PER_PROCESS.load() {
        1 => (current_tgid(), current_comm()),
        _ => (0, [0; 16]),
    };
    let key = SyscallCountKey {
        syscall: begun.syscall,
        pid,
        comm: Text16(comm),
        target: begun.target,
    };
    let row = TABLE.row(&key, weight)?;
    add(&mut row.count, weight);
    add(&mut row.total_ns, ns * weight);
    if ns > row.max_ns {
        row.max_ns = ns;
    }
    add_duration(&mut row.latency, ns, weight);
    if failed {
        add_error(&mut row.errors, -result as u64, weight);
    }
    Ok(true)
}
