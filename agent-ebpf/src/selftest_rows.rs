//! A program that adds to a shared table and subtracts from it, for the tests of `engine/src/source/shared_table.rs`. It is not a tracer.
#![no_std]
#![no_main]
use agent_ebpf::{Loss, book, counter, current_tgid, folded, shared_rows};
use aya_ebpf::{Global, programs::RawTracePointContext};
use tracers::{
    Access, KernelStack, Pid, Target, Text16, UserStack,
    page_fault::{PageFaultKey, PageFaultValue},
    program,
};

/// PID of the process whose calls count, in the host's namespace.
#[unsafe(no_mangle)]
static TESTED: Global<u32> = Global::new(0);
/// Number of the system call that adds 1.
#[unsafe(no_mangle)]
static UP: Global<u64> = Global::new(0);
/// Number of the system call that subtracts 1.
#[unsafe(no_mangle)]
static DOWN: Global<u64> = Global::new(0);

shared_rows!(PageFaultKey => PageFaultValue, 64);

#[program(raw_tp = "sys_enter")]
fn count_calls(ctx: &RawTracePointContext) {
    if current_tgid() != TESTED.load() {
        return;
    }
    let number: u64 = ctx.arg(1);
    if number == UP.load() {
        book(change(1));
    } else if number == DOWN.load() {
        book(change(-1));
    }
}

#[inline(always)]
fn change(by: i64) -> Result<bool, Loss> {
    let key = PageFaultKey {
        pid: Pid(TESTED.load()),
        access: Access(0),
        comm: Text16([0; 16]),
        user_stack: UserStack(0),
        kernel_stack: KernelStack(0),
        target: Target::NONE,
        _pad: 0,
    };
    TABLE.row(&key)?.add(counter!(faults), by);
    folded()
}
