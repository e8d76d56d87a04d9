//! Passes over all tasks when a trace begins and when it ends: `engine/src/load/pass.rs`.

use crate::{Calls, IteratorContext, Loss, book, kernel_fields, selected_task};
use aya_ebpf::{macros::map, maps::Array};
use tracers::{Target, control::Pass};

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
    /// The time of the pass, ns of CLOCK_BOOTTIME.
    pub at: u64,
}

/// Visits the task that the iterator is at. The first pass gives each selected task to `begin`; the last one ends the calls that are still
/// under way, and gives each to `end`.
#[inline(always)]
pub fn visit<T: Copy>(
    ctx: &IteratorContext,
    calls: &Calls<T>,
    begin: impl FnOnce(&Visit, Target) -> Result<bool, Loss>,
    end: impl FnOnce(&Visit, T) -> Result<bool, Loss>,
) {
    let Some((visit, is_last)) = visited(ctx) else {
        return;
    };
    if is_last {
        if let Some(call) = calls.end_of(visit.key) {
            book(end(&visit, call));
        }
    } else if let Some(target) = selected_task(visit.task) {
        book(begin(&visit, target));
    }
}

/// Returns the task that the iterator is at, and whether the pass is the last one; `None` at the end of the pass.
#[inline(always)]
fn visited(ctx: &IteratorContext) -> Option<(Visit, bool)> {
    let pass = PASS.get(0)?;
    let task = ctx.object();
    if task.is_null() {
        return None;
    }
    let visit = Visit {
        task,
        key: ctx.address().ok()?,
        at: pass.at,
    };
    Some((visit, pass.which == Pass::LAST))
}

/// Whether a task is on a CPU at this time.
///
/// # Errors
/// Where the task cannot be read.
#[inline(always)]
pub fn is_on_cpu(task: *const u8) -> Result<bool, i32> {
    Ok(TASK_ON_CPU.read(task)? != 0)
}
