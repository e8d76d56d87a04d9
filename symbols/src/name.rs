//! Asks the worker for names of places that have none yet, and makes frames of them.

use super::{
    BLAME_MAX, RESOLVED_MAX, Symbolizer,
    files::FileId,
    frames::{Frame, FrameId},
    link::AskError,
    open::open_held,
    spots::Spot,
    time_limit::TimedOut,
    unwind::TABLES_KEY,
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
/// How long one question about a file may take. What computes ends before, by the worker's own limit of CPU time, unless the machine
/// has no time for it; so this meets what waits: a file system that does not answer.
pub(super) const ASK_LIMIT: Duration = Duration::from_secs(5);
/// Addresses per question.
pub(super) const ADDRESSES_MAX: usize = 1024;
/// Files of one origin that may make the worker fail. After that, no file of that origin is read any more.
const FAILURES_MAX: u32 = 12;
/// Questions for one answer, whatever happens: each try is a loading and a resolving, and there is one with lines, one more if its
/// worker was lost, and one with names; and room for a worker that had to forget the file.
pub(super) const TRIES_MAX: usize = 8;
/// The worker's time for all questions about one file, and for each address that it names more. A file that takes longer is
/// too much: with fewer details first, then altogether.
const SPENT_MAX: Duration = Duration::from_secs(10);
const SPENT_PER_ADDRESS_MAX: Duration = Duration::from_millis(1);

impl Symbolizer {
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
        if missing > 0 && !self.resolved.is_empty() && self.resolved.len() + missing > RESOLVED_MAX
        {
            self.forget_resolved();
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

    /// Whether the frames of a spot are known, and will not be others later.
    pub(super) fn is_resolved(&self, spot: &Spot) -> bool {
        match spot {
            Spot::File { id, offset } => {
                let key = (self.files.key(*id), *offset);
                self.resolved.contains_key(&key)
            }
            Spot::Jit { key, address } => self.resolved.contains_key(&(*key, *address)),
            Spot::Lost { .. } | Spot::BuildId { .. } | Spot::Anonymous | Spot::Nowhere => false,
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
            Spot::Jit { .. } | Spot::Anonymous => self.unknown("[anonymous]"),
            Spot::Nowhere => FrameId::UNKNOWN,
        };
        frames.push(frame);
    }

    fn unnamed_in_file(&mut self, id: FileId, offset: u64) -> FrameId {
        let path = self.files.get(id).path.clone();
        self.unnamed(&path, offset)
    }

    /// `libc.so.6+0x1234`.
    fn unnamed(&mut self, module: &str, offset: u64) -> FrameId {
        // What gets its name later takes no room until then.
        if self.frames.are_coarse() || self.is_late() {
            return self.unknown(module);
        }
        let last = module.rsplit('/').next().unwrap_or(module);
        let name = self.frames.word(&format!("{last}+{offset:#x}"));
        self.plain_frame(name, module, offset)
    }

    fn unknown(&mut self, module: &str) -> FrameId {
        let name = self.frames.word("[unknown]");
        self.plain_frame(name, module, 0)
    }

    /// The frame that stands for all that called the outermost one that the kernel recorded.
    pub fn deeper(&mut self) -> FrameId {
        let name = self.frames.word("[deeper than recorded]");
        self.plain_frame(name, "", 0)
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
            if self.is_late() {
                return;
            }
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
                self.remember((key, *offset), frames);
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
            let asked = Instant::now();
            let is_loaded = loaded > 0 && loaded == self.link.started();
            let reply = match is_loaded {
                true => self.link.ask(&request, &[], ASK_LIMIT),
                false => self.load(id, Source::Program { detail })?,
            };
            let file = self.files.get_mut(id);
            file.spent += asked.elapsed();
            match reply {
                Ok(Reply::Resolved(found)) if found.len() == offsets.len() => {
                    file.answered = file.answered.saturating_add(offsets.len() as u32);
                    if file.spent > SPENT_MAX + SPENT_PER_ADDRESS_MAX * file.answered {
                        file.spent = Duration::ZERO;
                        self.step_down(id);
                    }
                    return Some(found);
                }
                Ok(Reply::Loaded { lines }) => {
                    file.loaded_by = self.link.started();
                    if !lines {
                        // If this fails, trying it without lines is trying the same.
                        file.detail = Detail::Names;
                    }
                }
                Ok(Reply::NotLoaded) => file.loaded_by = 0,
                Ok(_) => self.step_down(id),
                Err(AskError::Start { .. } | AskError::NotStarted) => return None,
                Err(AskError::TimedOut { .. }) => {
                    self.blame_for(id);
                    let file = self.files.get_mut(id);
                    if is_loaded {
                        self.step_down(id);
                    } else if std::mem::replace(&mut file.load_timed_out, true) {
                        // Only loading reads the file, and with less of it, it would wait as long.
                        self.give_up(id);
                    } else {
                        // Once may be the machine's fault, which is busy for a moment.
                        file.loaded_by = 0;
                        return None;
                    }
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
        self.give_up(id);
        Some(nothing())
    }

    /// Sends the file to the worker. `None`: it cannot be opened now.
    pub(super) fn load(&mut self, id: FileId, source: Source) -> Option<Result<Reply, AskError>> {
        let file = self.files.get(id);
        // What root has on this machine is blamed for nothing.
        let trusted = file.origin.ours && file.origin.owner == 0;
        if !trusted
            && self
                .blame
                .get(&file.origin)
                .is_some_and(|count| *count >= FAILURES_MAX)
        {
            self.give_up(id);
            return Some(Ok(Reply::NotLoaded));
        }
        let held = [file.held()?.try_clone_to_owned().ok()?];
        let (key, with_debug) = match source {
            Source::Program { detail } => (self.files.key(id), detail == Detail::Lines),
            Source::Tables => (TABLES_KEY | self.files.key(id), true),
            Source::PerfMap | Source::Kernel => return None,
        };
        let debug = file.held_debug().filter(|_| with_debug);
        let debug = debug.and_then(|fd| fd.try_clone_to_owned().ok());
        let opened = self.time_limit.run(OPEN_LIMIT, move || {
            let files = held.iter().chain(&debug);
            files
                .map(|fd| open_held(fd.as_fd()).ok())
                .collect::<Option<Vec<File>>>()
        });
        if matches!(opened, Err(TimedOut::TookTooLong)) {
            // Its file system does not answer, and opening it once more would wait once more.
            self.blame_for(id);
            self.give_up(id);
            return Some(Ok(Reply::NotLoaded));
        }
        let files = opened.ok()??;
        let request = Request::Load { key, source };
        let fds: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        let reply = self.link.ask(&request, &fds, ASK_LIMIT);
        self.time_limit.discard(files);
        Some(reply)
    }

    pub(super) fn blame_for(&mut self, id: FileId) {
        self.counts.failures += 1;
        if self.blame.len() >= BLAME_MAX {
            self.blame.clear();
        }
        *self.blame.entry(self.files.get(id).origin).or_default() += 1;
    }

    pub(super) fn give_up(&mut self, id: FileId) {
        self.files.get_mut(id).detail = Detail::Nothing;
        self.counts.without_names += 1;
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
}

/// In order, so that the worker goes through a file once.
fn sorted(set: HashSet<u64>) -> Vec<u64> {
    let mut all: Vec<u64> = set.into_iter().collect();
    all.sort_unstable();
    all
}
