//! Kernel side of `run_queue`. Columns and options: `tracers/src/catalogue/run_queue.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    IteratorContext, Loss, Switch, TASK_COMM, TASK_TGID, Visit, add, add_duration, book, calls,
    comm, current, current_tgid, is_on_cpu, now, rows, sample, selected, task_selected,
    thread_state, visit,
};
use aya_ebpf::{
    Global, helpers::generated::bpf_get_smp_processor_id, programs::RawTracePointContext,
};
use tracers::{
    Pid, Target, Text16, ThreadState, program,
    run_queue::{RunQueueKey, RunQueueValue},
};

#[unsafe(no_mangle)]
static PER_CPU: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static MIN_WAIT: Global<u64> = Global::new(0);

rows!(RunQueueKey => RunQueueValue, 8192);

/// A thread that waits for a CPU.
#[repr(C)]
#[derive(Clone, Copy)]
struct Wait {
    since: u64,
    target: Target,
    /// 1 where it began before the trace.
    partial: u32,
}

calls!(Wait);

/// `(struct task_struct *p)`.
#[program(raw_tp = "sched_wakeup")]
fn sched_wakeup(ctx: &RawTracePointContext) {
    woken(ctx.arg(0));
}

/// `(struct task_struct *p)`.
#[program(raw_tp = "sched_wakeup_new")]
fn sched_wakeup_new(ctx: &RawTracePointContext) {
    woken(ctx.arg(0));
}

#[inline(always)]
fn woken(task: *const u8) {
    // One that is woken on its way to sleep goes on where it is: nothing ends a wait of it.
    if task == current() {
        return;
    }
    match task_selected(task) {
        Ok(Some(target)) => book(wait(task, target)),
        Ok(None) => {}
        Err(error) => book(Err(error.into())),
    }
}

#[inline(always)]
fn wait(task: *const u8, target: Target) -> Result<bool, Loss> {
    let wait = Wait {
        since: now(),
        target,
        partial: 0,
    };
    CALLS.begin_of(task as u64, &wait).map(|()| false)
}

/// Of every thread: `(struct bpf_iter_meta *meta, struct task_struct *task)`.
#[program(iter = "task")]
fn each_task(ctx: &IteratorContext) {
    visit(ctx, &CALLS, waits_already, |visit, wait| {
        waited(visit.task, &wait, visit.at, 1)
    });
}

/// A thread that waits for a CPU when the trace begins.
#[inline(always)]
fn waits_already(visit: &Visit, target: Target) -> Result<bool, Loss> {
    let task = visit.task;
    if thread_state(task)? != ThreadState::RUNNING || is_on_cpu(task)? {
        return Ok(false);
    }
    let wait = Wait {
        since: visit.at,
        target,
        partial: 1,
    };
    CALLS.begin_new(visit.key, &wait).map(|()| false)
}

/// `(bool preempt, struct task_struct *prev, struct task_struct *next)`.
#[program(raw_tp = "sched_switch")]
fn sched_switch(ctx: &RawTracePointContext) {
    let switch = Switch::of(ctx);
    if let Some(wait) = CALLS.end_of(switch.next as u64) {
        book(waited(switch.next, &wait, now(), wait.partial.into()));
    }
    if let Some(target) = selected() {
        book(left(&switch, target));
    }
}

#[inline(always)]
fn waited(task: *const u8, wait: &Wait, end: u64, partial: u64) -> Result<bool, Loss> {
    let ns = end.saturating_sub(wait.since);
    if ns < MIN_WAIT.load() {
        return Ok(false);
    }
    let weight = sample()?;
    let cpu = match PER_CPU.load() {
        // SAFETY: the helper only returns a number.
        1 => unsafe { bpf_get_smp_processor_id() },
        _ => 0,
    };
    let key = RunQueueKey {
        pid: Pid(TASK_TGID.read(task)?),
        cpu,
        comm: Text16(comm(TASK_COMM.of(task))?),
        target: wait.target,
        _pad: 0,
    };
    let row = TABLE.row(&key, weight)?;
    add(&mut row.waits, weight);
    add(&mut row.partial, partial * weight);
    add(&mut row.total_ns, ns * weight);
    if ns > row.max_ns {
        row.max_ns = ns;
    }
    add_duration(&mut row.latency, ns, weight);
    Ok(true)
}

/// The current thread leaves the CPU.
#[inline(always)]
fn left(switch: &Switch, target: Target) -> Result<bool, Loss> {
    // The idle thread of each CPU does not wait.
    if current_tgid() == 0 {
        return Ok(false);
    }
    match switch.state()? {
        ThreadState::DEAD => {
            CALLS.leave();
            Ok(false)
        }
        ThreadState::RUNNING => wait(switch.prev, target),
        // A wake-up that came before it slept.
        _ => {
            CALLS.end_of(switch.prev as u64);
            Ok(false)
        }
    }
}
