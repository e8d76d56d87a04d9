//! Rows that all CPUs share, with values that grow and shrink: the output path of tables of current values.
//!
//! There are two maps. Programs add to one of them. The reader empties the other one when no program uses it any more, and adds its rows to
//! the table in user space. So no change is lost, a map contains only the changes since it was emptied, and a row that is zero again needs
//! no memory.

use crate::{Loss, NO_EXIST, add_atomic, count, counter};
use aya_ebpf::maps::{Array, HashMap};
use tracers::Log2Ns;

/// Declares `TABLE`. An event whose key finds it full is lost and counted.
#[macro_export]
macro_rules! shared_rows {
    ($key:ty => $value:ty, $max:expr) => {
        #[aya_ebpf::macros::map]
        static SHARED_A: aya_ebpf::maps::HashMap<$key, $value> =
            aya_ebpf::maps::HashMap::with_max_entries($max, 0);
        #[aya_ebpf::macros::map]
        static SHARED_B: aya_ebpf::maps::HashMap<$key, $value> =
            aya_ebpf::maps::HashMap::with_max_entries($max, 0);
        /// Index of the map that programs add to: 0 or 1. The reader changes it.
        #[aya_ebpf::macros::map]
        static SIDE: aya_ebpf::maps::Array<u64> = aya_ebpf::maps::Array::with_max_entries(1, 0);
        /// One row of zeros: too large for the stack.
        #[aya_ebpf::macros::map]
        static ZEROS: aya_ebpf::maps::Array<$value> = aya_ebpf::maps::Array::with_max_entries(1, 0);
        const TABLE: $crate::SharedTable<'static, $key, $value> = $crate::SharedTable {
            sides: [&SHARED_A, &SHARED_B],
            side: &SIDE,
            zeros: &ZEROS,
        };
    };
}

/// Rows by key, the same for all CPUs.
pub struct SharedTable<'a, K, V> {
    /// Rows by key; programs use one of the two maps.
    pub sides: [&'a HashMap<K, V>; 2],
    /// Index of the map in use.
    pub side: &'a Array<u64>,
    /// Initial value of a row.
    pub zeros: &'a Array<V>,
}

/// A row to which any CPU may add at the same time.
pub struct SharedRow<V>(*mut V);

impl<K, V> SharedTable<'_, K, V> {
    /// Returns the row of `key`.
    ///
    /// # Errors
    /// If there is no room.
    #[inline(always)]
    pub fn row(&self, key: &K) -> Result<SharedRow<V>, Loss> {
        let side = self.side.get_ptr(0).ok_or(Loss::MapFull)?;
        // SAFETY: an aligned u64 of the map's only entry.
        let rows = match unsafe { side.read_volatile() } {
            0 => self.sides[0],
            _ => self.sides[1],
        };
        if let Some(value) = rows.get_ptr_mut(key) {
            return Ok(SharedRow(value));
        }
        // If another CPU was first, the insertion fails and the second lookup finds the row.
        let _ = rows.insert(key, self.zeros.get(0).ok_or(Loss::MapFull)?, NO_EXIST);
        rows.get_ptr_mut(key).map(SharedRow).ok_or(Loss::MapFull)
    }
}

impl<V> SharedRow<V> {
    /// Adds to one of its values, or subtracts from it: `row.add(counter!(used_bytes), -4096)`.
    #[inline(always)]
    pub fn add<N>(&self, of: impl FnOnce(*mut V) -> *mut N, change: i64) {
        const { assert!(size_of::<N>() == 8 && align_of::<N>() == 8) };
        // SAFETY: an aligned word of an entry of the map, which lives as long as the program.
        unsafe { add_atomic(of(self.0).cast(), change) };
    }

    /// Counts a duration in one of its histograms, `weight` times.
    #[inline(always)]
    pub fn add_duration(&self, of: impl FnOnce(*mut V) -> *mut Log2Ns, ns: u64, weight: u64) {
        let bucket = crate::clamped::<{ Log2Ns::LAST }>(Log2Ns::bucket(ns));
        // SAFETY: the bucket is in the histogram, which is one of an entry of the map.
        unsafe { add_atomic(of(self.0).cast::<u64>().add(bucket), weight as i64) };
    }
}

/// Returns the outcome of an event that is in all its rows, and counts it.
#[inline(always)]
pub fn folded() -> Result<bool, Loss> {
    count(counter!(folded));
    Ok(true)
}
