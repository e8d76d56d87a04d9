//! Memory of one CPU that one program at a time may use.
//!
//! The kernel never runs a program on a CPU where it is at work already, but it may interrupt one and run another there:
//! in an interrupt, for a fault of the first, or for another task where programs are preempted
//! (fentry and fexit everywhere, tracepoints from 7.0 on).

use crate::{AGAIN, add_atomic};
use aya_ebpf::maps::PerCpuArray;

/// Claimable memory, with the number of programs that are claiming it.
#[repr(C, align(8))]
pub struct Claimable<T> {
    claims: u64,
    value: T,
}

/// A claim that was granted; given back when it is dropped.
pub struct Claim(*mut u64);

impl Drop for Claim {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: `claim` made it of a number in a map, which lives as long as the program.
        unsafe { add_atomic(self.0, -1) };
    }
}

/// Entries of every map that is claimed from. Where tasks do not lose the CPU in a program, the loader leaves one.
pub const CLAIMS: u32 = 4;

/// Claims one of this CPU's entries; `None` while other programs have them all.
#[inline(always)]
pub fn claim<T>(of: &PerCpuArray<Claimable<T>>) -> Option<(Claim, *mut T)> {
    // Where no task loses the CPU in a program, one is enough but for what an interrupt interrupts.
    if AGAIN.load() == 0 {
        return claim_entry(of, 0);
    }
    let is_ours = |entry: &u32| claim_entry(of, *entry).map(core::mem::forget).is_some();
    let entry = (0..CLAIMS).find(is_ours)?;
    // The verifier would follow the memory of each entry by itself, through the rest of the program.
    of.get_ptr_mut(crate::forget(entry.into()) as u32)
        .map(granted)
}

#[inline(always)]
fn claim_entry<T>(of: &PerCpuArray<Claimable<T>>, entry: u32) -> Option<(Claim, *mut T)> {
    let (claim, value) = granted(of.get_ptr_mut(entry)?);
    let claims = claim.0;
    // SAFETY: an aligned u64 of the entry.
    unsafe { add_atomic(claims, 1) };
    // A program that finds only its own claim has the memory: of two at once, at most one does.
    // (An atomic exchange would be a single step, but needs 5.12.)
    // SAFETY: as above.
    match unsafe { core::ptr::read_volatile(claims) } {
        1 => Some((claim, value)),
        // Given back here.
        _ => None,
    }
}

/// Returns the claim of an entry, and its memory.
#[inline(always)]
fn granted<T>(entry: *mut Claimable<T>) -> (Claim, *mut T) {
    // SAFETY: the entry's own fields.
    let (claims, value) = unsafe { (&raw mut (*entry).claims, &raw mut (*entry).value) };
    (Claim(claims), value)
}
