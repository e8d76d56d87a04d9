//! Finds out where addresses lie, and asks the worker for names of those that have none yet.

use super::{
    OBSERVE_AGAIN, RESOLVED_MAX, Symbolizer, UserAddr,
    files::FileId,
    frames::{Frame, FrameId},
    link::AskError,
    open::{bytes_now, open_held},
    processes::What,
    wire::{Detail, Found, Key, Reply, Request, Source},
};
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long opening a held file may take.
pub(super) const OPEN_LIMIT: Duration = Duration::from_secs(1);
/// How long one question about a file may take, with debug information and without. Together, and with the opening, a file is
/// given up after 6 seconds at most; whoever hides behind it has [`FAILURES_MAX`] tries.
const LINES_LIMIT: Duration = Duration::from_secs(3);
const NAMES_LIMIT: Duration = Duration::from_secs(2);
/// Addresses per question.
const ADDRESSES_MAX: usize = 1024;
/// Files of one origin that may make the worker fail. After that, no file of that origin is read any more.
const FAILURES_MAX: u32 = 12;
/// Questions for one answer, whatever happens: each try is a loading and a resolving, and there is one with lines, one more if its
/// worker was lost, and one with names; and room for a worker that had to forget the file.
const TRIES_MAX: usize = 8;
/// A perf map that does not have an address is read again if it has grown, but not more often than this.
const PERF_MAP_AGAIN: Duration = Duration::from_secs(1);

/// Where an address lies.
#[derive(Clone, Debug)]
pub(super) enum Spot {
    File { id: FileId, offset: u64 },
    Jit { key: Key, address: u64 },
    Lost { path: Arc<str>, offset: u64 },
    BuildId { id: [u8; 20], offset: u64 },
    Anonymous { address: u64 },
    Nowhere { address: u64 },
}

impl Symbolizer {
    /// Where each address of the stack lies. Observes the process if need be.
    pub(super) fn spots(&mut self, pid: u32, stack: &[UserAddr]) -> Vec<Spot> {
        self.used = Instant::now();
        let has_ips = stack.iter().any(|addr| matches!(addr, UserAddr::Ip(_)));
        if has_ips && self.processes.get(pid).is_none() {
            // If it fails, the frames say so.
            let _ = self.observe(pid);
        }
        let spots = self.spots_as_known(pid, stack);
        let lost = |spot: &Spot| match spot {
            Spot::Nowhere { .. } => true,
            Spot::File { id, .. } => !self.is_within_reach(*id),
            _ => false,
        };
        let old = self
            .processes
            .get(pid)
            .is_some_and(|process| process.observed.elapsed() >= OBSERVE_AGAIN);
        if old && spots.iter().any(lost) && self.observe(pid).is_ok() {
            return self.spots_as_known(pid, stack);
        }
        spots
    }

    fn spots_as_known(&mut self, pid: u32, stack: &[UserAddr]) -> Vec<Spot> {
        let addresses = stack.iter().enumerate();
        addresses
            .map(|(index, addr)| {
                // A caller is at its call, which ends one byte before where it goes on. What follows may be another function.
                let back = u64::from(index > 0);
                match *addr {
                    UserAddr::Ip(address) => self.spot_of_ip(pid, address.saturating_sub(back)),
                    UserAddr::BuildId { id, offset } => self.spot_of_build_id(pid, id, offset.saturating_sub(back)),
                }
            })
            .collect()
    }

    fn spot_of_ip(&mut self, pid: u32, address: u64) -> Spot {
        let Some(process) = self.processes.get(pid) else {
            return Spot::Nowhere { address };
        };
        let Some((what, offset)) = process.at(address) else {
            return Spot::Nowhere { address };
        };
        match what {
            What::File(id) => Spot::File { id: *id, offset },
            What::Lost(path) => Spot::Lost {
                path: path.clone(),
                offset,
            },
            What::Anonymous => match &process.perf_map {
                Some(map) => Spot::Jit { key: map.key, address },
                None => Spot::Anonymous { address },
            },
            What::Vdso => match self.vdso() {
                Some(id) => Spot::File { id, offset },
                None => Spot::Lost {
                    path: "[vdso]".into(),
                    offset,
                },
            },
        }
    }

    /// The process's own file comes first: a build id is only what a file says of itself.
    fn spot_of_build_id(&self, pid: u32, id: [u8; 20], offset: u64) -> Spot {
        let own = self.processes.get(pid).and_then(|process| {
            let mut files = process.files.values();
            files.find(|file| self.files.get(**file).build_id == Some(id)).copied()
        });
        match own.or_else(|| self.files.by_build_id(&id)) {
            Some(id) => Spot::File { id, offset },
            None => Spot::BuildId { id, offset },
        }
    }

