//! Rows that add up in per-CPU maps: the output path of aggregating tracers.

use crate::{Loss, SHARED, add, count_by, counter};
use aya_ebpf::maps::{Array, PerCpuArray, PerCpuHashMap};
use tracers::{Errors, Log2Bytes, Log2Ns, control::FirstHead};

/// Declares `TABLE`. An event whose key finds it full is lost and counted.
#[macro_export]
macro_rules! rows {
    ($key:ty => $value:ty, $max:expr) => {
        #[aya_ebpf::macros::map]
        static ROWS: aya_ebpf::maps::PerCpuHashMap<$key, $value> =
            aya_ebpf::maps::PerCpuHashMap::with_max_entries($max, 0);
        #[aya_ebpf::macros::map]
        static FIRST: aya_ebpf::maps::PerCpuArray<$crate::First<$key, $value>> =
            aya_ebpf::maps::PerCpuArray::with_max_entries(1 << $crate::FIRST_BITS, 0);
        /// One row of zeros: too large for the stack.
        #[aya_ebpf::macros::map]
        static ZEROS: aya_ebpf::maps::Array<$value> = aya_ebpf::maps::Array::with_max_entries(1, 0);
        const TABLE: $crate::Table<'static, $key, $value> = $crate::Table {
            rows: &ROWS,
            first: &FIRST,
            zeros: &ZEROS,
        };
    };
}

/// The row of the first key with a hash on a CPU: an array costs a fraction of a hash map, and most events have few keys.
#[repr(C, align(8))]
pub struct First<K, V> {
    head: FirstHead,
    key: K,
    value: V,
}

/// Base-2 logarithm of the number of first rows.
pub const FIRST_BITS: u32 = 8;

/// Rows by key. The row of a key may be in either map, and each CPU may use another.
pub struct Table<'a, K, V> {
    /// Rows by key.
    pub rows: &'a PerCpuHashMap<K, V>,
    /// Rows by hash.
    pub first: &'a PerCpuArray<First<K, V>>,
    /// Initial value of a row.
    pub zeros: &'a Array<V>,
}

/// A key with the alignment of words, which are compared as a whole.
#[repr(C, align(8))]
struct Aligned<K>(K);

impl<K: Copy, V> Table<'_, K, V> {
    /// Returns this CPU's part of the row of `key`, for an event that counts `weight` times.
    ///
    /// # Errors
    /// If there is no room.
    #[inline(always)]
    pub fn row(&self, key: &K, weight: u64) -> Result<&mut V, Loss> {
        let value = match self.first_row(key) {
            Some(value) => value,
            None => self.hashed_row(key)?,
        };
        if weight > 1 {
            count_by(counter!(weighted), weight - 1);
        }
        // SAFETY: this CPU's own value, in a map that lives as long as the program.
        Ok(unsafe { &mut *value })
    }

    #[inline(always)]
    fn hashed_row(&self, key: &K) -> Result<*mut V, Loss> {
        if let Some(value) = self.rows.get_ptr_mut(key) {
            return Ok(value);
        }
        // If another CPU was first, the insertion fails and the second lookup finds the row.
        let _ = self
            .rows
            .insert(key, self.zeros.get(0).ok_or(Loss::MapFull)?, NO_EXIST);
        self.rows.get_ptr_mut(key).ok_or(Loss::MapFull)
    }

    #[inline(always)]
    fn first_row(&self, key: &K) -> Option<*mut V> {
        const { assert!(size_of::<K>().is_multiple_of(8)) };
        // A program that runs in between could take the same place for another key.
        if SHARED.load() == 1 {
            return None;
        }
        let key = Aligned(*key);
        let words = (&raw const key).cast::<u64>();
        let mut hash = 0u64;
        for word in 0..size_of::<K>() / 8 {
            // SAFETY: the key is aligned and has this many words.
            hash = (hash ^ unsafe { *words.add(word) }).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        let first = self.first.get_ptr_mut((hash >> (64 - FIRST_BITS)) as u32)?;
        // SAFETY: an entry of the map; it is aligned, and so is the key behind its first word.
        let (used, there) = unsafe {
            (
                &raw mut (*first).head.used,
                (&raw mut (*first).key).cast::<u64>(),
            )
        };
        // SAFETY: as above.
        let is_used = unsafe { *used } == 1;
        for word in 0..size_of::<K>() / 8 {
            // SAFETY: as above.
            let (ours, theirs) = unsafe { (*words.add(word), there.add(word)) };
            match is_used {
                // SAFETY: as above.
                true if unsafe { *theirs } != ours => return None,
                true => {}
                // SAFETY: as above.
                false => unsafe { *theirs = ours },
            }
        }
        // After the key, because the reader may read it at any time.
        // SAFETY: as above.
        unsafe { used.write_volatile(1) };
        // SAFETY: as above.
        Some(unsafe { &raw mut (*first).value })
    }
}

/// BPF_NOEXIST, include/uapi/linux/bpf.h: inserts a key only if it is missing.
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

/// Counts a size, `weight` times.
#[inline(always)]
pub fn add_size(histogram: &mut Log2Bytes, bytes: u64, weight: u64) {
    let bucket = crate::clamped::<{ Log2Bytes::LAST }>(Log2Bytes::bucket(bytes));
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
