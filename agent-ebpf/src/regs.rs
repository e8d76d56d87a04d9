//! Registers at a system call: number and arguments, of 64-bit and 32-bit calls alike.

use crate::kernel_fields;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use tracers::Syscall;

// The layout of `struct pt_regs` is user-space ABI (arch/x86/include/uapi/asm/ptrace.h, arch/arm64/include/uapi/asm/ptrace.h).
#[cfg(not(bpf_target_arch = "aarch64"))]
mod layout {
    /// Offsets of the six arguments: di, si, dx, r10, r8, r9.
    pub(super) const ARGUMENTS: [usize; 6] = [112, 104, 96, 56, 72, 64];
    /// Offsets of the six arguments of a 32-bit call: bx, cx, dx, si, di, bp.
    pub(super) const COMPAT_ARGUMENTS: [usize; 6] = [40, 88, 96, 104, 112, 32];
    /// Offset of orig_ax, the number of the call.
    pub(super) const NUMBER: usize = 120;
}
#[cfg(bpf_target_arch = "aarch64")]
mod layout {
    /// Offsets of x0 to x5; x0 holds the result on return, but orig_x0 keeps the argument.
    pub(super) const ARGUMENTS: [usize; 6] = [272, 8, 16, 24, 32, 40];
    /// A 32-bit call has the same registers.
    pub(super) const COMPAT_ARGUMENTS: [usize; 6] = ARGUMENTS;
    /// Offset of syscallno.
    pub(super) const NUMBER: usize = 280;
}

#[cfg(not(bpf_target_arch = "aarch64"))]
kernel_fields! {
    THREAD_STATUS = task_struct.thread_info.status: u32;
}
#[cfg(bpf_target_arch = "aarch64")]
kernel_fields! {
    THREAD_FLAGS = task_struct.thread_info.flags: u64;
}

/// Whether the current task is in a call of the 32-bit table.
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

/// The call that the current task is in, by number and table.
#[inline(always)]
pub fn syscall(number: u32) -> Syscall {
    match is_compat() {
        true => Syscall(u64::from(number) | Syscall::COMPAT),
        false => Syscall(u64::from(number)),
    }
}

/// The number of the call in `regs`.
#[inline(always)]
pub fn syscall_number(regs: *const u8) -> Result<u32, i32> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(regs.wrapping_add(layout::NUMBER).cast::<u32>()) }
}

/// Argument `N` of the call in `regs`; at return too, as the kernel keeps the registers but the result's.
#[inline(always)]
pub fn argument<const N: usize>(regs: *const u8, compat: bool) -> Result<u64, i32> {
    let offset = match compat {
        true => layout::COMPAT_ARGUMENTS[N],
        false => layout::ARGUMENTS[N],
    };
    // SAFETY: the helper checks the address.
    let value: u64 = unsafe { bpf_probe_read_kernel(regs.wrapping_add(offset).cast()) }?;
    Ok(if compat { value & 0xffff_ffff } else { value })
}
