//! The account: `produced = in the ring or in a row + lost`, per CPU. The numbers only grow.

use crate::{add, ended};
use aya_ebpf::{macros::map, maps::PerCpuArray};
use tracers::control::Counters;

/// One entry; never full.
#[map]
pub static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Reason of a lost or omitted event. Each event is counted once as produced and once by its reason.
#[derive(Clone, Copy)]
pub enum Loss {
    /// The ring was full.
    RingFull,
    /// A map of state or rows was full.
    MapFull,
    /// Memory that the event needs could not be read.
    Unreadable,
    /// An interrupted program of the trace was using this CPU's scratch memory.
    Busy,
    /// The ring was filling up, and the cgroup of the event had used its quota.
    OverQuota,
    /// The event was omitted to keep the trace within its budget.
    Sampled,
    /// The row does not match the filter of the trace.
    Filtered,
}

/// Conversion of a failed read of kernel or user memory by `?`.
impl From<i32> for Loss {
    #[inline(always)]
    fn from(_: i32) -> Self {
        Self::Unreadable
    }
}

/// Adds one to one of this CPU's counters.
#[inline(always)]
pub fn count(which: impl FnOnce(*mut Counters) -> *mut u64) {
    count_by(which, 1);
}

/// Adds to one of this CPU's counters.
#[inline(always)]
pub fn count_by(which: impl FnOnce(*mut Counters) -> *mut u64, by: u64) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: an aligned u64 of the map's only entry, which lives as long as the program.
        add(unsafe { &mut *which(counters) }, by);
    }
}

/// Returns a pointer to one of the counters.
#[macro_export]
macro_rules! counter {
    ($name:ident) => {
        // SAFETY: `count` gives a pointer to the entry.
        |counters| unsafe { &raw mut (*counters).$name }
    };
}

/// Counts the outcome of an event. Every program calls it once, after the event has changed its rows: the reader skips the reading of a table
/// while the counts are the same.
/// `Ok(true)`: the event is in the ring or in its rows. `Ok(false)`: no event, or an incomplete one; no row was changed.
#[inline(always)]
pub fn book(outcome: Result<bool, Loss>) {
    book_also(outcome);
    ended();
}

/// Counts the outcome of an event in a further dataset, before [`book`]: an event counts, or is lost, in each of its datasets.
#[inline(always)]
pub fn book_also(outcome: Result<bool, Loss>) {
    match outcome {
        Ok(false) => {}
        Ok(true) => count(counter!(produced)),
        Err(loss) => {
            count(counter!(produced));
            match loss {
                Loss::RingFull => count(counter!(ring_full)),
                Loss::MapFull => count(counter!(map_full)),
                Loss::Unreadable => count(counter!(unreadable)),
                Loss::Busy => count(counter!(busy)),
                Loss::OverQuota => count(counter!(over_quota)),
                Loss::Sampled => count(counter!(sampled)),
                Loss::Filtered => count(counter!(filtered)),
            }
        }
    }
}
