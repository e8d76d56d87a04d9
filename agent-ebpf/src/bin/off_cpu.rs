//! Kernel side of `off_cpu`. Columns and options: `tracers/src/catalogue/off_cpu.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    IteratorContext, Loss, Switch, TASK_COMM, TASK_TGID, Visit, add, book, calls, comm,
    current_comm, current_tgid, is_on_cpu, kernel_stack, kernel_stack_of, now, rows, sample,
    selected, selected_task, thread_state, user_stack, visit,
};
use aya_ebpf::{Global, programs::RawTracePointContext};
use tracers::{
    Pid, Target, Text16, ThreadState, UserStack,
    off_cpu::{OffCpuKey, OffCpuValue},
    program,
};

#[unsafe(no_mangle)]
static MIN_WAIT: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static BLOCKED_ONLY: Global<u8> = Global::new(0);

rows!(OffCpuKey => OffCpuValue, 16384);

/// A wait that has begun.
#[repr(C)]
#[derive(Clone, Copy)]
struct Wait {
    since: u64,
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
    let state = thread_state(task)?;
    if state == ThreadState::DEAD
        || is_on_cpu(task)?
        || (BLOCKED_ONLY.load() == 1 && state == ThreadState::RUNNING)
    {
        return Ok(false);
    }
    let wait = Wait {
        since: visit.at,
        partial: 1,
        key: OffCpuKey {
            pid: Pid(TASK_TGID.read(task)?),
            state,
            comm: Text16(comm(TASK_COMM.of(task))?),
            user_stack: UserStack(0),
            kernel_stack: kernel_stack_of(task),
            target,
            _pad: 0,
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
    let wait = Wait {
        since: now(),
        partial: 0,
        key: OffCpuKey {
            pid: Pid(pid),
            state,
            comm: Text16(current_comm()),
            user_stack: user_stack(ctx),
            kernel_stack: kernel_stack(ctx, 0),
            target,
            _pad: 0,
        },
    };
    CALLS.begin(&wait).map(|()| false)
}
