//! A map of what is selected, and the counts in front of it.

use crate::bpf::{self, Shared};
use std::{io, os::fd::BorrowedFd, sync::atomic::Ordering};
use tracers::control::{CHOSEN_CGROUPS, CHOSEN_EACH, CHOSEN_PROCESSES, Chosen};

/// How many counts there are of all maps.
pub(crate) const CHOSEN: usize = size_of::<Chosen>() / size_of::<u32>();

/// One of the maps by which the kernel side selects.
#[derive(Clone, Copy)]
pub(crate) struct Members<'a> {
    pub(crate) map: BorrowedFd<'a>,
    /// Where its counts begin, of a map that has some.
    pub(crate) counts: Option<(&'a Shared, Counts)>,
}

/// Whose counts.
#[derive(Clone, Copy)]
pub(crate) enum Counts {
    Processes = CHOSEN_PROCESSES as isize,
    Cgroups = CHOSEN_CGROUPS as isize,
}

impl Members<'_> {
    /// Before a key is there, so that a program that comes meanwhile looks for it. Where it was there already it is counted twice,
    /// and programs look once too often.
    pub(crate) fn insert(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.count(key, 1);
        let inserted = bpf::update(self.map, key, value);
        if inserted.is_err() {
            self.count(key, -1);
        }
        inserted
    }

    /// Nothing happens where it is not there.
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