    /// Asks for names of all spots that have none.
    pub(super) fn name_spots(&mut self, pid: u32, spots: &[Spot]) {
        let mut in_files: HashMap<FileId, HashSet<u64>> = HashMap::new();
        let mut in_jit: HashMap<Key, HashSet<u64>> = HashMap::new();
        let mut missing = 0;
        for spot in spots {
            let new = match spot {
                Spot::File { id, offset } => {
                    let known = self.resolved.contains_key(&(self.files.key(*id), *offset));
                    !known && in_files.entry(*id).or_default().insert(*offset)
                }
                Spot::Jit { key, address } => {
                    let known = self.resolved.contains_key(&(*key, *address));
                    !known && in_jit.entry(*key).or_default().insert(*address)
                }
                _ => false,
            };
            missing += usize::from(new);
        }
        if missing > 0 && self.resolved.len() + missing > RESOLVED_MAX {
            self.resolved.clear();
            // What the other spots have is lost with it: all are asked for.
            return self.name_spots(pid, spots);
        }
        for (id, offsets) in in_files {
            self.name_in_file(id, &sorted(offsets));
        }
        for (_, addresses) in in_jit {
            self.name_in_perf_map(pid, &sorted(addresses));
        }
    }

    /// Adds the frames of a spot, as they are known.
    pub(super) fn push_frames(&mut self, spot: &Spot, frames: &mut Vec<FrameId>) {
        let key = match spot {
            Spot::File { id, offset } => Some((self.files.key(*id), *offset)),
            Spot::Jit { key, address } => Some((*key, *address)),
            _ => None,
        };
        if let Some(resolved) = key.and_then(|key| self.resolved.get(&key)) {
            frames.extend_from_slice(resolved);
            return;
        }
        let frame = match spot {
            Spot::File { id, offset } => self.unnamed_in_file(*id, *offset),
            Spot::Lost { path, offset } => self.unnamed(&path.clone(), *offset),
            Spot::BuildId { id, offset } => {
                let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
                self.unnamed(&format!("[build id {id}]"), *offset)
            }
            Spot::Jit { address, .. } | Spot::Anonymous { address } => self.unknown("[anonymous]", *address),
            Spot::Nowhere { address } => self.unknown("[unknown]", *address),
        };
        frames.push(frame);
    }

    fn unnamed_in_file(&mut self, id: FileId, offset: u64) -> FrameId {
        let path = self.files.get(id).path.clone();
        self.unnamed(&path, offset)
    }

    /// `libc.so.6+0x1234`.
    fn unnamed(&mut self, module: &str, offset: u64) -> FrameId {
        let last = module.rsplit('/').next().unwrap_or(module);
        let name = self.frames.word(&format!("{last}+{offset:#x}"));
        self.plain_frame(name, module, offset)
    }

    fn unknown(&mut self, module: &str, address: u64) -> FrameId {
        let name = self.frames.word("[unknown]");
        self.plain_frame(name, module, address)
    }

    pub(super) fn plain_frame(&mut self, name: Arc<str>, module: &str, offset: u64) -> FrameId {
        let module = self.frames.word(module);
        self.frames.intern(Frame {
            name,
            module,
            offset,
            file: None,
            line: None,
            inlined: false,
        })
    }

    fn name_in_file(&mut self, id: FileId, offsets: &[u64]) {
        self.files.touch(id);
        let key = self.files.key(id);
        for offsets in offsets.chunks(ADDRESSES_MAX) {
            let Some(found) = self.ask_of_file(id, offsets) else {
                // Maybe it can be opened later.
                return;
            };
            let module = self.files.get(id).path.clone();
            for (offset, found) in offsets.iter().zip(found) {
                let frames = match found.is_empty() {
                    true => [self.unnamed_in_file(id, *offset)].into(),
                    false => self.take(found, &module),
                };
                self.resolved.insert((key, *offset), frames);
            }
        }
    }

    /// What the worker found; nothing for files that are given up. `None`: nothing now, maybe later.
    fn ask_of_file(&mut self, id: FileId, offsets: &[u64]) -> Option<Vec<Vec<Found>>> {
        let nothing = || vec![Vec::new(); offsets.len()];
        for _ in 0..TRIES_MAX {
            let detail = self.files.get(id).detail;
            if detail == Detail::Nothing {
                return Some(nothing());
            }
            let request = Request::Resolve {
                key: self.files.key(id),
                addresses: offsets.to_vec(),
            };
            let loaded = self.files.get(id).loaded_by;
            let reply = match loaded > 0 && loaded == self.link.started() {
                true => self.link.ask(&request, &[], limit(detail)),
                false => self.load(id, detail)?,
            };
            match reply {
                Ok(Reply::Resolved(found)) if found.len() == offsets.len() => return Some(found),
                Ok(Reply::Loaded) => self.files.get_mut(id).loaded_by = self.link.started(),
                Ok(Reply::NotLoaded) => self.files.get_mut(id).loaded_by = 0,
                Ok(_) => self.step_down(id),
                Err(AskError::Start { .. }) => return None,
                Err(AskError::TimedOut { .. }) => {
                    self.blame_for(id);
                    self.step_down(id);
                }
                Err(AskError::Ended) => {
                    self.blame_for(id);
                    // Once may be another's fault: somebody killed the worker, or memory ran out for all.
                    let file = self.files.get_mut(id);
                    file.loaded_by = 0;
                    if std::mem::replace(&mut file.ended_a_worker, true) {
                        self.step_down(id);
                    }
                }
            }
        }
        // It makes worker after worker forget it.
        self.files.get_mut(id).detail = Detail::Nothing;
        self.counts.without_names += 1;
        Some(nothing())
    }

