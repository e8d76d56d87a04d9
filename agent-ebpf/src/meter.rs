//! What the programs cost, measured by themselves: the kernel's own statistics take CAP_SYS_ADMIN, and tax every program of the host.
//! The reader opens a window now and then; outside it this costs a load and a branch. It goes from where an event turns out to be a
//! target's (`selected`) to where it is booked: whatever is nobody's is let be before anything is measured, which would cost more than it.

use crate::add;
use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::map,
    maps::{Array, PerCpuArray},
};

/// 1 while runs are measured. The reader changes it.
#[map]
static MEASURE: Array<u32> = Array::with_max_entries(1, 0);

/// What the programs took on a CPU while they were measured. The loader reads it as an array of u64 in this order.
#[repr(C)]
struct Cost {
    runs: u64,
    ns: u64,
    /// When the program that is at work began; 0 while none is. Kept here and not on the stack, where the verifier would go through the
    /// program once for each value. One that is interrupted by another loses its time to it.
    since: u64,
}

#[map]
static COST: PerCpuArray<Cost> = PerCpuArray::with_max_entries(1, 0);

#[inline(always)]
fn measured() -> Option<*mut Cost> {
    match MEASURE.get(0) {
        Some(1) => COST.get_ptr_mut(0),
        _ => None,
    }
}

/// The event is a target's.
#[inline(always)]
pub fn started() {
    if let Some(cost) = measured() {
        // SAFETY: an aligned u64 of the map's only entry; the helper only returns a number.
        unsafe { (*cost).since = bpf_ktime_get_ns() };
    }
}

/// The event is booked.
#[inline(always)]
pub fn ended() {
    if let Some(cost) = measured() {
        // SAFETY: as above.
        let cost = unsafe { &mut *cost };
        if cost.since != 0 {
            // SAFETY: the helper only returns a number.
            add(&mut cost.ns, unsafe { bpf_ktime_get_ns() } - cost.since);
            add(&mut cost.runs, 1);
            cost.since = 0;
        }
    }
}
