//! Passes over all tasks when a trace begins and when it ends: `engine/src/load/pass.rs`.

use crate::{IteratorContext, kernel_fields};
use aya_ebpf::{macros::map, maps::Array};
use tracers::control::Pass;

/// The pass that is under way. The loader writes it before each.
#[map]
static PASS: Array<Pass> = Array::with_max_entries(1, 0);

kernel_fields! {
    // An int before 7.0, of which this is the low byte; a byte since then.
    TASK_ON_CPU = task_struct.on_cpu: u8;
}

/// A task that a pass visits.
pub struct Visit {
    /// The task. The verifier knows its type.
    pub task: *const u8,
    /// Its address, for maps.
    pub key: u64,
    /// Whether the pass is the one at the end of the trace.
    pub is_last: bool,
    /// The time of the pass, ns of CLOCK_BOOTTIME.
    pub at: u64,
}

/// Returns the task that the iterator is at; `None` at the end of the pass.
#[inline(always)]
pub fn visit(ctx: &IteratorContext) -> Option<Visit> {
    let pass = PASS.get(0)?;
    let task = ctx.object();
    if task.is_null() {
        return None;
    }
    Some(Visit {
        task,
        key: ctx.address().ok()?,
        is_last: pass.which == Pass::LAST,
        at: pass.at,
    })
}

/// Whether a task is on a CPU at this time.
///
/// # Errors
/// Where the task cannot be read.
#[inline(always)]
pub fn is_on_cpu(task: *const u8) -> Result<bool, i32> {
    Ok(TASK_ON_CPU.read(task)? != 0)
}
