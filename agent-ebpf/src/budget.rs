//! What keeps a trace within its bounds: sampling when it costs too much, and room in the ring for everyone.

use crate::{Loss, add, now};
use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray},
};

/// Whether [`SAMPLE`] may ever be more than 1.
#[unsafe(no_mangle)]
pub static SAMPLES: Global<u8> = Global::new(0);

/// Of how many events one is kept; 0 and 1 keep all. The reader changes it.
#[map]
static SAMPLE: Array<u64> = Array::with_max_entries(1, 0);
/// Events of this CPU.
#[map]
static SEEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// How many events this one stands for; every one that is not kept is counted as `sampled`.
///
/// # Errors
/// Where it is left out.
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

/// Bytes in the ring up to which everyone may write; 0 is no limit. What is beyond is for those who keep to their quota.
#[unsafe(no_mangle)]
pub static FREE_FOR_ALL: Global<u64> = Global::new(0);
/// The time in which a cgroup may send one event whatever the others do: 1 / quota.
#[unsafe(no_mangle)]
pub static QUOTA_NS: Global<u64> = Global::new(1_000_000);
/// How much of its quota a cgroup may save up.
const SAVED_NS: u64 = 100_000_000;

/// Until when each cgroup has used its quota, CLOCK_BOOTTIME: a token bucket, by time. The oldest makes room, and begins anew.
#[map]
static QUOTAS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1024, 0);

/// Whether an event of this cgroup may go into the ring, where `waiting` bytes are; only where there is a limit.
///
/// # Errors
/// Where the ring is filling up and the cgroup has had its share.
#[inline(always)]
pub fn room(cgroup: u64, waiting: u64) -> Result<(), Loss> {
    if waiting < FREE_FOR_ALL.load() {
        return Ok(());
    }
    let now = now();
    let saved = now.saturating_sub(SAVED_NS);
    let used = match QUOTAS.get_ptr_mut(&cgroup) {
        // SAFETY: an aligned u64 of the map. Two CPUs at once may both take what is one's: a little more than the quota.
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
