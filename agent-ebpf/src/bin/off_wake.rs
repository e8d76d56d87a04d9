//! Kernel side of `off_wake`. Columns and options: `tracers/src/catalogue/off_wake.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    IteratorContext, Loss, Switch, TASK_COMM, TASK_TGID, Visit, add, book, calls, comm,
    current_comm, current_tgid, is_on_cpu, kernel_stack, kernel_stack_of, now, rows, sample,
    selected, thread_state, typed_current, user_stack, visit, waits_for,
};
use aya_ebpf::{Global, programs::RawTracePointContext};
use tracers::{
    KernelStack, Pid, Target, Text16, ThreadState, UserStack, WaitReason,
    off_wake::{OffWakeKey, OffWakeValue},
    program,
};

#[unsafe(no_mangle)]
static MIN_WAIT: Global<u64> = Global::new(0);

rows!(OffWakeKey => OffWakeValue, 16384);

/// A wait that has begun.
#[repr(C)]
#[derive(Clone, Copy)]
struct Wait {
    since: u64,
    /// 1 where it began before the trace.
    partial: u64,
    /// Without a waker.
    key: OffWakeKey,
}

calls!(Wait);

/// `(struct task_struct *p)`: the current thread wakes another one, which may be on its way to sleep.
#[program(raw_tp = "sched_waking")]
fn sched_waking(ctx: &RawTracePointContext) {
    let task: *const u8 = ctx.arg(0);
    if let Some(wait) = CALLS.end_of(task as u64) {
        book(woken(ctx, wait));
    }
}

#[inline(always)]
fn woken(ctx: &RawTracePointContext, mut wait: Wait) -> Result<bool, Loss> {
    let end = now();
    if end.saturating_sub(wait.since) >= MIN_WAIT.load() {
        wait.key.waker = Text16(current_comm());
        wait.key.waker_pid = Pid(current_tgid());
        wait.key.waker_kernel_stack = kernel_stack(ctx, 0);
        wait.key.waker_user_stack = user_stack(ctx);
    }
    waited(&wait, end, wait.partial)
}

/// `(bool preempt, struct task_struct *prev, struct task_struct *next)`.
#[program(raw_tp = "sched_switch")]
fn sched_switch(ctx: &RawTracePointContext) {
    let switch = Switch::of(ctx);
    // It was woken between its way to sleep and here: by whom was not seen.
    if let Some(wait) = CALLS.end_of(switch.next as u64) {
        book(waited(&wait, now(), wait.partial));
    }
    if let Some(target) = selected() {
        book(wait(ctx, &switch, target));
    }
}

#[inline(always)]
fn waited(wait: &Wait, end: u64, partial: u64) -> Result<bool, Loss> {
    let ns = end.saturating_sub(wait.since);
    if ns < MIN_WAIT.load() {
        return Ok(false);
    }
    let weight = sample()?;
    let row = TABLE.row(&wait.key, weight)?;
    add(&mut row.waits, weight);
    add(&mut row.partial, partial * weight);
    add(&mut row.total_ns, ns * weight);
    if ns > row.max_ns {
        row.max_ns = ns;
    }
    Ok(true)
}

/// Of every thread: `(struct bpf_iter_meta *meta, struct task_struct *task)`.
#[program(iter = "task")]
fn each_task(ctx: &IteratorContext) {
    visit(ctx, &CALLS, waits_already, |visit, wait| {
        waited(&wait, visit.at, 1)
    });
}

/// A thread that waits when the trace begins.
#[inline(always)]
fn waits_already(visit: &Visit, target: Target) -> Result<bool, Loss> {
    let task = visit.task;
    if matches!(
        thread_state(task)?,
        ThreadState::DEAD | ThreadState::RUNNING
    ) || is_on_cpu(task)?
    {
        return Ok(false);
    }
    let wait = Wait {
        since: visit.at,
        partial: 1,
        key: OffWakeKey {
            pid: Pid(TASK_TGID.read(task)?),
            comm: Text16(comm(TASK_COMM.of(task))?),
            reason: WaitReason::of(waits_for(task)?),
            user_stack: UserStack(0),
            kernel_stack: kernel_stack_of(task),
            waker: Text16([0; 16]),
            waker_pid: Pid(0),
            target,
            waker_kernel_stack: KernelStack(0),
            waker_user_stack: UserStack(0),
        },
    };
    CALLS.begin_new(visit.key, &wait).map(|()| false)
}

/// The current thread leaves the CPU.
#[inline(always)]
fn wait(ctx: &RawTracePointContext, switch: &Switch, target: Target) -> Result<bool, Loss> {
    match switch.state()? {
        ThreadState::DEAD => {
            CALLS.leave();
            return Ok(false);
        }
        ThreadState::RUNNING => return Ok(false),
        _ => {}
    }
    let pid = current_tgid();
    // The idle thread of each CPU does not wait.
    if pid == 0 {
        return Ok(false);
    }
    let wait = Wait {
        since: now(),
        partial: 0,
        key: OffWakeKey {
            pid: Pid(pid),
            comm: Text16(current_comm()),
            reason: WaitReason::of(waits_for(typed_current())?),
            user_stack: user_stack(ctx),
            kernel_stack: kernel_stack(ctx, 0),
            waker: Text16([0; 16]),
            waker_pid: Pid(0),
            target,
            waker_kernel_stack: KernelStack(0),
            waker_user_stack: UserStack(0),
        },
    };
    CALLS.begin(&wait).map(|()| false)
}
