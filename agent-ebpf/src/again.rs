//! Programs that are about to be skipped.
//!
//! While a program is at work on a CPU the kernel does not run it there again: not for an interrupt, not for a fault of its own, and not for
//! another task that gets the CPU meanwhile, which since Linux 7.0 may happen at any tracepoint. That task then loses all its events until
//! the first one has the CPU back. So each program has a second one, `…_again`, attached before it, which does its work where the first
//! one is at work here. Both are made by `#[program]`; the loader attaches the second where it is of use, and says so in [`AGAIN`].
//!
//! The second one cannot know for certain that the first will be skipped: the task may lose the CPU between the two, and find the first one
//! free when it is back. So it leaves a mark, with which the first one lets the event be. Every event is then seen once or counted as
//! skipped: `skipped = runs that the kernel skipped - (taken over - given back)`.

use crate::{add_atomic, count, counter, current};
use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray},
};

/// Whether the second programs are there.
#[unsafe(no_mangle)]
pub static AGAIN: Global<u8> = Global::new(0);

/// Whether another program of ours may run on a CPU before the one that is at work there has ended.
#[unsafe(no_mangle)]
pub static SHARED: Global<u8> = Global::new(0);

/// How many programs are told apart: `SLOTS` of `tracers-macros/src/program.rs`. A task's address leaves as many values free.
const SLOTS: u32 = 64;

/// 1 for each program that is at work on this CPU.
#[map]
static AT_WORK: PerCpuArray<u64> = PerCpuArray::with_max_entries(SLOTS, 0);
/// Marks, by task and program. One that the first program did not take stays until the task's next event, or until it is the oldest.
#[map]
static MARKS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(1024, 0);
/// About how many there are: the number costs less to read than the map.
#[map]
static MARKED: Array<u64> = Array::with_max_entries(1, 0);

#[inline(always)]
fn marked(change: i64) {
    if let Some(marked) = MARKED.get_ptr_mut(0) {
        // SAFETY: an aligned u64 of the map's only entry.
        unsafe { add_atomic(marked, change) };
    }
}

/// Takes away the mark of the current task, if there is one.
#[inline(always)]
fn unmark(slot: u32) -> bool {
    // SAFETY: an aligned u64 of the map's only entry.
    let any = MARKED
        .get_ptr(0)
        .is_some_and(|marked| unsafe { *marked } != 0);
    let unmarked = any && MARKS.remove(&key(slot)).is_ok();
    if unmarked {
        marked(-1);
    }
    unmarked
}

/// `task_struct` is aligned to 64 bytes at least (its slab is that of the L1 cache's lines, kernel/fork.c).
#[inline(always)]
fn key(slot: u32) -> u64 {
    current() as u64 | u64::from(slot)
}

/// The program of a hook's own name asks whether the event is its to see; then it is at work until [`end`].
#[inline(always)]
pub fn begin(slot: u32) -> bool {
    if AGAIN.load() == 0 {
        return true;
    }
    at_work(slot, 1);
    if unmark(slot) {
        count(counter!(given_back));
        at_work(slot, 0);
        return false;
    }
    true
}

/// It has seen the event.
#[inline(always)]
pub fn end(slot: u32) {
    if AGAIN.load() == 1 {
        at_work(slot, 0);
    }
}

#[inline(always)]
fn at_work(slot: u32, value: u64) {
    if let Some(at_work) = AT_WORK.get_ptr_mut(slot) {
        // SAFETY: an aligned u64 of the map.
        unsafe { at_work.write_volatile(value) };
    }
}

/// Its second program asks the same.
#[inline(always)]
pub fn take_over(slot: u32) -> bool {
    // Of the task's last event that was taken over; it has done its work.
    unmark(slot);
    let Some(at_work) = AT_WORK.get_ptr(slot) else {
        return false;
    };
    // SAFETY: an aligned u64 of the map.
    if unsafe { at_work.read_volatile() } == 0 || MARKS.insert(&key(slot), &0, 0).is_err() {
        return false;
    }
    marked(1);
    count(counter!(taken_over));
    true
}

/// Adds to a number of this CPU: atomically where another program may do the same meanwhile, which costs 5 ns more.
#[inline(always)]
pub fn add(number: &mut u64, change: u64) {
    match SHARED.load() {
        // SAFETY: an aligned u64, which outlives the call.
        1 => unsafe { add_atomic(core::ptr::from_mut(number), change as i64) },
        _ => *number += change,
    }
}
