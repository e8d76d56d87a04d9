//! Kernel side of `time_budget`. Columns and options: `tracers/src/catalogue/time_budget.rs`.
//!
//! Each thread is in one phase at a time, and each change charges the time since the last one to the phase that ends. So the parts of a
//! thread add up to its time whatever they are.
#![no_std]
#![no_main]
use agent_ebpf::{
    GROUP_THROTTLED_TIME, IteratorContext, Loss, Switch, TASK_COMM, TASK_GROUP_LEADER, TASK_PID,
    TASK_TGID, Visit, add, book, calls, comm, current, is_exiting, is_on_cpu, kernel_fields,
    limited_group, masked, now, rows, selected, task_selected, thread_state, typed_current, visit,
    waits_for,
};
use aya_ebpf::programs::RawTracePointContext;
use tracers::{
    Pid, Target, Text16, ThreadState, program,
    time_budget::{TimeBudgetKey, TimeBudgetValue},
};

kernel_fields! {
    TASK_UTIME = task_struct.utime: u64;
    TASK_STIME = task_struct.stime: u64;
}

rows!(TimeBudgetKey => TimeBudgetValue, 8192);

/// A thread and its phase.
#[repr(C)]
#[derive(Clone, Copy)]
struct Thread {
    /// When the phase began, ns of CLOCK_BOOTTIME.
    since: u64,
    /// Until when its time is in `wall_ns`.
    counted: u64,
    /// CPU time that is not divided into user and kernel yet.
    pending: u64,
    /// What the kernel had counted when CPU time was last divided.
    utime: u64,
    stime: u64,
    /// What the kernel had counted of throttling when the thread came into the run queue.
    throttled: u64,
    phase: u32,
    target: Target,
}

/// Numbers of phases: that of what it waits for is one of these and more.
const RUNS: u32 = 0;
const QUEUED: u32 = 1;
const WAITS: u32 = 2;

calls!(Thread);

/// Of every thread: `(struct bpf_iter_meta *meta, struct task_struct *task)`.
#[program(iter = "task")]
fn each_task(ctx: &IteratorContext) {
    visit(ctx, &CALLS, already, |visit, thread| {
        end(visit.task, thread, visit.at)
    });
}

/// A thread that is there when the trace begins.
#[inline(always)]
fn already(visit: &Visit, target: Target) -> Result<bool, Loss> {
    let task = visit.task;
    if TASK_PID.read(task)? == 0 {
        return Ok(false);
    }
    let phase = match thread_state(task)? {
        ThreadState::DEAD => return Ok(false),
        _ if is_on_cpu(task)? => RUNS,
        ThreadState::RUNNING => QUEUED,
        _ => WAITS + waits_for(task)? as u32,
    };
    let thread = begin(task, target, phase, visit.at)?;
    CALLS.begin_new(visit.key, &thread).map(|()| false)
}

#[inline(always)]
fn begin(task: *const u8, target: Target, phase: u32, at: u64) -> Result<Thread, Loss> {
    Ok(Thread {
        since: at,
        counted: at,
        pending: 0,
        utime: TASK_UTIME.read(task)?,
        stime: TASK_STIME.read(task)?,
        throttled: match phase {
            QUEUED => throttled(task)?,
            _ => 0,
        },
        phase,
        target,
    })
}

/// What the kernel has counted of throttling of the task's nearest group with a quota, ns.
#[inline(always)]
fn throttled(task: *const u8) -> Result<u64, i32> {
    let group = limited_group(task)?;
    match group.is_null() {
        true => Ok(0),
        false => GROUP_THROTTLED_TIME.read(group),
    }
}

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
    if task == current() {
        return;
    }
    if let Some(thread) = CALLS.end_of(task as u64) {
        // One that is woken on its way to sleep goes on where it is.
        book(match thread.phase >= WAITS {
            true => change(task, thread, QUEUED, now()),
            false => CALLS.begin_of(task as u64, &thread).map(|()| false),
        });
        return;
    }
    match task_selected(task) {
        Ok(Some(target)) => book(new(task, target, QUEUED)),
        Ok(None) => {}
        Err(error) => book(Err(error.into())),
    }
}

#[inline(always)]
fn new(task: *const u8, target: Target, phase: u32) -> Result<bool, Loss> {
    let thread = begin(task, target, phase, now())?;
    CALLS.begin_of(task as u64, &thread).map(|()| false)
}

/// `(bool preempt, struct task_struct *prev, struct task_struct *next)`.
#[program(raw_tp = "sched_switch")]
fn sched_switch(ctx: &RawTracePointContext) {
    let switch = Switch::of(ctx);
    let now = now();
    if let Some(thread) = CALLS.end_of(switch.next as u64) {
        book(change(switch.next, thread, RUNS, now));
    }
    if let Some(target) = selected() {
        book(leaves(&switch, target, now));
    }
}

