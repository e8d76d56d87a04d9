//! Passes over all tasks when a trace begins and when it ends: `engine/src/load/pass.rs`.

use crate::kernel_fields;
use aya_ebpf::{macros::map, maps::Array};
use tracers::control::Pass;

/// The pass that is under way. The loader writes it before each.
#[map]
static PASS: Array<Pass> = Array::with_max_entries(1, 0);

kernel_fields! {
    TASK_ON_CPU = task_struct.on_cpu: i32;
}

/// Returns the pass that is under way; `None` only where the map cannot be read.
#[inline(always)]
pub fn pass() -> Option<Pass> {
    PASS.get(0).copied()
}

/// Whether a task is on a CPU at this time.
///
/// # Errors
/// Where the task cannot be read.
#[inline(always)]
pub fn is_on_cpu(task: *const u8) -> Result<bool, i32> {
    Ok(TASK_ON_CPU.read(task)? != 0)
}
