//! Programs at functions of user space: registers, detection of the outermost call, and processes that the loader must check.
//! Programs at kernel functions (`kprobe`) have the same registers.
//!
//! The kernel runs a program at a function of user space in every process that has mapped the file; the program checks whether the process is
//! selected.
//! It runs with interrupts and preemption on, and is never skipped: two tasks may be in it on one CPU.

use crate::selected;
use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_attach_cookie},
    maps::HashMap,
};
use tracers::arch::machine;

/// Makes the program use the stack of its task.
///
/// Since Linux 6.13 a program of this type whose stack takes 64 bytes or more gets a stack of its CPU instead, for the kernel takes it for
/// never running twice on one (`bpf_enable_priv_stack`, kernel/bpf/verifier.c). At functions of user space it does: a task that gets the CPU
/// meanwhile would write over what the first one has there, pointers among it, and take the kernel down.
/// Programs with a tail call get none (`check_max_stack_depth`, the same file), whether or not it is ever reached. This one is not: the
/// verifier takes it out, so it costs nothing when the program runs. `#[program]` puts it into every such program.
#[inline(always)]
pub fn on_the_tasks_stack() {
    #[cfg(target_arch = "bpf")]
    // SAFETY: it only sets registers that are named; the call of helper 12, bpf_tail_call, is jumped over.
    unsafe {
        core::arch::asm!(
            "r0 = 0", "if r0 == 0 goto +1", "call 12",
            out("r0") _, out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _,
        );
    }
}

/// A register of the function's caller, by its offset in `struct pt_regs`.
#[inline(always)]
fn register<const OFFSET: usize>(ctx: &impl EbpfContext) -> u64 {
    let regs = ctx.as_ptr().cast::<u8>();
    // SAFETY: the context is a `struct pt_regs`, of which the verifier lets every aligned word be read.
    unsafe { regs.add(OFFSET).cast::<u64>().read_volatile() }
}

/// The first argument of a function, at its entry.
#[inline(always)]
pub fn first_argument(ctx: &impl EbpfContext) -> u64 {
    register::<{ machine::FUNCTION_ARGUMENTS[0] }>(ctx)
}

/// The second argument of a function, at its entry.
#[inline(always)]
pub fn second_argument(ctx: &impl EbpfContext) -> u64 {
    register::<{ machine::FUNCTION_ARGUMENTS[1] }>(ctx)
}

/// The third argument of a function, at its entry.
#[inline(always)]
pub fn third_argument(ctx: &impl EbpfContext) -> u64 {
    register::<{ machine::FUNCTION_ARGUMENTS[2] }>(ctx)
}

/// The result of a function, at its return.
#[inline(always)]
pub fn function_result(ctx: &impl EbpfContext) -> u64 {
    register::<{ machine::FUNCTION_RESULT }>(ctx)
}

/// Returns the index of the current point among those of the program; of the function, if a point has several.
#[inline(always)]
pub fn point(ctx: &impl EbpfContext) -> u64 {
    // SAFETY: the helper only returns a number.
    unsafe { bpf_get_attach_cookie(ctx.as_ptr()) }
}

/// A call of a function: its thread's stack pointer, and its point.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    stack: u64,
    point: u64,
}

impl Frame {
    /// Returns the call at the function's entry.
    #[inline(always)]
    pub fn at_entry(ctx: &impl EbpfContext) -> Self {
        Self {
            stack: register::<{ machine::STACK_POINTER }>(ctx),
            point: point(ctx),
        }
    }

    /// Returns the same call at the function's return.
    #[inline(always)]
    pub fn at_return(ctx: &impl EbpfContext) -> Self {
        let stack = register::<{ machine::STACK_POINTER }>(ctx);
        Self {
            stack: stack.wrapping_sub(machine::RETURN_POPS),
            point: point(ctx),
        }
    }

    /// Returns whether this call is nested in another one, which has not returned. Stacks grow downwards, and a tail call has the stack pointer
    /// of its caller. A call with the same stack pointer and function is a new one: the return of the first was missed.
    #[inline(always)]
    pub fn is_within(&self, outer: &Self) -> bool {
        self.stack < outer.stack || (self.stack == outer.stack && self.point != outer.point)
    }
}

/// Declares the map of processes that the loader must check for files, and the program that fills it.
#[macro_export]
macro_rules! user_probes {
    () => {
        /// Selected processes that have executed another program since the last check of the loader. If it is full, the loader finds further
        /// processes when it lists them, seconds later.
        #[aya_ebpf::macros::map]
        static NEWCOMERS: aya_ebpf::maps::HashMap<u32, u8> =
            aya_ebpf::maps::HashMap::with_max_entries(1024, 0);

        #[tracers::program(raw_tp = "sched_process_exec")]
        fn notice_exec(_ctx: &aya_ebpf::programs::RawTracePointContext) {
            $crate::notice(&NEWCOMERS);
        }
    };
}

/// Adds the current process to the map, if it is selected.
#[inline(always)]
pub fn notice(newcomers: &HashMap<u32, u8>) {
    if selected().is_some() {
        let process = (bpf_get_current_pid_tgid() >> 32) as u32;
        // A process without room is found later.
        let _ = newcomers.insert(&process, &0, 0);
        crate::wake();
        crate::ended();
    }
}
