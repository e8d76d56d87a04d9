//! The books: `produced = in the ring or in a row + lost`, per CPU, only growing.

use crate::{add, ended};
use aya_ebpf::{macros::map, maps::PerCpuArray};
use tracers::control::Counters;

/// One entry; never full.
#[map]
pub static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Why an event did not make it. Each is counted once as produced and once by its reason.
#[derive(Clone, Copy)]
pub enum Loss {
    /// The ring was full.
    RingFull,
    /// A map of state or rows was full.
    MapFull,
    /// Memory that the event needs could not be read.
    Unreadable,
    /// Another program of the trace, interrupted at its work, had this CPU's scratch.
    Busy,
    /// The ring was filling up, and its cgroup has had its share.
    OverQuota,
    /// It was left out so that the trace keeps to its budget.
    Sampled,
    /// Its row does not match the filter of the trace.
    Filtered,
}

/// What `?` makes of a failed read of kernel or user memory.
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

/// A pointer to one of the counters.
#[macro_export]
macro_rules! counter {
    ($name:ident) => {
        // SAFETY: `count` gives a pointer to the entry.
        |counters| unsafe { &raw mut (*counters).$name }
    };
}

/// Books the end of an event's way through a program; every program's body goes through here.
/// `Ok(true)`: the event is out. `Ok(false)`: there was none, or it is not finished yet.
#[inline(always)]
pub fn book(outcome: Result<bool, Loss>) {
    book_also(outcome);
    ended();
}

/// Books an event's end in a further dataset, before [`book`]: it is an event of each dataset in which it is, and is lost in each by itself.
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