    /// Sends the file to the worker. `None`: it cannot be opened now.
    fn load(&mut self, id: FileId, detail: Detail) -> Option<Result<Reply, AskError>> {
        let file = self.files.get(id);
        if !file.origin.ours && self.blame.get(&file.origin).is_some_and(|count| *count >= FAILURES_MAX) {
            self.files.get_mut(id).detail = Detail::Nothing;
            self.counts.without_names += 1;
            return Some(Ok(Reply::NotLoaded));
        }
        let held = [file.held()?.try_clone_to_owned().ok()?];
        let debug = file.held_debug().filter(|_| detail == Detail::Lines);
        let debug = debug.and_then(|fd| fd.try_clone_to_owned().ok());
        let opened = self.patience.run(OPEN_LIMIT, move || {
            let files: Result<Vec<File>, _> = held.iter().chain(&debug).map(|fd| open_held(fd.as_fd())).collect();
            files
        });
        let files = opened.ok()?.ok()?;
        let request = Request::Load {
            key: self.files.key(id),
            source: Source::Program { detail },
        };
        let fds: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        let reply = self.link.ask(&request, &fds, limit(detail));
        self.patience.discard(files);
        Some(reply)
    }

    pub(super) fn blame_for(&mut self, id: FileId) {
        self.counts.failures += 1;
        *self.blame.entry(self.files.get(id).origin).or_default() += 1;
    }

    /// Tries less of it from now on.
    fn step_down(&mut self, id: FileId) {
        let file = self.files.get_mut(id);
        file.loaded_by = 0;
        file.detail = match file.detail {
            Detail::Lines => {
                self.counts.without_lines += 1;
                Detail::Names
            }
            Detail::Names | Detail::Nothing => {
                self.counts.without_names += 1;
                Detail::Nothing
            }
        };
    }

    pub(super) fn take(&mut self, found: Vec<Found>, module: &str) -> Box<[FrameId]> {
        found
            .into_iter()
            .map(|found| {
                let Found {
                    name,
                    module: own_module,
                    offset,
                    file,
                    line,
                    inlined,
                } = found;
                let frame = Frame {
                    name: self.frames.word(&name),
                    module: self.frames.word(own_module.as_deref().unwrap_or(module)),
                    offset,
                    file: file.map(|file| self.frames.word(&file)),
                    line,
                    inlined,
                };
                self.frames.intern(frame)
            })
            .collect()
    }

    fn name_in_perf_map(&mut self, pid: u32, addresses: &[u64]) {
        for addresses in addresses.chunks(ADDRESSES_MAX) {
            let Some((key, found)) = self.ask_of_perf_map(pid, addresses) else {
                return;
            };
            for (address, found) in addresses.iter().zip(found) {
                // What has no name may get one, when the map has grown.
                if !found.is_empty() {
                    let frames = self.take(found, "[jit]");
                    self.resolved.insert((key, *address), frames);
                }
            }
        }
    }

    fn ask_of_perf_map(&mut self, pid: u32, addresses: &[u64]) -> Option<(Key, Vec<Vec<Found>>)> {
        for _ in 0..TRIES_MAX {
            let map = self.processes.get(pid)?.perf_map.as_ref().filter(|map| !map.bad)?;
            let key = map.key;
            let request = Request::Resolve {
                key,
                addresses: addresses.to_vec(),
            };
            let reply = match map.read_bytes {
                Some(_) => self.link.ask(&request, &[], NAMES_LIMIT),
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
                Ok(Reply::Resolved(found)) if found.len() == addresses.len() && !grown => return Some((key, found)),
                Ok(Reply::Resolved(_) | Reply::NotLoaded) => map.read_bytes = None,
                Ok(Reply::Loaded) => {}
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
        let opened = self.patience.run(OPEN_LIMIT, move || {
            let file = open_held(held.as_fd()).ok()?;
            Some((bytes_now(&held)?, file))
        });
        let (bytes, file) = opened.ok()??;
        let request = Request::Load {
            key,
            source: Source::PerfMap,
        };
        let reply = self.link.ask(&request, &[file.as_fd()], NAMES_LIMIT);
        self.patience.discard(file);
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
        if map.looked.is_some_and(|looked| looked.elapsed() < PERF_MAP_AGAIN) {
            return false;
        }
        map.looked = Some(Instant::now());
        let (read, held) = (map.read_bytes, map.fd.clone());
        let now = self.patience.run(OPEN_LIMIT, move || bytes_now(&held));
        now.is_ok_and(|now| now != read)
    }
}

fn limit(detail: Detail) -> Duration {
    match detail {
        Detail::Lines => LINES_LIMIT,
        Detail::Names | Detail::Nothing => NAMES_LIMIT,
    }
}

/// In order, so that the worker goes through a file once.
fn sorted(set: HashSet<u64>) -> Vec<u64> {
    let mut all: Vec<u64> = set.into_iter().collect();
    all.sort_unstable();
    all
}
