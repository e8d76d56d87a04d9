//! Groups of tasks of the scheduler, and their CPU quotas.

use crate::kernel_fields;

kernel_fields! {
    TASK_GROUP = task_struct.sched_task_group: *const u8;
    GROUP_PARENT = task_group.parent: *const u8;
    GROUP_QUOTA = task_group.cfs_bandwidth.quota: u64;
    GROUP_THROTTLED_TIME = task_group.cfs_bandwidth.throttled_time: u64;
}

/// The quota of a group without one: RUNTIME_INF, kernel/sched/sched.h.
const NO_QUOTA: u64 = u64::MAX;
/// Most levels of groups.
const LEVELS: usize = 16;

/// Returns the nearest group of a task that has a quota, a `struct task_group`; null where there is none.
///
/// # Errors
/// Where the kernel's structures cannot be read.
#[inline(always)]
pub fn limited_group(task: *const u8) -> Result<*const u8, i32> {
    let mut group = TASK_GROUP.read(task)?;
    for _ in 0..LEVELS {
        if group.is_null() || GROUP_QUOTA.read(group)? != NO_QUOTA {
            return Ok(group);
        }
        group = GROUP_PARENT.read(group)?;
    }
    Ok(core::ptr::null())
}
