//! Wake-up of the reader, which sleeps while no records arrive. The reader's side is `engine/src/run/rest.rs`.
//!
//! The reader writes the number of its sleep, and programs read it. A program that finds the number of a sleep without a wake-up wakes the
//! reader, and then notes the number. Plain loads and stores are enough (5.10 has no atomic exchange): a number is noted only after a wake-up
//! from that sleep, so the worst result of a race is a second wake-up.

use crate::EVENTS;
use aya_ebpf::{
    bindings::BPF_RB_FORCE_WAKEUP, helpers::generated::bpf_ringbuf_output, macros::map, maps::Array,
};
use tracers::control::{SLEEP_NOW, SLEEP_WAKES, SLEEP_WOKEN, Sleep};

/// State of the reader's sleep. The reader changes it through a mapping.
#[map]
static SLEEP: Array<Sleep> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// include/uapi/linux/bpf.h.
pub(crate) const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Returns the number of the sleep from which the reader must be woken; 0 if it is awake or was woken already.
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
    // `now` is 0 while the reader is awake.
    if now == woken { 0 } else { now }
}

/// Returns the flags of a record that wakes the reader from this sleep; unchanged for 0.
#[inline(always)]
pub(crate) fn waking(flags: u64, sleep: u32) -> u64 {
    const { assert!(SLEEP_WAKES as u64 == BPF_RB_FORCE_WAKEUP as u64) };
    flags | u64::from(sleep & SLEEP_WAKES)
}

/// Notes that the reader was woken from this sleep; does nothing for 0. The record that wakes it is in the ring.
#[inline(always)]
pub(crate) fn woken(sleep: u32) {
    if sleep != 0
        && let Some(words) = SLEEP.get_ptr_mut(0)
    {
        // SAFETY: an aligned word of the map's only entry.
        unsafe { words.cast::<u32>().add(SLEEP_WOKEN).write_volatile(sleep) };
    }
}

/// Wakes a sleeping reader by an empty record, for a change that has no row.
#[inline(always)]
pub fn wake() {
    let sleep = asleep();
    if sleep == 0 {
        return;
    }
    // SAFETY: zero bytes of the word are read.
    let sent = unsafe {
        bpf_ringbuf_output(
            core::ptr::from_ref(&EVENTS).cast_mut().cast(),
            core::ptr::from_ref(&sleep).cast_mut().cast(),
            0,
            BPF_RB_FORCE_WAKEUP as u64,
        )
    };
    // A full ring contains a record that has woken the reader.
    if sent == 0 {
        woken(sleep);
    }
}
