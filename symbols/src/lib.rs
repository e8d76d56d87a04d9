//! Symbolization of user and kernel stacks: function, module, file and line.
//!
//! Targets are hostile. Their files are opened only inside their own root and only if regular (`open`), with a time limit (`time_limit`).
//! Only a confined process without privileges, the worker (`worker`), reads them. If it fails at a file, only the frames of that file have no
//! names: they are `module+0xoffset`.
//!
//! This crate is independent of tracers, stack maps and traces: it converts addresses to frames.

#![forbid(unsafe_code)]

mod files;
mod find;
mod frames;
#[doc(hidden)]
pub mod fuzzing;
mod jit;
mod kernel;
mod learn;
mod limits;
mod link;
mod maps;
mod name;
mod observe;
mod open;
mod processes;
mod spots;
mod time_limit;
mod unwind;
mod vdso;
mod wire;
mod worker;

pub use find::{FindError, Finder, Object, Place, UserFile};
pub use frames::{Frame, FrameId, Frames};
pub use kernel::KernelUnnamed;
pub use limits::{FRAMES_MAX, STACK_COPY_BYTES, UNWOUND_FRAMES_MAX, WORDS_BYTES};
pub use observe::ObserveError;
pub use unwind::{Registers, StackCopy, UnwindEnd, Unwound};
pub use worker::worker_if_asked;

use files::{FileId, Files, Origin};
use kernel::Kernel;
use link::Link;
use observe::Known;
use processes::Processes;
use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, Instant},
};
use time_limit::{TimeLimit, TimedOut};
use wire::{Detail, Key};

/// Timeout of opening the files of a process.
const OBSERVE_LIMIT: Duration = Duration::from_secs(1);
/// Maximum addresses in the cache of frames. The cache is cleared at this number.
const RESOLVED_MAX: usize = 64 << 10;
/// Maximum frames of all cached addresses: every address may be a long chain of inlined functions. Beyond this number, only the function
/// itself is cached.
const RESOLVED_FRAMES_MAX: usize = 4 * RESOLVED_MAX;
/// Bytes of a cached address besides its frames: its entry (56) and its allocation (24).
const RESOLVED_BYTES: usize = 80;
/// Maximum bytes of frames, names and cached addresses in a [`Symbolizer`].
pub const MEMORY_MAX: usize = frames::TABLE_BYTES
    + RESOLVED_MAX * RESOLVED_BYTES
    + RESOLVED_FRAMES_MAX * size_of::<FrameId>();
/// First pause until a process with unknown addresses is observed again. The pause doubles while this does not help.
const OBSERVE_AGAIN: Duration = Duration::from_millis(100);
/// Maximum of this pause.
const OBSERVE_AGAIN_MAX: Duration = Duration::from_secs(60);
/// Idle time after which held files are released: a held file keeps the file system of a removed container alive.
const RELEASE_AFTER: Duration = Duration::from_secs(60);
/// Interval of the check for idle files.
const RELEASE_INTERVAL: Duration = Duration::from_secs(10);
/// Time without opening files after a file system did not answer.
const HANGING_AGAIN: Duration = Duration::from_secs(600);
/// Maximum origins with failures. Their counts are cleared at this number.
const BLAME_MAX: usize = 4096;

/// An address of a user stack, as returned by `bpf_get_stack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserAddr {
    /// An address of the process.
    Ip(u64),
    /// An offset in the file with this build id.
    BuildId {
        /// Build id; shorter ones are padded with zeros.
        id: [u8; 20],
        /// Offset in the file, bytes.
        offset: u64,
    },
}

/// Statistics since the start. The numbers only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Started workers.
    pub workers: u64,
    /// Workers that died or were killed while they read a file.
    pub failures: u64,
    /// Files with too much debug information: their frames have names, but no lines.
    pub without_lines: u64,
    /// Files that are too large or cannot be read: their frames are `module+0xoffset`.
    pub without_names: u64,
    /// Frames that found the table full.
    pub frames_refused: u64,
}

