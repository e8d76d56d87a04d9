//! The shared parts of all kernel programs: selection, output path, account, kernel fields by name.
//!
//! Unsafe code that several tracers need is here, so that a tracer's own file has little of it.
//! Nothing in this folder knows a policy, and no event is lost uncounted.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

// `#[program]` names this crate, also here.
extern crate self as agent_ebpf;

mod account;
mod again;
mod budget;
mod calls;
mod claim;
mod context;
mod emit;
mod field;
mod group;
mod meter;
mod mm;
mod mptcp;
mod pass;
mod path;
mod regs;
mod rows;
mod sched;
mod select;
mod shared_table;
mod slot;
mod snapshot;
mod sock;
mod stack;
mod task;
mod tick;
mod unwind;
mod user_probe;
mod wait;
mod wake;

pub use account::*;
pub use again::*;
pub use budget::*;
pub use calls::*;
pub use claim::*;
pub use context::*;
pub use emit::*;
pub use field::*;
pub use group::*;
pub use meter::*;
pub use mm::*;
pub use pass::*;
pub use path::*;
pub use regs::*;
pub use rows::*;
pub use sched::*;
pub use select::*;
pub use shared_table::*;
pub use slot::*;
pub use snapshot::*;
pub use sock::*;
pub use stack::*;
pub use task::*;
pub use tick::*;
pub use unwind::*;
pub use user_probe::*;
pub use wait::*;
pub use wake::*;

/// Keeps `value` below a power of two in a way that the verifier sees: LLVM drops a mask that it thinks needless,
/// and then the verifier, which forgets ranges over spills, refuses the access.
#[inline(always)]
pub fn masked<const MASK: usize>(value: usize) -> usize {
    const { assert!((MASK + 1).is_power_of_two()) };
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: one `and` of a register with a constant.
        unsafe {
            core::arch::asm!("{v} &= {mask}", v = inout(reg) value, mask = const MASK);
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        value & MASK
    }
}

/// Keeps `value` at `MAX` or below in a way that the verifier sees; for sizes that are no power of two.
#[inline(always)]
pub fn clamped<const MAX: usize>(value: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: one compare and one move of a register.
        unsafe {
            core::arch::asm!(
                "if {v} < {max} goto +1", "{v} = {max}",
                v = inout(reg) value, max = const MAX,
            );
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        if value > MAX { MAX } else { value }
    }
}

/// Always 0, which the verifier does not know.
#[aya_ebpf::macros::map]
static NOTHING: aya_ebpf::maps::Array<u64> = aya_ebpf::maps::Array::with_max_entries(1, 0);

/// Returns the number, and makes the verifier forget its value: paths that differ only in this number are verified once from there on.
#[inline(always)]
pub fn forget(number: u64) -> u64 {
    match NOTHING.get(0) {
        // Added: of a number that is combined by "or", it would still know the bits that are set.
        // SAFETY: an aligned u64 of the map's only entry.
        Some(nothing) => number.wrapping_add(unsafe { core::ptr::read_volatile(nothing) }),
        // It exists. For the verifier, this path has one number too.
        None => 0,
    }
}

/// Adds to a number that other CPUs change too. It gives nothing back: that would take 5.12.
///
/// # Safety
/// `number` points to an aligned u64 in a map.
#[inline(always)]
pub unsafe fn add_atomic(number: *mut u64, change: i64) {
    #[cfg(target_arch = "bpf")]
    {
        // SAFETY: ensured by the caller.
        unsafe {
            core::arch::asm!("lock *(u64 *)({n} + 0) += {c}", n = in(reg) number, c = in(reg) change);
        }
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        // SAFETY: ensured by the caller; this is compiled only to check types.
        unsafe { *number = (*number).wrapping_add_signed(change) }
    }
}

/// The same of a u32.
///
/// # Safety
/// `number` points to an aligned u32 in a map.
#[inline(always)]
pub unsafe fn add_atomic_u32(number: *mut u32, change: i32) {
    #[cfg(target_arch = "bpf")]
    {
        // SAFETY: ensured by the caller.
        unsafe {
            core::arch::asm!("lock *(u32 *)({n} + 0) += {c}", n = in(reg) number, c = in(reg) i64::from(change));
        }
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        // SAFETY: ensured by the caller; this is compiled only to check types.
        unsafe { *number = (*number).wrapping_add_signed(change) }
    }
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel gives most helpers only to programs under its own licence, by a list of words of which "Apache" is none
/// (include/linux/license.h): this folder is under either, and the kernel takes it under the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
