//! The cost of programs, measured by themselves: the kernel's own statistics need CAP_SYS_ADMIN, and slow down every program of the host.
//! The reader opens windows of measurement; outside of them this costs a load and a branch. A measurement starts when an event is selected
//! (`selected`) and ends when it is counted (`book`). Unselected events are not measured, because the measurement would cost more than they do.

use crate::add;
use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::map,
    maps::{Array, PerCpuArray},
};
use tracers::control::Cost;

/// 1 while runs are measured. The reader changes it.
#[map]
static MEASURE: Array<u32> = Array::with_max_entries(1, 0);

#[map]
static COST: PerCpuArray<Cost> = PerCpuArray::with_max_entries(1, 0);

#[inline(always)]
fn measured() -> Option<*mut Cost> {
    match MEASURE.get(0) {
        Some(1) => COST.get_ptr_mut(0),
        _ => None,
    }
}

/// Starts the measurement of a selected event.
#[inline(always)]
pub fn started() {
    if let Some(cost) = measured() {
        // SAFETY: an aligned u64 of the map's only entry; the helper only returns a number.
        unsafe { (*cost).since = bpf_ktime_get_ns() };
    }
}

/// Ends the measurement of an event.
#[inline(always)]
pub fn ended() {
    if let Some(cost) = measured() {
        // SAFETY: as above.
        let cost = unsafe { &mut *cost };
        // Read once: where programs are preempted, another one may end its run between two reads, and clear it.
        // SAFETY: an aligned u64.
        let since = unsafe { core::ptr::from_ref(&cost.since).read_volatile() };
        if since != 0 {
            // SAFETY: the helper only returns a number.
            add(&mut cost.ns, unsafe { bpf_ktime_get_ns() } - since);
            add(&mut cost.runs, 1);
            cost.since = 0;
        }
    }
}
