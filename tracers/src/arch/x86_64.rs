//! x86-64, with i386 as its 32-bit table and x32 in the 64-bit one.

use super::{Executes, Opens, Waits};

/// Offsets in `struct pt_regs` of the six arguments: di, si, dx, r10, r8, r9.
/// The layout is user-space ABI: arch/x86/include/uapi/asm/ptrace.h.
pub const ARGUMENTS: [usize; 6] = [112, 104, 96, 56, 72, 64];
/// The same of a 32-bit call: bx, cx, dx, si, di, bp.
pub const COMPAT_ARGUMENTS: [usize; 6] = [40, 88, 96, 104, 112, 32];
/// Offset of orig_ax, the number of the call.
pub const NUMBER: usize = 120;
/// Offset of what stands in the result's place where seccomp took a call back: `syscall_rollback`, arch/x86/include/asm/syscall.h.
pub const TAKEN_BACK: usize = NUMBER;

/// Bytes of a kernel stack: THREAD_SIZE, arch/x86/include/asm/page_64_types.h.
pub const STACK_BYTES: usize = 16 << 10;
/// Bytes of `struct pt_regs`.
pub const REGISTERS_BYTES: usize = 168;

/// Marks a call of the x32 table: __X32_SYSCALL_BIT, arch/x86/include/uapi/asm/unistd.h.
const X32: u32 = 0x4000_0000;

/// The call of this number that opens a file: arch/x86/entry/syscalls/syscall_{64,32}.tbl.
#[inline(always)]
pub const fn opens(compat: bool, number: u32) -> Option<Opens> {
    // The x32 table has these under the same numbers.
    let number = if compat { number } else { number & !X32 };
    Some(match (compat, number) {
        (_, 437) => Opens::Openat2,
        (false, 257) | (true, 295) => Opens::Openat,
        (false, 2) | (true, 5) => Opens::Open,
        (false, 85) | (true, 8) => Opens::Creat,
        _ => return None,
    })
}

/// The call of this number that executes a program: arch/x86/entry/syscalls/syscall_{64,32}.tbl.
#[inline(always)]
pub const fn executes(compat: bool, number: u32) -> Option<Executes> {
    const X32_EXECVE: u32 = X32 | 520;
    const X32_EXECVEAT: u32 = X32 | 545;
    let (at, narrow) = match (compat, number) {
        (false, 59) => (false, false),
        (false, 322) => (true, false),
        (true, 11) | (false, X32_EXECVE) => (false, true),
        (true, 358) | (false, X32_EXECVEAT) => (true, true),
        _ => return None,
    };
    Some(Executes { at, narrow })
}

/// Whether the call makes a task: clone, fork, vfork or clone3, arch/x86/entry/syscalls/syscall_{64,32}.tbl.
#[inline(always)]
pub const fn makes_tasks(compat: bool, number: u32) -> bool {
    let number = if compat { number } else { number & !X32 };
    matches!(
        (compat, number),
        (_, 435) | (true, 2 | 120 | 190) | (false, 56..=58)
    )
}

/// What the call of this number waits for: arch/x86/entry/syscalls/syscall_64.tbl. Calls of the 32-bit table are not told apart.
#[inline(always)]
pub const fn waits(compat: bool, number: u32) -> Waits {
    if compat {
        return Waits::Other;
    }
    match number & !X32 {
        0 | 1 | 17..=20 | 40 | 42..=47 | 275 | 288 | 295 | 296 | 299 | 307 | 327 | 328 => {
            Waits::File
        }
        72 | 73 | 202 | 449 | 455 => Waits::Lock,
        35 | 230 => Waits::Timer,
        7 | 23 | 34 | 128 | 130 | 232 | 270 | 271 | 281 | 426 | 441 => Waits::Work,
        26 | 74 | 75 | 162 | 208 | 277 | 306 | 333 => Waits::Disk,
        61 | 65 | 69 | 70 | 220 | 242 | 243 | 247 => Waits::Process,
        _ => Waits::Other,
    }
}

/// Whether the call is futex(2), which may wait: `Some(true)` where its second argument is an operation, `Some(false)` for futex_wait and
/// futex_waitv, which only wait. arch/x86/entry/syscalls/syscall_{64,32}.tbl.
#[inline(always)]
pub const fn futex(compat: bool, number: u32) -> Option<bool> {
    let number = if compat { number } else { number & !X32 };
    match (compat, number) {
        (false, 202) | (true, 240 | 422) => Some(true),
        (_, 449 | 455) => Some(false),
        _ => None,
    }
}

/// Offsets in `struct pt_regs` of the first six arguments of a function of user space: di, si, dx, cx, r8, r9 (System V ABI for AMD64, 3.2.3).
pub const FUNCTION_ARGUMENTS: [usize; 6] = [112, 104, 96, 88, 72, 64];
/// Offset of a function's result: ax.
pub const FUNCTION_RESULT: usize = 80;
/// Offset of the stack pointer.
pub const STACK_POINTER: usize = 152;
/// How much higher the stack pointer is after a function's return than at its entry. A call leaves its return address on the stack, and a return takes it.
pub const RETURN_POPS: u64 = 8;

/// O_LARGEFILE of the kernel, which sets it itself for 64-bit calls: include/uapi/asm-generic/fcntl.h.
pub const O_LARGEFILE: u64 = 0o100_000;

/// Flags of open(2) that differ between machines: include/uapi/asm-generic/fcntl.h.
pub const OPEN_FLAGS: [(u64, &str); 4] = [
    (0o40000, "O_DIRECT"),
    (O_LARGEFILE, "O_LARGEFILE"),
    (0o200000, "O_DIRECTORY"),
    (0o400000, "O_NOFOLLOW"),
];

/// The bits of [`crate::Access`] that a page fault's error code stands for: arch/x86/include/asm/trap_pf.h.
#[inline(always)]
pub const fn access(error_code: u64) -> u32 {
    const PRESENT: u64 = 1;
    const WRITE: u64 = 2;
    const USER: u64 = 4;
    const INSTRUCTION: u64 = 16;
    super::bits(
        error_code & WRITE != 0,
        error_code & INSTRUCTION != 0,
        error_code & USER != 0,
        error_code & PRESENT != 0,
    )
}

/// What stands before the name of a 32-bit call.
pub const COMPAT_PREFIX: &str = "ia32:";

/// The name of a call in the 32-bit table.
#[cfg(feature = "user")]
pub fn compat_name(number: usize) -> Option<&'static str> {
    Some(syscalls::x86::Sysno::new(number)?.name())
}
