//! arm64, with the EABI of 32-bit arm as its 32-bit table.

use super::{Executes, Opens, Waits};

/// Offsets in `struct pt_regs` of the six arguments: orig_x0, as x0 holds the result on return, and x1 to x5.
/// arch/arm64/include/asm/ptrace.h, whose beginning is user-space ABI.
pub const ARGUMENTS: [usize; 6] = [272, 8, 16, 24, 32, 40];
/// The same of a 32-bit call, which has the same registers.
pub const COMPAT_ARGUMENTS: [usize; 6] = ARGUMENTS;
/// Offset of syscallno.
pub const NUMBER: usize = 280;
/// Offset of what stands in the result's place where seccomp took a call back: `syscall_rollback`, arch/arm64/include/asm/syscall.h.
pub const TAKEN_BACK: usize = ARGUMENTS[0];

/// Bytes of a kernel stack: THREAD_SIZE, arch/arm64/include/asm/memory.h.
pub const STACK_BYTES: usize = 16 << 10;
/// Bytes of `struct pt_regs`: arch/arm64/include/asm/ptrace.h, 5.10.
pub const REGISTERS_BYTES: usize = 336;

/// The call of this number that opens a file: include/uapi/asm-generic/unistd.h, arch/arm/tools/syscall.tbl.
#[inline(always)]
pub const fn opens(compat: bool, number: u32) -> Option<Opens> {
    Some(match (compat, number) {
        (_, 437) => Opens::Openat2,
        (false, 56) | (true, 322) => Opens::Openat,
        (true, 5) => Opens::Open,
        (true, 8) => Opens::Creat,
        _ => return None,
    })
}

/// The call of this number that executes a program: include/uapi/asm-generic/unistd.h, arch/arm/tools/syscall.tbl.
#[inline(always)]
pub const fn executes(compat: bool, number: u32) -> Option<Executes> {
    let at = match (compat, number) {
        (false, 221) | (true, 11) => false,
        (false, 281) | (true, 387) => true,
        _ => return None,
    };
    Some(Executes { at, narrow: compat })
}

/// Whether the call makes a task: clone and clone3, and fork and vfork of the 32-bit table.
/// include/uapi/asm-generic/unistd.h, arch/arm/tools/syscall.tbl.
#[inline(always)]
pub const fn makes_tasks(compat: bool, number: u32) -> bool {
    matches!(
        (compat, number),
        (_, 435) | (true, 2 | 120 | 190) | (false, 220)
    )
}

/// What the call of this number waits for: include/uapi/asm-generic/unistd.h. Calls of the 32-bit table are not told apart.
#[inline(always)]
pub const fn waits(compat: bool, number: u32) -> Waits {
    if compat {
        return Waits::Other;
    }
    match number {
        63..=71 | 76 | 202 | 203 | 206 | 207 | 211 | 212 | 242 | 243 | 269 | 286 | 287 => {
            Waits::File
        }
        25 | 32 | 98 | 449 | 455 => Waits::Lock,
        101 | 115 => Waits::Timer,
        22 | 72 | 73 | 133 | 137 | 426 | 441 => Waits::Work,
        4 | 81..=84 | 227 | 267 | 292 => Waits::Disk,
        95 | 182 | 183 | 188 | 189 | 192 | 193 | 260 => Waits::Process,
        _ => Waits::Other,
    }
}

/// Whether the call is futex(2), which may wait: `Some(true)` where its second argument is an operation, `Some(false)` for futex_wait and
/// futex_waitv, which only wait. include/uapi/asm-generic/unistd.h, arch/arm/tools/syscall.tbl.
#[inline(always)]
pub const fn futex(compat: bool, number: u32) -> Option<bool> {
    match (compat, number) {
        (false, 98) | (true, 240 | 422) => Some(true),
        (_, 449 | 455) => Some(false),
        _ => None,
    }
}

/// Offsets in `struct pt_regs` of the first six arguments of a function of user space: x0 to x5 (Procedure Call Standard for the Arm 64-bit Architecture, 6.4).
pub const FUNCTION_ARGUMENTS: [usize; 6] = [0, 8, 16, 24, 32, 40];
/// Offset of a function's result: x0.
pub const FUNCTION_RESULT: usize = 0;
/// Offset of the stack pointer.
pub const STACK_POINTER: usize = 248;
/// How much higher the stack pointer is after a function's return than at its entry. The return address is in a register.
pub const RETURN_POPS: u64 = 0;

/// O_LARGEFILE of the kernel, which sets it itself for 64-bit calls: arch/arm64/include/uapi/asm/fcntl.h.
pub const O_LARGEFILE: u64 = 0o400_000;

/// Flags of open(2) that differ between machines: arch/arm64/include/uapi/asm/fcntl.h.
pub const OPEN_FLAGS: [(u64, &str); 4] = [
    (0o200000, "O_DIRECT"),
    (O_LARGEFILE, "O_LARGEFILE"),
    (0o40000, "O_DIRECTORY"),
    (0o100000, "O_NOFOLLOW"),
];

/// The bits of [`crate::Access`] that an exception's syndrome stands for: arch/arm64/include/asm/esr.h.
///
/// Kernels up to 7 have no tracepoint on arm64 that gives it.
#[inline(always)]
pub const fn access(syndrome: u64) -> u32 {
    let class = syndrome >> 26 & 0x3f;
    // ESR_ELx_EC_IABT_LOW and _CUR, ESR_ELx_EC_DABT_LOW.
    let instruction = matches!(class, 0x20 | 0x21);
    let user = matches!(class, 0x20 | 0x24);
    // ESR_ELx_WNR means nothing for an instruction, nor for cache maintenance (ESR_ELx_CM): is_write_abort, arch/arm64/mm/fault.c.
    let write = !instruction && syndrome >> 6 & 1 == 1 && syndrome >> 8 & 1 == 0;
    // Faults of the access flag (ESR_ELx_FSC_ACCESS) and of permission (ESR_ELx_FSC_PERM) are of pages that are there.
    let present = syndrome & 0x38 == 0x08;
    super::bits(write, instruction, user, present)
}

/// What stands before the name of a 32-bit call.
pub const COMPAT_PREFIX: &str = "arm:";

/// The name of a call in the 32-bit table.
#[cfg(feature = "user")]
pub fn compat_name(number: usize) -> Option<&'static str> {
    Some(syscalls::arm::Sysno::new(number)?.name())
}
