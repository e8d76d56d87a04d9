//! Recovery of runs that the kernel skips.
//!
//! While a program runs on a CPU, the kernel does not run it there again: not for an interrupt, not for a fault of the program, and not for
//! another task that gets the CPU, which since Linux 7.0 may happen at any tracepoint. This task then loses all its events until the first
//! task continues. So each program has a second one, `…_again`, attached before it, which handles the event if the first program is running
//! on this CPU. `#[program]` makes both. The loader attaches the second one where it is useful, and sets [`AGAIN`].
//!
//! The second program cannot be certain that the first one will be skipped: the task may be preempted between the two, and the first one may
//! be free when it continues. So the second program leaves a mark, and the first one ignores a marked event. Every event is then handled
//! once or counted as skipped: `skipped = runs that the kernel skipped - (taken over - given back)`.

use crate::{add_atomic, count, counter, current};
use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray},
};

/// Whether the second programs are attached.
#[unsafe(no_mangle)]
pub static AGAIN: Global<u8> = Global::new(0);

/// Whether a program of the trace may run on a CPU before another one has ended there.
#[unsafe(no_mangle)]
pub static SHARED: Global<u8> = Global::new(0);

/// Number of distinguished programs: `SLOTS` of `tracers-macros/src/program.rs`. The address of a task has this many unused values.
const SLOTS: u32 = 64;

/// 1 for each program that is running on this CPU.
#[map]
static AT_WORK: PerCpuArray<u64> = PerCpuArray::with_max_entries(SLOTS, 0);
/// Marks, by task and program. A mark that the first program did not remove stays until the task's next event or until its eviction.
#[map]
static MARKS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(1024, 0);
/// Approximate number of marks: it costs less to read than the map.
#[map]
static MARKED: Array<u64> = Array::with_max_entries(1, 0);

#[inline(always)]
fn marked(change: i64) {
    if let Some(marked) = MARKED.get_ptr_mut(0) {
        // SAFETY: an aligned u64 of the map's only entry.
        unsafe { add_atomic(marked, change) };
    }
}

/// Removes the mark of the current task. Returns whether there was one.
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

/// Returns whether the first program handles the event. If so, it is marked as running until [`end`].
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

/// Marks the first program as no longer running.
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

/// Returns whether the second program handles the event.
#[inline(always)]
pub fn take_over(slot: u32) -> bool {
    // The mark of an earlier event that was taken over is no longer needed.
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

/// Adds to a number of this CPU: atomically if another program may do the same at once, which costs 5 ns more.
#[inline(always)]
pub fn add(number: &mut u64, change: u64) {
    match SHARED.load() {
        // SAFETY: an aligned u64, which outlives the call.
        1 => unsafe { add_atomic(core::ptr::from_mut(number), change as i64) },
        _ => *number += change,
    }
}
