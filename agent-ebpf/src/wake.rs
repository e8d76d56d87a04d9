//! Wakes the reader, which sleeps while nothing comes: `engine/src/run/rest.rs` has its side.
//!
//! The reader writes the number of its sleep, programs read it: whoever sees a sleep from which nobody has woken it does so, and notes that
//! when it has succeeded. Plain loads and stores do, on every kernel (5.10 has no atomic exchange): a number is noted only after the reader
//! has been woken from that very sleep, so the worst that a race brings is a second wake-up.

use crate::EVENTS;
use aya_ebpf::{
    bindings::BPF_RB_FORCE_WAKEUP, helpers::generated::bpf_ringbuf_output, macros::map, maps::Array,
};
use tracers::control::{SLEEP_NOW, SLEEP_WAKES, SLEEP_WOKEN, Sleep};

/// In which sleep the reader is. It changes it by its own mapping.
#[map]
static SLEEP: Array<Sleep> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// include/uapi/linux/bpf.h.
pub(crate) const BPF_F_MMAPABLE: u32 = 1 << 10;

/// The number of a sleep from which the reader has to be woken; 0 where nobody has to.
#[inline(always)]
pub(crate) fn asleep() -> u32 {
    let Some(sleep) = SLEEP.get_ptr_mut(0) else {
        return 0;
    };
    let sleep = sleep.cast::<u32>();
    // SAFETY: aligned words of the map's only entry.
    let (now, woken) = unsafe { (sleep.add(SLEEP_NOW), sleep.add(SLEEP_WOKEN)) };
    // SAFETY: as above.
    let (now, woken) = unsafe { (now.read_volatile(), woken.read_volatile()) };
    // While it is awake the first is 0.
    if now == woken { 0 } else { now }
}

/// The flags of a record that has to wake the reader from that sleep, if from any.
#[inline(always)]
pub(crate) fn waking(flags: u64, sleep: u32) -> u64 {
    const { assert!(SLEEP_WAKES as u64 == BPF_RB_FORCE_WAKEUP as u64) };
    flags | u64::from(sleep & SLEEP_WAKES)
}

/// The reader has been woken from that sleep, if from any: what wakes it is in the ring.
#[inline(always)]
pub(crate) fn woken(sleep: u32) {
    if sleep != 0
        && let Some(words) = SLEEP.get_ptr_mut(0)
    {
        // SAFETY: an aligned word of the map's only entry.
        unsafe { words.cast::<u32>().add(SLEEP_WOKEN).write_volatile(sleep) };
    }
}

/// Wakes the reader, where it sleeps, by a record without a byte: something other than rows has come.
#[inline(always)]
pub fn wake() {
    let sleep = asleep();
    if sleep == 0 {
        return;
    }
    // SAFETY: nothing is read of the word.
    let sent = unsafe {
        bpf_ringbuf_output(
            core::ptr::from_ref(&EVENTS).cast_mut().cast(),
            core::ptr::from_ref(&sleep).cast_mut().cast(),
            0,
            BPF_RB_FORCE_WAKEUP as u64,
        )
    };
    // A ring without room has what wakes it already.
    if sent == 0 {
        woken(sleep);
    }
}
