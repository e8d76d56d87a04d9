//! Rows that add up in a per-CPU map: the way out of aggregating tracers.

use crate::{Loss, add, count_by, counter};
use aya_ebpf::maps::{Array, PerCpuHashMap};
use tracers::{Errors, Log2Ns};

/// Declares `ROWS`, which the loader reads at an interval, and what a new row starts as.
/// A key that finds it full is lost and counted.
#[macro_export]
macro_rules! rows {
    ($key:ty => $value:ty, $max:expr) => {
        #[aya_ebpf::macros::map]
        static ROWS: aya_ebpf::maps::PerCpuHashMap<$key, $value> =
            aya_ebpf::maps::PerCpuHashMap::with_max_entries($max, 0);
        /// One row of zeros: too large for the stack.
        #[aya_ebpf::macros::map]
        static ZEROS: aya_ebpf::maps::Array<$value> = aya_ebpf::maps::Array::with_max_entries(1, 0);
    };
}

/// This CPU's part of the row of `key`, for an event that stands for `weight` of them.
///
/// # Errors
/// Where the map is full.
#[inline(always)]
pub fn row<'a, K, V>(
    rows: &'a PerCpuHashMap<K, V>,
    zeros: &Array<V>,
    key: &K,
    weight: u64,
) -> Result<&'a mut V, Loss> {
    let value = match rows.get_ptr_mut(key) {
        Some(value) => value,
        None => {
            // Another CPU may be first: then the insertion fails and the second look finds the row.
            let _ = rows.insert(key, zeros.get(0).ok_or(Loss::MapFull)?, NO_EXIST);
            rows.get_ptr_mut(key).ok_or(Loss::MapFull)?
        }
    };
    if weight > 1 {
        count_by(counter!(weighted), weight - 1);
    }
    // SAFETY: this CPU's own value.
    Ok(unsafe { &mut *value })
}

/// BPF_NOEXIST, include/uapi/linux/bpf.h: only where the key is not there yet.
pub const NO_EXIST: u64 = 1;

/// Counts a duration, `weight` times.
#[inline(always)]
pub fn add_duration(histogram: &mut Log2Ns, ns: u64, weight: u64) {
    let bucket = crate::clamped::<{ Log2Ns::LAST }>(Log2Ns::bucket(ns));
    // SAFETY: the bucket is in the array.
    add(
        unsafe { &mut *histogram.0.as_mut_ptr().add(bucket) },
        weight,
    );
}

/// Counts an error by its number, `weight` times.
#[inline(always)]
pub fn add_error(errors: &mut Errors, errno: u64, weight: u64) {
    let (last, named) = match errors.0.split_last_mut() {
        Some(split) => split,
        None => return,
    };
    for slot in named {
        if slot.errno == errno || slot.count == 0 {
            slot.errno = errno;
            add(&mut slot.count, weight);
            return;
        }
    }
    add(&mut last.count, weight);
}
