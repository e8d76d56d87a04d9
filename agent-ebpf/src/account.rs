//! The books: `produced = in the ring or in a row + lost`, per CPU, only growing.

use aya_ebpf::{macros::map, maps::PerCpuArray};

/// Counts of one CPU. The loader reads them as an array of u64 in this order.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Counters {
    /// Events that selection and options let through.
    pub produced: u64,
    /// Events that found the ring full.
    pub ring_full: u64,
    /// Events that found a map of state or rows full.
    pub map_full: u64,
    /// Events whose memory could not be read.
    pub unreadable: u64,
    /// Rows whose stack found no room.
    pub stacks_missing: u64,
}

/// One entry; never full.
#[map]
pub static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Why an event did not make it. Each is counted once as produced and once as lost.
#[derive(Clone, Copy)]
pub enum Loss {
    /// The ring was full.
    RingFull,
    /// A map of state or rows was full.
    MapFull,
    /// Memory that the event needs could not be read.
    Unreadable,
}

/// What `?` makes of a failed read of kernel or user memory.
impl From<i32> for Loss {
    #[inline(always)]
    fn from(_: i32) -> Self {
        Self::Unreadable
    }
}

/// Changes this CPU's counters.
#[inline(always)]
pub fn count(change: impl FnOnce(&mut Counters)) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: the entry is this CPU's own, and a tracing program is not preempted by another on its CPU that writes the same counter.
        change(unsafe { &mut *counters });
    }
}

/// Books the end of an event's way through a program; every program's body goes through here.
/// `Ok(true)`: the event is out. `Ok(false)`: there was none, or it is not finished yet.
#[inline(always)]
pub fn book(outcome: Result<bool, Loss>) {
    match outcome {
        Ok(false) => {}
        Ok(true) => count(|c| c.produced += 1),
        Err(loss) => count(|c| {
            c.produced += 1;
            match loss {
                Loss::RingFull => c.ring_full += 1,
                Loss::MapFull => c.map_full += 1,
                Loss::Unreadable => c.unreadable += 1,
            }
        }),
    }
}
