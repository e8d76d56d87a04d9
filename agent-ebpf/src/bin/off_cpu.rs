//! Kernel side of `off_cpu`. Columns and options: `tracers/src/catalogue/off_cpu.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    IteratorContext, Loss, Switch, TASK_COMM, TASK_TGID, TakenStack, UNWIND, Visit, add, book,
    calls, comm, count, counter, current_comm, current_tgid, interrupt_frames, is_on_cpu,
    kernel_stack, kernel_stack_of, now, rows, sample, selected, taken_stack, thread_state, ticks,
    typed_current, visit, waits_for,
};
use aya_ebpf::{
    EbpfContext, Global,
    programs::{FEntryContext, FExitContext, RawTracePointContext},
};
use tracers::{
    KernelStack, Pid, Target, Text16, ThreadState, Unwind, UserStack, WaitReason,
    off_cpu::{OffCpuKey, OffCpuValue},
    program,
};

#[unsafe(no_mangle)]
static MIN_WAIT: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static BLOCKED_ONLY: Global<u8> = Global::new(0);
/// The programs of the tick are attached only with it.
#[unsafe(no_mangle)]
static WITH_CPU: Global<u8> = Global::new(0);

ticks!();
rows!(OffCpuKey => OffCpuValue, 16384);

/// A wait that has begun.
///
/// The user stack is copied after the wait, and only if the wait counts: a copy at every switch would cost more than the switch. The stack of
/// a thread does not change while the thread waits in the kernel. At the switch the thread is not current yet, and its memory cannot be read;
/// when it leaves the scheduler it is. So the end of such a wait is noted at the switch, and counted a moment later.
#[repr(C)]
#[derive(Clone, Copy)]
struct Wait {
    since: u64,
    /// When it ended; 0 before that. Such a wait is counted when its stack is copied.
    ended: u64,
    /// 1 where its user stack is to be copied.
    copies: u64,
    /// 1 where it began before the trace.
    partial: u64,
    key: OffCpuKey,
}

calls!(Wait);

/// `(bool preempt, struct task_struct *prev, struct task_struct *next)`.
#[program(raw_tp = "sched_switch")]
fn sched_switch(ctx: &RawTracePointContext) {
    let switch = Switch::of(ctx);
    // The next one first: the stacks of the previous one take their time.
    if let Some(wait) = CALLS.end_of(switch.next as u64) {
        book(over(&switch, &wait));
    }
    // Without `sched_exit_tp`, a thread that was preempted in the kernel does not return from `schedule`.
    if UNWIND.load() != Unwind::Fp as u8
        && let Some(wait) = CALLS.end()
    {
        book(uncopied(&wait));
    }
    if let Some(target) = selected() {
        book(wait(ctx, &switch, target));
    }
}

/// `(bool is_switch)`, in the thread that is current after the switch. Since Linux 6.16.
#[program(raw_tp = "sched_exit_tp")]
fn sched_exit_tp(_ctx: &RawTracePointContext) {
    leaves_the_scheduler();
}

/// `(void)`, likewise.
#[program(fexit = "schedule")]
fn schedule(_ctx: &FExitContext) {
    leaves_the_scheduler();
}

/// The current thread continues after a wait.
#[inline(always)]
fn leaves_the_scheduler() {
    if let Some(wait) = CALLS.end() {
        let stack = TakenStack::again(wait.key.user_stack);
        book(waited(&wait, wait.ended, wait.partial, &stack));
    }
}

/// The wait of the next thread is over.
#[inline(always)]
fn over(switch: &Switch, wait: &Wait) -> Result<bool, Loss> {
    let now = now();
    if wait.copies == 0 {
        return waited_before(wait, now);
    }
    if now.saturating_sub(wait.since) < MIN_WAIT.load() {
        return Ok(false);
    }
    let wait = Wait {
        ended: now,
        ..*wait
    };
    CALLS.begin_of(switch.next as u64, &wait).map(|()| false)
}

/// Counts a wait whose stack was to be copied, and was not.
#[inline(always)]
fn uncopied(wait: &Wait) -> Result<bool, Loss> {
    // The pass when the trace began took a thread that had just got a CPU for a waiting one.
    if wait.ended == 0 {
        return Ok(false);
    }
    count(counter!(stacks_not_copied));
    waited_before(wait, wait.ended)
}

/// Counts a wait with the stack by frame pointers.
#[inline(always)]
fn waited_before(wait: &Wait, end: u64) -> Result<bool, Loss> {
    let stack = TakenStack::before(wait.key.user_stack);
    waited(wait, end, wait.partial, &stack)
}

#[inline(always)]
fn waited(wait: &Wait, end: u64, partial: u64, stack: &TakenStack) -> Result<bool, Loss> {
    let ns = end.saturating_sub(wait.since);
    if ns < MIN_WAIT.load() {
        return Ok(false);
    }
    let weight = sample()?;
    TABLE.change(&wait.key, weight, stack, |row| {
        add(&mut row.waits, weight);
        add(&mut row.partial, partial * weight);
        add(&mut row.total_ns, ns * weight);
        if ns > row.max_ns {
            row.max_ns = ns;
        }
    })?;
    Ok(true)
}

