//! Pending connections, by age and by source.

use super::{Entry, Source};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// All pending connections of a listener. Numbers increase with time, so the smallest number is the oldest connection.
#[derive(Default)]
pub(super) struct Pending {
    entries: BTreeMap<u64, Entry>,
    /// Numbers by source; no set is empty. `None` is the source of peers without an address.
    by_source: BTreeMap<Option<Source>, BTreeSet<u64>>,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn of_source(&self, source: Option<Source>) -> usize {
        self.by_source.get(&source).map_or(0, BTreeSet::len)
    }

    pub(super) fn get(&self, id: u64) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    pub(super) fn insert(&mut self, id: u64, entry: Entry) {
        self.by_source.entry(entry.source()).or_default().insert(id);
        self.entries.insert(id, entry);
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        let source = entry.source();
        if let Some(same) = self.by_source.get_mut(&source) {
            same.remove(&id);
            if same.is_empty() {
                self.by_source.remove(&source);
            }
        }
        Some(entry)
    }

    /// Returns the oldest connection of a source.
    pub(super) fn oldest_of(&self, source: Option<Source>) -> Option<u64> {
        self.by_source.get(&source)?.first().copied()
    }

    /// Returns the oldest connection of the source with the most connections; of several such sources, the oldest connection of all.
    pub(super) fn oldest_of_busiest(&self) -> Option<u64> {
        let sources = self.by_source.values();
        let busiest = sources.max_by_key(|same| (same.len(), Reverse(same.first().copied())));
        busiest?.first().copied()
    }
}