/// A symbolizer of addresses, for one thread.
///
/// The first use starts a worker process and up to two threads, which end with the symbolizer.
#[derive(Debug)]
pub struct Symbolizer {
    proc: PathBuf,
    frames: Frames,
    files: Files,
    processes: Processes,
    /// Frames of an offset, by the file that contains it.
    resolved: HashMap<(Key, u64), Box<[FrameId]>>,
    /// Number of frames in `resolved`.
    resolved_frames: usize,
    /// Failures by origin.
    blame: HashMap<Origin, u32>,
    /// Mount namespaces with file systems that did not answer, with the time.
    hanging: HashMap<PathBuf, Instant>,
    vdso: Option<Option<FileId>>,
    kernel: Kernel,
    link: Link,
    time_limit: TimeLimit,
    counts: Counts,
    released: Instant,
    /// Deadline of symbolization.
    deadline: Option<Instant>,
}

impl Default for Symbolizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Symbolizer {
    /// Creates a symbolizer whose worker is this program, which must call [`worker_if_asked`] first.
    pub fn new() -> Self {
        Self::with_worker("/proc/self/exe")
    }

    /// Creates a symbolizer whose worker is the given program, which must call [`worker_if_asked`] first.
    pub fn with_worker(program: impl Into<PathBuf>) -> Self {
        Self {
            proc: "/proc".into(),
            frames: Frames::new(),
            files: Files::default(),
            processes: Processes::default(),
            resolved: HashMap::new(),
            resolved_frames: 0,
            blame: HashMap::new(),
            hanging: HashMap::new(),
            vdso: None,
            kernel: Kernel::default(),
            link: Link::new(program.into()),
            time_limit: TimeLimit::default(),
            counts: Counts::default(),
            released: Instant::now(),
            deadline: None,
        }
    }

    /// Searches for processes in this directory instead of /proc: the mounted procfs of another PID namespace.
    pub fn with_proc(mut self, proc: impl Into<PathBuf>) -> Self {
        self.proc = proc.into();
        self
    }

    /// Returns the table of frames, by the numbers in stacks.
    pub fn frames(&self) -> &Frames {
        &self.frames
    }

    /// Returns the statistics.
    pub fn counts(&self) -> Counts {
        Counts {
            workers: self.link.started(),
            frames_refused: self.frames.refused(),
            ..self.counts
        }
    }

    /// Returns why kernel addresses have no names, after [`Symbolizer::kernel`] has detected it.
    pub fn kernel_unnamed(&self) -> Option<KernelUnnamed> {
        self.kernel.unnamed()
    }

    /// Returns the PID of the worker, while one runs.
    pub fn worker(&self) -> Option<u32> {
        self.link.pid()
    }

    /// Reads the mappings of a process and holds its files, while the process exists.
    ///
    /// Call it as soon as a process is detected, and again after it has executed another program or mapped more files. Symbolize earlier stacks
    /// first. It takes 0.1 ms for a small process, and at most seconds for a hostile one.
    pub fn observe(&mut self, pid: u32) -> Result<(), ObserveError> {
        self.release();
        if self.hangs(pid) {
            return Err(ObserveError::TookTooLong { pid });
        }
        let known = self.known(pid);
        let proc = self.proc.clone();
        let seen = self
            .time_limit
            .run(OBSERVE_LIMIT, move || observe::observe(&proc, pid, &known));
        let mut seen = match seen {
            Ok(seen) => seen?,
            Err(out) => {
                if out == TimedOut::TookTooLong {
                    self.note_hanging(pid);
                }
                return Err(ObserveError::TookTooLong { pid });
            }
        };
        if self.files.len() + seen.files.len() > files::FILES_MAX {
            self.forget();
        }
        let mut held = HashMap::new();
        let mut new = Vec::new();
        if let Some((_, root)) = &seen.root {
            for (mapped, file) in seen.files.drain(..) {
                let (id, is_new) = self.files.add(&mapped.path.to_string_lossy(), file, *root);
                held.insert(mapped, id);
                new.extend(is_new.then_some(id));
            }
        }
        let lost = std::mem::take(&mut seen.heads).into_iter();
        let lost = lost.map(|(mapped, head)| (mapped, self.build_id_of(head)));
        let lost = lost.collect();
        let root = seen.root.take();
        self.processes.update(pid, &mut seen, held, lost);
        if let Some((root, _)) = root {
            self.learn(new, root);
        }
        Ok(())
    }

    /// Returns whether a process uses file systems that did not answer. Each attempt may cost a thread.
    fn hangs(&self, pid: u32) -> bool {
        !self.hanging.is_empty() && {
            let since = self
                .mounts(pid)
                .and_then(|mounts| self.hanging.get(&mounts));
            since.is_some_and(|since| since.elapsed() < HANGING_AGAIN)
        }
    }

