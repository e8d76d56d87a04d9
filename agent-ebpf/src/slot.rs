//! Marked places, which the loader fills with instructions that a trace brings along: `engine/src/load/slots.rs`.
//!
//! They are in the middle of a program and not functions of their own: a call would take 32 bytes of stack of a program that may have
//! none left, and no program with calls may have tail calls on every kernel.

use tracers::Slot;

/// Whether a finished row passes the filter of its trace; without a filter every row does.
///
/// # Safety
/// `row` points to a whole row whose bytes are initialised, on the stack or in a map, at a multiple of 8.
#[inline(always)]
pub unsafe fn row_passes(row: *const u8) -> bool {
    #[cfg(target_arch = "bpf")]
    {
        let passes: u64;
        // SAFETY: the filled-in instructions read the row, write no memory, use the named registers and continue after the slot.
        unsafe {
            core::arch::asm!(
                "r0 = {mark} ll",
                mark = const Slot::Row.mark(),
                inout("r1") row => _,
                lateout("r0") passes,
                lateout("r2") _, lateout("r3") _, lateout("r4") _, lateout("r5") _,
                options(readonly, nostack),
            );
        }
        passes != 0
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        // Compiled only to check types.
        !row.is_null() && Slot::Row.mark() != 0
    }
}
