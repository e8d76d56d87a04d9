//! Kernel side of `cpu_distribution`. Columns and options: `tracers/src/catalogue/cpu_distribution.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    IteratorContext, Loss, Switch, TASK_COMM, TASK_PID, TASK_TGID, Visit, add, add_duration, book,
    calls, comm, current, is_exiting, is_on_cpu, now, rows, sample, selected, task_selected, visit,
};
use aya_ebpf::programs::RawTracePointContext;
use tracers::{
    Pid, Target, Text16,
    cpu_distribution::{CpuDistributionKey, CpuDistributionValue},
    program,
};

rows!(CpuDistributionKey => CpuDistributionValue, 8192);

/// A stretch that has begun.
#[repr(C)]
#[derive(Clone, Copy)]
struct Stretch {
    since: u64,
    target: Target,
    /// 1 while the thread runs.
    runs: u32,
}

calls!(Stretch);

/// `(bool preempt, struct task_struct *prev, struct task_struct *next)`.
#[program(raw_tp = "sched_switch")]
fn sched_switch(ctx: &RawTracePointContext) {
    let switch = Switch::of(ctx);
    if let Some(target) = selected() {
        book(change(switch.prev, target, 0));
    }
    match task_selected(switch.next) {
        Ok(Some(target)) => book(change(switch.next, target, 1)),
        Ok(None) => {}
        Err(error) => book(Err(error.into())),
    }
}

/// `(struct task_struct *p, …)`: the last stretch of a thread ends.
#[program(raw_tp = "sched_process_exit")]
fn sched_process_exit(_: &RawTracePointContext) {
    if let Some(stretch) = CALLS.leave() {
        book(ended(current(), &stretch, now()));
    }
}

/// A stretch of a thread ends, and another begins.
#[inline(always)]
fn change(task: *const u8, target: Target, runs: u32) -> Result<bool, Loss> {
    // The idle thread of each CPU.
    if TASK_PID.read(task)? == 0 || is_exiting(task)? {
        return Ok(false);
    }
    let now = now();
    let before = CALLS.end_of(task as u64);
    let stretch = Stretch {
        since: now,
        target,
        runs,
    };
    CALLS.begin_of(task as u64, &stretch)?;
    match before {
        Some(before) => ended(task, &before, now),
        None => Ok(false),
    }
}

#[inline(always)]
fn ended(task: *const u8, stretch: &Stretch, end: u64) -> Result<bool, Loss> {
    let ns = end.saturating_sub(stretch.since);
    let weight = sample()?;
    let key = CpuDistributionKey {
        pid: Pid(TASK_TGID.read(task)?),
        target: stretch.target,
        comm: Text16(comm(TASK_COMM.of(task))?),
    };
    let row = TABLE.row(&key, weight)?;
    add(&mut row.stretches, weight);
    if stretch.runs == 1 {
        add(&mut row.on_cpu_ns, ns * weight);
        add_duration(&mut row.on_cpu, ns, weight);
    } else {
        add(&mut row.off_cpu_ns, ns * weight);
        add_duration(&mut row.off_cpu, ns, weight);
    }
    Ok(true)
}

/// Of every thread: `(struct bpf_iter_meta *meta, struct task_struct *task)`.
#[program(iter = "task")]
fn each_task(ctx: &IteratorContext) {
    visit(ctx, &CALLS, already, |visit, stretch| {
        ended(visit.task, &stretch, visit.at)
    });
}

/// A thread that runs or waits when the trace begins.
#[inline(always)]
fn already(visit: &Visit, target: Target) -> Result<bool, Loss> {
    let task = visit.task;
    let stretch = Stretch {
        since: visit.at,
        target,
        runs: u32::from(is_on_cpu(task)?),
    };
    CALLS.begin_new(visit.key, &stretch).map(|()| false)
}
