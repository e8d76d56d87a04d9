//! Kernel side of `syscall_count`. Columns and options: `tracers/src/syscall_count.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    Loss, add, add_duration, add_error, book, calls, current_comm, current_tgid, rows, sample,
    selected, syscall, syscall_number,
};
use aya_ebpf::{Global, helpers::generated::bpf_ktime_get_boot_ns, programs::RawTracePointContext};
use tracers::{
    Syscall, Target, Text16, program,
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
        // SAFETY: the helper only returns a number.
        since: unsafe { bpf_ktime_get_boot_ns() },
        syscall: syscall(number),
        target,
        _pad: 0,
    };
    CALLS.begin(&begun).map(|_| false)
}

#[program(raw_tp = "sys_exit")]
fn sys_exit(ctx: &RawTracePointContext) {
    let (regs, result): (*const u8, i64) = (ctx.arg(0), ctx.arg(1));
    if let Some(begun) = CALLS.end().or_else(|| not_begun(regs, result)) {
        book(end(&begun, result));
    }
}

/// It may be of a call that began before the trace, or that never began: seccomp and tracers answer it before `sys_enter`
/// (syscall_trace_enter, kernel/entry/common.c).
#[inline(always)]
fn not_begun(regs: *const u8, result: i64) -> Option<Begun> {
    let target = selected()?;
    let syscall = syscall(syscall_number(regs).ok()?);
    // A new task returns from a call that its parent made.
    if result == 0 && makes_tasks(syscall) {
        return None;
    }
    Some(Begun {
        since: u64::MAX,
        syscall,
        target,
        _pad: 0,
    })
}

/// Whether it is clone, fork, vfork or clone3: arch/x86/entry/syscalls/syscall_{64,32}.tbl, include/uapi/asm-generic/unistd.h.
#[inline(always)]
fn makes_tasks(syscall: Syscall) -> bool {
    match (syscall.is_compat(), syscall.number()) {
        (_, 435) | (true, 2 | 120 | 190) => true,
        #[cfg(not(bpf_target_arch = "aarch64"))]
        (false, 56..=58) => true,
        #[cfg(bpf_target_arch = "aarch64")]
        (false, 220) => true,
        _ => false,
    }
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
    // SAFETY: the helper only returns a number.
    let now = unsafe { bpf_ktime_get_boot_ns() };
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
