//! A selection map, and the counts in front of it.

use crate::bpf::{self, Shared};
use std::{io, os::fd::BorrowedFd, sync::atomic::Ordering};
use tracers::control::{CHOSEN_CGROUPS, CHOSEN_EACH, CHOSEN_PROCESSES, Chosen};

/// Number of counts of all maps.
pub(crate) const CHOSEN: usize = size_of::<Chosen>() / size_of::<u32>();

/// A map of the selection.
#[derive(Clone, Copy)]
pub(crate) struct Members<'a> {
    pub(crate) map: BorrowedFd<'a>,
    /// The counts of the map and their kind, if the map has counts.
    pub(crate) counts: Option<(&'a Shared, Counts)>,
}

/// The map of some counts.
#[derive(Clone, Copy)]
pub(crate) enum Counts {
    Processes = CHOSEN_PROCESSES as isize,
    Cgroups = CHOSEN_CGROUPS as isize,
}

impl Members<'_> {
    /// Inserts a key. It is counted first, so that a program that runs at the same time looks it up. A key that existed already is counted
    /// twice, which costs programs unnecessary lookups.
    pub(crate) fn insert(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.count(key, 1);
        let inserted = bpf::update(self.map, key, value);
        if inserted.is_err() {
            self.count(key, -1);
        }
        inserted
    }

    /// Removes a key. A missing key is no error.
    pub(crate) fn remove(&self, key: &[u8]) -> io::Result<()> {
        if bpf::delete(self.map, key)? {
            self.count(key, -1);
        }
        Ok(())
    }

    fn count(&self, key: &[u8], change: i32) {
        let low = key
            .first_chunk()
            .map_or(0, |bytes| u16::from_ne_bytes(*bytes));
        let at = usize::from(low) % CHOSEN_EACH;
        if let Some((counts, whose)) = self.counts
            && let Some(count) = counts.get(whose as usize + at)
        {
            count.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
        }
    }
}