    fn note_hanging(&mut self, pid: u32) {
        if self.hanging.len() >= BLAME_MAX {
            self.hanging.clear();
        }
        if let Some(mounts) = self.mounts(pid) {
            self.hanging.insert(mounts, Instant::now());
        }
    }

    /// Returns the mount namespace of a process. Only procfs is involved.
    fn mounts(&self, pid: u32) -> Option<PathBuf> {
        std::fs::read_link(self.proc.join(pid.to_string()).join("ns/mnt")).ok()
    }

    /// Returns the files of a process that need no further check.
    fn known(&self, pid: u32) -> Known {
        let Some(process) = self.processes.get(pid) else {
            return Known::default();
        };
        let files = process.files.iter();
        let is_unwound = process.is_unwound;
        let files = files.filter(|(_, id)| {
            self.is_within_reach(**id) && (!is_unwound || self.has_tables_within_reach(**id))
        });
        Known {
            files: files.map(|(mapped, _)| mapped.clone()).collect(),
            lost: process.lost.keys().cloned().collect(),
        }
    }

    fn is_within_reach(&self, id: FileId) -> bool {
        let file = self.files.get(id);
        let loaded = file.loaded_by == self.link.started() && file.loaded_by > 0;
        loaded || file.held().is_some() || file.detail == Detail::Nothing
    }

    fn has_tables_within_reach(&self, id: FileId) -> bool {
        let file = self.files.get(id);
        let loaded = file.tables_by == self.link.started() && file.tables_by > 0;
        loaded || file.held().is_some() || file.without_tables
    }

    /// Symbolizes a user stack: innermost frame first, each preceded by the functions that are inlined there.
    ///
    /// The first address is used as it is; all others are return addresses, and are symbolized at their call.
    /// For many stacks, call [`Symbolizer::prepare`] first, which saves time.
    pub fn user(&mut self, pid: u32, stack: &[UserAddr]) -> Vec<FrameId> {
        self.user_once(pid, stack).0
    }

    /// Returns the same, and whether the result is final: it does not change while the process runs the same program.
    pub fn user_once(&mut self, pid: u32, stack: &[UserAddr]) -> (Vec<FrameId>, bool) {
        let spots = self.spots(pid, &[stack]);
        self.name_spots(pid, &spots);
        let mut frames = Vec::with_capacity(stack.len());
        let whole = spots.iter().all(|spot| self.is_resolved(spot));
        for spot in &spots {
            self.push_frames(spot, &mut frames);
        }
        (frames, whole)
    }

    /// Symbolizes all addresses of several stacks of a process at once, for later calls of [`Symbolizer::user`].
    pub fn prepare(&mut self, pid: u32, stacks: &[&[UserAddr]]) {
        let spots = self.spots(pid, stacks);
        self.name_spots(pid, &spots);
    }

    /// Ends the worker if it was idle for this long, and releases files that were not used for a minute.
    ///
    /// Call it regularly, also without stacks to symbolize. The next request starts a worker again.
    pub fn rest(&mut self, idle: Duration) {
        self.link.rest(idle);
        self.release();
    }

    fn release(&mut self) {
        if self.released.elapsed() >= RELEASE_INTERVAL {
            self.released = Instant::now();
            self.files.release(RELEASE_AFTER);
            self.processes.release(RELEASE_AFTER);
        }
    }

    /// Sets the deadline of symbolization. Frames without names by then are `[unknown]`, with their module, until the next request. A request in
    /// progress may take up to five seconds longer. The time in which the kernel's symbols are read is added to the deadline.
    pub fn name_until(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Returns whether the deadline of names has passed.
    pub fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Adds the frames of an address to the cache.
    fn remember(&mut self, at: (Key, u64), frames: Box<[FrameId]>) {
        let frames = match frames.last() {
            Some(own) if self.resolved_frames + frames.len() > RESOLVED_FRAMES_MAX => [*own].into(),
            _ => frames,
        };
        self.resolved_frames += frames.len();
        self.resolved.insert(at, frames);
    }

    /// Clears the cache of frames.
    fn forget_resolved(&mut self) {
        self.resolved.clear();
        self.resolved_frames = 0;
    }

    /// Clears the tables of processes and files, because there are too many. Frames stay.
    fn forget(&mut self) {
        self.files.clear();
        self.processes.clear();
        self.forget_resolved();
        self.vdso = None;
    }
}
