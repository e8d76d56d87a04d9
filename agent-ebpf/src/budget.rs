//! Limits of a trace: sampling when it exceeds its budget, and a share of the ring for every cgroup.

use crate::{Loss, add, now};
use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray},
};

/// Whether [`SAMPLE`] may ever be more than 1.
#[unsafe(no_mangle)]
pub static SAMPLES: Global<u8> = Global::new(0);

/// One of this many events is kept; 0 and 1 keep all. The reader changes it.
#[map]
static SAMPLE: Array<u64> = Array::with_max_entries(1, 0);
/// Number of events on this CPU.
#[map]
static SEEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Returns the number of events that this one stands for. Omitted events are counted as `sampled`.
///
/// # Errors
/// If the event is omitted.
#[inline(always)]
pub fn sample() -> Result<u64, Loss> {
    if SAMPLES.load() == 0 {
        return Ok(1);
    }
    let (Some(of), Some(seen)) = (SAMPLE.get(0), SEEN.get_ptr_mut(0)) else {
        return Ok(1);
    };
    if *of <= 1 {
        return Ok(1);
    }
    // SAFETY: this CPU's own number, an aligned u64.
    let seen = unsafe {
        add(&mut *seen, 1);
        *seen
    };
    match seen % *of {
        0 => Ok(*of),
        _ => Err(Loss::Sampled),
    }
}

/// Bytes in the ring up to which all cgroups may write; 0 is no limit. The rest is reserved for cgroups within their quota.
#[unsafe(no_mangle)]
pub static FREE_FOR_ALL: Global<u64> = Global::new(0);
/// Guaranteed interval of the events of a cgroup, ns: 1 / quota.
#[unsafe(no_mangle)]
pub static QUOTA_NS: Global<u64> = Global::new(1_000_000);
/// Unused quota that a cgroup may accumulate, ns.
const SAVED_NS: u64 = 100_000_000;

/// Time until which each cgroup has used its quota, CLOCK_BOOTTIME: a token bucket. The oldest entry is evicted, and starts again.
#[map]
static QUOTAS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1024, 0);

/// Admits an event of this cgroup to the ring, which contains `waiting` bytes. Called only if there is a limit.
///
/// # Errors
/// If the ring is filling up and the cgroup has used its quota.
#[inline(always)]
pub fn room(cgroup: u64, waiting: u64) -> Result<(), Loss> {
    if waiting < FREE_FOR_ALL.load() {
        return Ok(());
    }
    let now = now();
    let saved = now.saturating_sub(SAVED_NS);
    let used = match QUOTAS.get_ptr_mut(&cgroup) {
        // SAFETY: an aligned u64 of the map. Two CPUs may use the same share at once: a little more than the quota.
        Some(until) => unsafe { &mut *until },
        None => {
            return QUOTAS
                .insert(&cgroup, &(saved + QUOTA_NS.load()), 0)
                .map_err(|_| Loss::OverQuota);
        }
    };
    if *used > now {
        return Err(Loss::OverQuota);
    }
    let from = if *used > saved { *used } else { saved };
    *used = from + QUOTA_NS.load();
    Ok(())
}
