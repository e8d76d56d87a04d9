//! Registers at a system call: number, arguments and result of 64-bit and 32-bit calls.

use crate::{current, kernel_fields};
use aya_ebpf::helpers::bpf_probe_read_kernel;
use tracers::{
    Syscall,
    arch::{ENOSYS, SIGSYS, machine},
};

kernel_fields! {
    TASK_PENDING = task_struct.pending.signal: u64;
}
#[cfg(not(bpf_target_arch = "aarch64"))]
kernel_fields! {
    THREAD_STATUS = task_struct.thread_info.status: u32;
}
#[cfg(bpf_target_arch = "aarch64")]
kernel_fields! {
    THREAD_FLAGS = task_struct.thread_info.flags: u64;
}

/// Returns whether the current task is in a call of the 32-bit table.
#[inline(always)]
pub fn is_compat() -> bool {
    #[cfg(not(bpf_target_arch = "aarch64"))]
    {
        // TS_COMPAT, arch/x86/include/asm/thread_info.h.
        THREAD_STATUS.of_current_task().unwrap_or(0) & 2 != 0
    }
    #[cfg(bpf_target_arch = "aarch64")]
    {
        // TIF_32BIT, arch/arm64/include/asm/thread_info.h.
        THREAD_FLAGS.of_current_task().unwrap_or(0) >> 22 & 1 != 0
    }
}

/// Returns the call of the current task, by number and table.
#[inline(always)]
pub fn syscall(number: u32) -> Syscall {
    match is_compat() {
        true => Syscall(u64::from(number) | Syscall::COMPAT),
        false => Syscall(u64::from(number)),
    }
}

/// Returns the number of the call in `regs`.
#[inline(always)]
pub fn syscall_number(regs: *const u8) -> Result<u32, i32> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(regs.wrapping_add(machine::NUMBER).cast::<u32>()) }
}

/// Returns a result as a signed number: arm64 had unsigned results of 32-bit calls before 5.14 (invoke_syscall, arch/arm64/kernel/syscall.c).
#[inline(always)]
pub fn signed(result: i64, compat: bool) -> i64 {
    match compat {
        true => i64::from(result as i32),
        false => result,
    }
}

/// Returns the result of a call without a recorded start: it started before the trace, or seccomp or a tracer handled it before `sys_enter`
/// (syscall_trace_enter, kernel/entry/common.c; arch/arm64/kernel/ptrace.c).
///
/// # Errors
/// Where the registers cannot be read.
#[inline(always)]
pub fn answer(regs: *const u8, result: i64) -> Result<i64, i32> {
    // If seccomp sends a signal, it restores the registers, which then have no result (__seccomp_filter, kernel/seccomp.c).
    // SAFETY: the helper checks the address.
    let before: i64 =
        unsafe { bpf_probe_read_kernel(regs.wrapping_add(machine::TAKEN_BACK).cast()) }?;
    let signalled = TASK_PENDING.read(current())? >> (SIGSYS - 1) & 1 == 1;
    Ok(match result == before && signalled {
        true => -ENOSYS,
        false => result,
    })
}

/// Returns argument `N` of the call in `regs`; also at the return, where only the register of the result has changed.
#[inline(always)]
pub fn argument<const N: usize>(regs: *const u8, compat: bool) -> Result<u64, i32> {
    let offset = match compat {
        true => machine::COMPAT_ARGUMENTS[N],
        false => machine::ARGUMENTS[N],
    };
    // SAFETY: the helper checks the address.
    let value: u64 = unsafe { bpf_probe_read_kernel(regs.wrapping_add(offset).cast()) }?;
    Ok(if compat { value & 0xffff_ffff } else { value })
}
