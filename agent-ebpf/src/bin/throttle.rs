//! Kernel side of `throttle`. Columns and options: `tracers/src/catalogue/throttle.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    CGROUP_KN, CSS_CGROUP, GROUP_QUOTA, GROUP_THROTTLED_TIME, IteratorContext, KERNFS_ID, Loss,
    TASK_PID, TASK_TGID, book, kernel_fields, limited_group, selected_task, write_row,
};
use tracers::{Target, program, throttle::Throttle};

kernel_fields! {
    GROUP_CSS = task_group.css: u8;
    GROUP_PERIOD = task_group.cfs_bandwidth.period: u64;
    GROUP_PERIODS = task_group.cfs_bandwidth.nr_periods: u32;
    GROUP_THROTTLED = task_group.cfs_bandwidth.nr_throttled: u32;
}

/// Of every thread.
#[program(iter = "task")]
fn throttle(ctx: &IteratorContext) {
    let task = ctx.object();
    if task.is_null() || is_leader(task) != Ok(true) {
        return;
    }
    if let Some(target) = selected_task(task) {
        book(group(ctx, task, target));
    }
}

#[inline(always)]
fn is_leader(task: *const u8) -> Result<bool, i32> {
    Ok(TASK_TGID.read(task)? == TASK_PID.read(task)?)
}

#[inline(always)]
fn group(ctx: &IteratorContext, task: *const u8, target: Target) -> Result<bool, Loss> {
    let group = limited_group(task)?;
    match group.is_null() {
        true => Ok(false),
        false => limited(ctx, group, target),
    }
}

#[inline(always)]
fn limited(ctx: &IteratorContext, group: *const u8, target: Target) -> Result<bool, Loss> {
    let cgroup = CSS_CGROUP.read(GROUP_CSS.of(group))?;
    write_row(
        ctx,
        &Throttle {
            cgroup: KERNFS_ID.read(CGROUP_KN.read(cgroup)?)?,
            target,
            _pad: 0,
            quota_ns: GROUP_QUOTA.read(group)?,
            period_ns: GROUP_PERIOD.read(group)?,
            periods: GROUP_PERIODS.read(group)?.into(),
            used_up: GROUP_THROTTLED.read(group)?.into(),
            throttled_ns: GROUP_THROTTLED_TIME.read(group)?,
        },
    )
}