/// `(struct hrtimer *hrtimer, …)`, likewise where functions cannot be hooked.
#[program(raw_tp = "hrtimer_expire_entry")]
fn hrtimer_expire_entry(ctx: &RawTracePointContext) {
    if let Some(period) = TICKS.sample_at_timer(ctx)
        && let Some(target) = selected()
    {
        book(runs(ctx, period, target, interrupt_frames(ctx)));
    }
}

/// `void update_process_times(int user_tick)`, kernel/time/timer.c, with the option `with_cpu`.
#[program(fentry = "update_process_times")]
fn update_process_times(ctx: &FEntryContext) {
    if let Some(period) = TICKS.sample_now()
        && let Some(target) = selected()
    {
        let skipped = match ctx.arg::<u32>(0) {
            0 => Some(interrupt_frames(ctx).unwrap_or(0)),
            _ => None,
        };
        book(runs(ctx, period, target, skipped));
    }
}

/// The current thread is on a CPU.
#[inline(always)]
fn runs<C: EbpfContext>(
    ctx: &C,
    period: u64,
    target: Target,
    skipped: Option<u64>,
) -> Result<bool, Loss> {
    let pid = current_tgid();
    if pid == 0 || WITH_CPU.load() == 0 {
        return Ok(false);
    }
    let weight = sample()?;
    let ns = TICKS.runtime(period)?;
    let stack = taken_stack(ctx);
    let key = OffCpuKey {
        pid: Pid(pid),
        state: ThreadState::RUNNING,
        reason: WaitReason::ON_CPU,
        comm: Text16(current_comm()),
        target,
        user_stack: stack.stack,
        kernel_stack: skipped.map_or(KernelStack(0), |frames| kernel_stack(ctx, frames)),
    };
    TABLE.change(&key, weight, &stack, |row| {
        add(&mut row.waits, weight);
        // The time since the last sample of all counts for those that `sample` leaves out too.
        add(&mut row.total_ns, ns);
    })?;
    Ok(true)
}

/// Of every thread: `(struct bpf_iter_meta *meta, struct task_struct *task)`.
#[program(iter = "task")]
fn each_task(ctx: &IteratorContext) {
    visit(ctx, &CALLS, waits_already, |visit, wait| {
        let (end, partial) = match wait.ended {
            0 => (visit.at, 1),
            ended => (ended, wait.partial),
        };
        let stack = TakenStack::before(wait.key.user_stack);
        waited(&wait, end, partial, &stack)
    });
}

/// What a thread in this state waits for.
#[inline(always)]
fn reason(task: *const u8, state: ThreadState) -> Result<WaitReason, i32> {
    match state {
        ThreadState::RUNNING => Ok(WaitReason::CPU),
        _ => Ok(WaitReason::of(waits_for(task)?)),
    }
}

/// A thread that waits when the trace begins.
#[inline(always)]
fn waits_already(visit: &Visit, target: Target) -> Result<bool, Loss> {
    let task = visit.task;
    let state = thread_state(task)?;
    if state == ThreadState::DEAD
        || is_on_cpu(task)?
        || (BLOCKED_ONLY.load() == 1 && state == ThreadState::RUNNING)
    {
        return Ok(false);
    }
    // Before the reason, which has many paths: the verifier follows each of them to the end.
    let kernel_stack = kernel_stack_of(task);
    let wait = Wait {
        since: visit.at,
        ended: 0,
        copies: 0,
        partial: 1,
        key: OffCpuKey {
            pid: Pid(TASK_TGID.read(task)?),
            state,
            reason: reason(task, state)?,
            comm: Text16(comm(TASK_COMM.of(task))?),
            user_stack: UserStack(0),
            kernel_stack,
            target,
        },
    };
    CALLS.begin_new(visit.key, &wait).map(|()| false)
}

/// The current thread leaves the CPU.
#[inline(always)]
fn wait(ctx: &RawTracePointContext, switch: &Switch, target: Target) -> Result<bool, Loss> {
    let state = switch.state()?;
    if state == ThreadState::DEAD {
        CALLS.leave();
        return Ok(false);
    }
    let pid = current_tgid();
    // The idle thread of each CPU does not wait.
    if pid == 0 || (BLOCKED_ONLY.load() == 1 && state == ThreadState::RUNNING) {
        return Ok(false);
    }
    // Before the stacks, which take their time: it is no CPU time of the thread.
    let since = now();
    let stack = taken_stack(ctx);
    let kernel_stack = kernel_stack(ctx, 0);
    let wait = Wait {
        since,
        ended: 0,
        copies: u64::from(stack.copies()),
        partial: 0,
        key: OffCpuKey {
            pid: Pid(pid),
            state,
            reason: reason(typed_current(), state)?,
            comm: Text16(current_comm()),
            user_stack: stack.stack,
            kernel_stack,
            target,
        },
    };
    CALLS.begin(&wait).map(|()| false)
}
