//! Context switches: which thread leaves the CPU, in which state, and which one takes it.

use crate::kernel_fields;
use aya_ebpf::programs::RawTracePointContext;
use tracers::ThreadState;

kernel_fields! {
    // `long state` until 5.13, `unsigned int __state` since: include/linux/sched.h.
    optional TASK_STATE_OLD = task_struct.state: u64;
    optional TASK_STATE = task_struct.__state: u32;
}

/// A context switch, as the tracepoint `sched_switch` reports it: `(bool preempt, struct task_struct *prev, struct task_struct *next)`.
///
/// The previous thread is still the current one: its stacks can be taken. Interrupts are off, so no other program of a scheduler's
/// tracepoint comes between on this CPU.
pub struct Switch {
    /// The thread that leaves the CPU, a `struct task_struct`.
    pub prev: *const u8,
    /// The thread that takes it.
    pub next: *const u8,
    /// Whether the previous thread was preempted: it did not ask to wait.
    pub preempted: bool,
}

impl Switch {
    /// Reads the arguments of `sched_switch`, which are in these places in all versions but 5.18.
    #[inline(always)]
    pub fn of(ctx: &RawTracePointContext) -> Self {
        Self {
            prev: ctx.arg(1),
            next: ctx.arg(2),
            preempted: ctx.arg::<u64>(0) as u8 != 0,
        }
    }

    /// Returns the state in which the previous thread leaves the CPU.
    ///
    /// # Errors
    /// Where the thread cannot be read.
    #[inline(always)]
    pub fn state(&self) -> Result<ThreadState, i32> {
        // A thread that is preempted on its way to sleep keeps its place in the run queue: __schedule, kernel/sched/core.c.
        if self.preempted {
            return Ok(ThreadState::RUNNING);
        }
        thread_state(self.prev)
    }
}

/// Returns a thread's state.
///
/// # Errors
/// Where the thread cannot be read.
#[inline(always)]
pub fn thread_state(task: *const u8) -> Result<ThreadState, i32> {
    let bits = match TASK_STATE.exists() {
        true => u64::from(TASK_STATE.read(task)?),
        false => TASK_STATE_OLD.read(task)?,
    };
    Ok(ThreadState::of_bits(bits))
}
