//! Kernel side of `page_fault`. Columns and options: `tracers/src/catalogue/page_fault.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    Loss, add, book, current, current_comm, current_tgid, kernel_stack, rows, sample, selected,
    user_stack,
};
use aya_ebpf::{Global, macros::map, maps::PerCpuArray, programs::RawTracePointContext};
use tracers::{
    Access, KernelStack, Pid, Target, Text16,
    arch::machine,
    page_fault::{PageFaultKey, PageFaultValue},
    program,
};

#[unsafe(no_mangle)]
static WRITE_ONLY: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static USER_ONLY: Global<u8> = Global::new(0);

rows!(PageFaultKey => PageFaultValue, 16384);

/// The task for which a program of ours is at work on this CPU, 0 while none is. Unwinding a user stack reads user memory, which may fault itself: that fault is ours and not the target's.
/// Another task's program that interrupts takes its place, and then such a fault is taken for the target's.
#[map]
static BUSY: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// `(unsigned long address, struct pt_regs *regs, unsigned long error_code)`.
#[program(raw_tp = "page_fault_user")]
fn page_fault_user(ctx: &RawTracePointContext) {
    on_fault(ctx);
}

#[program(raw_tp = "page_fault_kernel")]
fn page_fault_kernel(ctx: &RawTracePointContext) {
    if USER_ONLY.load() == 0 {
        on_fault(ctx);
    }
}

#[inline(always)]
fn on_fault(ctx: &RawTracePointContext) {
    let Some(busy) = BUSY.get_ptr_mut(0) else {
        return;
    };
    let task = current() as u64;
    // SAFETY: an aligned u64 of the map's only entry.
    if unsafe { *busy } == task {
        return;
    }
    let Some(target) = selected() else {
        return;
    };
    // SAFETY: as above.
    unsafe { *busy = task };
    book(fault(ctx, ctx.arg(2), target));
    // SAFETY: as above. Another's mark stays: it takes it away itself.
    if unsafe { busy.read_volatile() } == task {
        // SAFETY: as above.
        unsafe { *busy = 0 };
    }
}

#[inline(always)]
fn fault(ctx: &RawTracePointContext, error_code: u64, target: Target) -> Result<bool, Loss> {
    let access = Access(machine::access(error_code));
    if WRITE_ONLY.load() == 1 && !access.is_write() {
        return Ok(false);
    }
    let weight = sample()?;
    let pid = current_tgid();
    let key = PageFaultKey {
        pid: Pid(pid),
        access,
        comm: Text16(current_comm()),
        user_stack: user_stack(ctx),
        // The kernel's stack of a fault from user mode is only the exception's own entry.
        kernel_stack: match access.is_of_user() {
            false => kernel_stack(ctx, 0),
            true => KernelStack(0),
        },
        target,
        _pad: 0,
    };
    add(&mut TABLE.row(&key, weight)?.faults, weight);
    Ok(true)
}
