//! Memory: fresh pages, code, and functions that touch pages.

use super::{Outcome, call};

/// Maps fresh pages. Each is allocated by the first access to it.
pub(crate) fn pages(count: usize) -> &'static mut [u8] {
    let bytes = count * 4096;
    // SAFETY: a new mapping, which stays to the end.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        );
        assert_ne!(at, libc::MAP_FAILED);
        // Huge pages would make many touches one fault. A kernel without them returns EINVAL.
        libc::madvise(at, bytes, libc::MADV_NOHUGEPAGE);
        std::slice::from_raw_parts_mut(at.cast(), bytes)
    }
}

/// Maps a page and unmaps it, this many times: each takes the lock of the address space.
pub(crate) fn map_and_unmap(times: u64) {
    for _ in 0..times {
        // SAFETY: a new mapping, which nothing else uses.
        unsafe {
            let at = libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            );
            assert_ne!(at, libc::MAP_FAILED);
            assert_eq!(libc::munmap(at, 4096), 0);
        }
    }
}

/// Maps executable memory with this code.
#[cfg(target_arch = "x86_64")]
pub(crate) fn code(code: &[u8]) -> &'static [u8] {
    // SAFETY: a new mapping, which is filled before it is shared, and is never unmapped.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            code.len(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(at, libc::MAP_FAILED);
        std::ptr::copy_nonoverlapping(code.as_ptr(), at.cast(), code.len());
        let protected = libc::mprotect(at, code.len(), libc::PROT_READ | libc::PROT_EXEC);
        assert_eq!(protected, 0);
        std::slice::from_raw_parts(at.cast(), code.len())
    }
}

/// Calls the function at this place of the code, which writes to the byte.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_code(code: &'static [u8], at: usize, byte: &mut u8) {
    // SAFETY: `jit` writes functions of the C calling convention that write one byte and keep all other registers.
    unsafe {
        let function: extern "C" fn(*mut u8) = std::mem::transmute(code[at..].as_ptr());
        function(byte);
    }
}

/// read(2) of a file into memory that may be missing.
pub(crate) fn read_into(fd: i32, memory: &mut [u8]) -> Outcome {
    let (at, len) = (memory.as_mut_ptr() as usize, memory.len());
    // SAFETY: the memory is there to be written.
    unsafe { call(libc::SYS_read, [fd as usize, at, len, 0, 0]) }
}

/// Writes into `count` pages of 4096 bytes, at least one, after `depth` recursive calls.
/// Every call has a frame pointer, by which the kernel finds its caller, with any compiler options.
#[unsafe(naked)]
#[cfg(target_arch = "x86_64")]
pub(crate) extern "C" fn write_pages_deep(depth: u64, pages: *mut u8, count: u64) {
    std::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "test rdi, rdi",
        "jz 2f",
        "dec rdi",
        "call {deeper}",
        "pop rbp",
        "ret",
        "2:",
        "mov byte ptr [rsi], 1",
        "add rsi, 4096",
        "dec rdx",
        "jnz 2b",
        "pop rbp",
        "ret",
        deeper = sym write_pages_deep,
    )
}

/// Writes pages as on x86_64.
#[unsafe(naked)]
#[cfg(target_arch = "aarch64")]
pub(crate) extern "C" fn write_pages_deep(depth: u64, pages: *mut u8, count: u64) {
    std::arch::naked_asm!(
        "stp x29, x30, [sp, #-16]!",
        "mov x29, sp",
        "cbz x0, 2f",
        "sub x0, x0, #1",
        "bl {deeper}",
        "ldp x29, x30, [sp], #16",
        "ret",
        "2:",
        "strb w2, [x1]",
        "add x1, x1, #4096",
        "subs x2, x2, #1",
        "b.ne 2b",
        "ldp x29, x30, [sp], #16",
        "ret",
        deeper = sym write_pages_deep,
    )
}
