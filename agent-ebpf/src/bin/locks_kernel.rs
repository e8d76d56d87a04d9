//! Kernel side of `locks_kernel`. Columns and options: `tracers/src/catalogue/locks_kernel.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    Loss, add, add_duration, book, calls, current, current_comm, current_tgid, kernel_stack, now,
    rows, sample, selected,
};
use aya_ebpf::{Global, programs::RawTracePointContext};
use tracers::{
    LockFlags, Pid, Target, Text16,
    locks_kernel::{LocksKernelKey, LocksKernelValue},
    program,
};

#[unsafe(no_mangle)]
static MIN_WAIT: Global<u64> = Global::new(0);

rows!(LocksKernelKey => LocksKernelValue, 8192);

/// A wait that has begun.
#[repr(C)]
#[derive(Clone, Copy)]
struct Wait {
    since: u64,
    lock: LockFlags,
    target: Target,
}

calls!(Wait);

/// What a wait is known by: an interrupt may wait for another lock while its thread waits for one.
#[inline(always)]
fn key(lock: u64) -> u64 {
    current() as u64 ^ lock.rotate_left(17)
}

/// `(void *lock, unsigned int flags)`.
#[program(raw_tp = "contention_begin")]
fn contention_begin(ctx: &RawTracePointContext) {
    if let Some(target) = selected() {
        let wait = Wait {
            since: now(),
            lock: LockFlags(ctx.arg::<u64>(1) as u32),
            target,
        };
        book(CALLS.begin_of(key(ctx.arg(0)), &wait).map(|()| false));
    }
}

/// `(void *lock, int ret)`.
#[program(raw_tp = "contention_end")]
fn contention_end(ctx: &RawTracePointContext) {
    if let Some(wait) = CALLS.leave_of(key(ctx.arg(0))) {
        book(waited(ctx, &wait));
    }
}

#[inline(always)]
fn waited(ctx: &RawTracePointContext, wait: &Wait) -> Result<bool, Loss> {
    let ns = now().saturating_sub(wait.since);
    if ns < MIN_WAIT.load() {
        return Ok(false);
    }
    let weight = sample()?;
    let key = LocksKernelKey {
        lock: wait.lock,
        pid: Pid(current_tgid()),
        comm: Text16(current_comm()),
        kernel_stack: kernel_stack(ctx, 0),
        target: wait.target,
        _pad: 0,
    };
    let row = TABLE.row(&key, weight)?;
    add(&mut row.waits, weight);
    add(&mut row.total_ns, ns * weight);
    if ns > row.max_ns {
        row.max_ns = ns;
    }
    add_duration(&mut row.latency, ns, weight);
    Ok(true)
}