/// `(struct task_struct *p, …)`: a thread ends. What it still does is not in its time.
#[program(raw_tp = "sched_process_exit")]
fn sched_process_exit(_: &RawTracePointContext) {
    if let Some(thread) = CALLS.leave_of(current() as u64) {
        book(end(current(), thread, now()));
    }
}

/// `(struct task_struct *task, const char *comm)`: a thread gets another name, by execve(2) too. Its time so far belongs to the old one.
#[program(raw_tp = "task_rename")]
fn task_rename(ctx: &RawTracePointContext) {
    let task: *const u8 = ctx.arg(0);
    // Another one's name is changed by /proc/PID/comm; that one's phase may change meanwhile.
    if task == current()
        && let Some(thread) = CALLS.end_of(task as u64)
    {
        book(rename(task, thread, now()));
    }
}

#[inline(always)]
fn rename(task: *const u8, mut thread: Thread, now: u64) -> Result<bool, Loss> {
    let charged = charge(task, &mut thread, now, true);
    thread.since = now;
    CALLS.begin_of(task as u64, &thread)?;
    charged.map(|()| true)
}

/// The current thread leaves the CPU.
#[inline(always)]
fn leaves(switch: &Switch, target: Target, now: u64) -> Result<bool, Loss> {
    // The idle thread of each CPU.
    if TASK_PID.read(switch.prev)? == 0 {
        return Ok(false);
    }
    let phase = match switch.state()? {
        ThreadState::DEAD => return Ok(false),
        ThreadState::RUNNING => QUEUED,
        _ => WAITS + waits_for(typed_current())? as u32,
    };
    match CALLS.end_of(switch.prev as u64) {
        Some(thread) => change(switch.prev, thread, phase, now),
        None if is_exiting(switch.prev)? => Ok(false),
        None => new(switch.prev, target, phase),
    }
}

/// A phase of a thread ends, and the next one begins.
#[inline(always)]
fn change(task: *const u8, mut thread: Thread, phase: u32, now: u64) -> Result<bool, Loss> {
    let charged = charge(task, &mut thread, now, false);
    thread.since = now;
    thread.phase = phase;
    if phase == QUEUED {
        thread.throttled = throttled(task).unwrap_or(0);
    }
    CALLS.begin_of(task as u64, &thread)?;
    charged.map(|()| true)
}

/// A thread ends, or the trace.
#[inline(always)]
fn end(task: *const u8, mut thread: Thread, now: u64) -> Result<bool, Loss> {
    charge(task, &mut thread, now, true).map(|()| true)
}

/// Adds the time of the phase to its part; with `last` also what is left of the thread's time.
#[inline(always)]
fn charge(task: *const u8, thread: &mut Thread, now: u64, last: bool) -> Result<(), Loss> {
    let ns = now.saturating_sub(thread.since);
    let key = TimeBudgetKey {
        pid: Pid(TASK_TGID.read(task)?),
        target: thread.target,
        comm: Text16(comm(TASK_COMM.of(TASK_GROUP_LEADER.read(task)?))?),
    };
    let row = TABLE.row(&key, 1)?;
    add(&mut row.changes, 1);
    match thread.phase {
        RUNS => thread.pending += ns,
        QUEUED => {
            let grown = throttled(task)?.saturating_sub(thread.throttled);
            let without = if grown < ns { grown } else { ns };
            add(&mut row.throttled_ns, without);
            add(&mut row.run_queue_ns, ns - without);
        }
        waits => {
            let part = masked::<7>((waits - WAITS) as usize);
            // SAFETY: the eight parts of waits follow each other, in the order of `WaitsFor`.
            add(unsafe { &mut *(&raw mut row.disk_ns).add(part) }, ns);
        }
    }
    let (utime, stime) = (TASK_UTIME.read(task)?, TASK_STIME.read(task)?);
    let (mut user, mut kernel) = (
        utime.saturating_sub(thread.utime),
        stime.saturating_sub(thread.stime),
    );
    if user + kernel == 0 && last {
        // No tick since then: as all of the thread's time.
        (user, kernel) = (utime, stime);
        if user + kernel == 0 {
            user = 1;
        }
    }
    // A share in 1024ths: the time times a sum of CPU times would not fit in 64 bits.
    if let Some(share) = (user * 1024).checked_div(user + kernel) {
        let of_user = (thread.pending >> 10) * share + (((thread.pending & 1023) * share) >> 10);
        add(&mut row.user_ns, of_user);
        add(&mut row.kernel_ns, thread.pending - of_user);
        thread.pending = 0;
        (thread.utime, thread.stime) = (utime, stime);
    }
    add(&mut row.wall_ns, now.saturating_sub(thread.counted));
    thread.counted = now;
    Ok(())
}
