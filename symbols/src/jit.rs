//! Names code without a file, by the perf map of who compiled it.

use super::{
    Symbolizer,
    link::AskError,
    name::{ADDRESSES_MAX, ASK_LIMIT, OPEN_LIMIT, TRIES_MAX},
    open::{bytes_now, open_held},
    wire::{Found, Key, Reply, Request, Source},
};
use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

/// A perf map that does not have an address is read again if it has grown, but not more often than this.
const PERF_MAP_AGAIN: Duration = Duration::from_secs(1);

impl Symbolizer {
    pub(super) fn name_in_perf_map(&mut self, pid: u32, addresses: &[u64]) {
        for addresses in addresses.chunks(ADDRESSES_MAX) {
            if self.is_late() {
                return;
            }
            let Some((key, found)) = self.ask_of_perf_map(pid, addresses) else {
                return;
            };
            for (address, found) in addresses.iter().zip(found) {
                // What has no name may get one, when the map has grown.
                if !found.is_empty() {
                    let frames = self.take(found, "[jit]");
                    self.remember((key, *address), frames);
                }
            }
        }
    }

    fn ask_of_perf_map(&mut self, pid: u32, addresses: &[u64]) -> Option<(Key, Vec<Vec<Found>>)> {
        for _ in 0..TRIES_MAX {
            let map = self
                .processes
                .get(pid)?
                .perf_map
                .as_ref()
                .filter(|map| !map.bad)?;
            let key = map.key;
            let request = Request::Resolve {
                key,
                addresses: addresses.to_vec(),
            };
            let reply = match map.read_bytes {
                Some(_) => self.link.ask(&request, &[], ASK_LIMIT),
                None => self.load_perf_map(pid)?,
            };
            let grown = match &reply {
                Ok(Reply::Resolved(found)) if found.len() == addresses.len() => {
                    found.iter().any(Vec::is_empty) && self.has_grown(pid)
                }
                _ => false,
            };
            let map = self.processes.get_mut(pid)?.perf_map.as_mut()?;
            match reply {
                Ok(Reply::Resolved(found)) if found.len() == addresses.len() && !grown => {
                    return Some((key, found));
                }
                Ok(Reply::Resolved(_) | Reply::NotLoaded) => map.read_bytes = None,
                Ok(Reply::Loaded { .. }) => {}
                _ => {
                    map.bad = true;
                    self.counts.failures += 1;
                    return None;
                }
            }
        }
        None
    }

    fn load_perf_map(&mut self, pid: u32) -> Option<Result<Reply, AskError>> {
        let map = self.processes.get_mut(pid)?.perf_map.as_mut()?;
        let (key, held) = (map.key, map.fd.clone());
        let opened = self.time_limit.run(OPEN_LIMIT, move || {
            let file = open_held(held.as_fd()).ok()?;
            Some((bytes_now(&held)?, file))
        });
        let (bytes, file) = opened.ok()??;
        let request = Request::Load {
            key,
            source: Source::PerfMap,
        };
        let reply = self.link.ask(&request, &[file.as_fd()], ASK_LIMIT);
        self.time_limit.discard(file);
        let map = self.processes.get_mut(pid)?.perf_map.as_mut()?;
        map.read_bytes = Some(bytes);
        map.looked = Some(Instant::now());
        Some(reply)
    }

    fn has_grown(&mut self, pid: u32) -> bool {
        let Some(map) = self
            .processes
            .get_mut(pid)
            .and_then(|process| process.perf_map.as_mut())
        else {
            return false;
        };
        if map
            .looked
            .is_some_and(|looked| looked.elapsed() < PERF_MAP_AGAIN)
        {
            return false;
        }
        map.looked = Some(Instant::now());
        let (read, held) = (map.read_bytes, map.fd.clone());
        let now = self.time_limit.run(OPEN_LIMIT, move || bytes_now(&held));
        now.is_ok_and(|now| now != read)
    }
}
