//! Names the addresses of user and kernel stacks: function, module, file and line.
//!
//! Targets are hostile. Their files are opened only inside their own root and only if regular (`open`), with a limit of time
//! (`patience`), and read only by a confined process without any right, the worker (`worker`), which may fail at any file
//! without harm to more than the frames of that file: these come out as `module+0xoffset`.
//!
//! This module knows no tracer, no stack map and no trace: addresses in, frames out.

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
mod patience;
mod processes;
mod spots;
mod vdso;
mod wire;
mod worker;

pub use find::{FindError, Finder, Object, Place, UserFile};
pub use frames::{Frame, FrameId, Frames};
pub use kernel::KernelUnnamed;
pub use limits::{FRAMES_MAX, WORDS_BYTES};
pub use observe::ObserveError;
pub use worker::worker_if_asked;

use files::{FileId, Files, Origin};
use kernel::Kernel;
use link::Link;
use observe::Known;
use patience::{OutOfPatience, Patience};
use processes::Processes;
use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, Instant},
};
use wire::{Detail, Key};

/// How long opening the files of a process may take.
const OBSERVE_LIMIT: Duration = Duration::from_secs(1);
/// Addresses whose frames are kept. All are forgotten when they are that many.
const RESOLVED_MAX: usize = 64 << 10;
/// Frames of all of them together: code may be a long chain of inlined functions at every address. Beyond it an address keeps the
/// function itself only.
const RESOLVED_FRAMES_MAX: usize = 4 * RESOLVED_MAX;
/// Bytes of such an address besides its frames: its entry (56) and its allocation (24).
const RESOLVED_BYTES: usize = 80;
/// Bytes that frames, names, and what is remembered of addresses take at most in a [`Symbolizer`].
pub const MEMORY_MAX: usize = frames::TABLE_BYTES
    + RESOLVED_MAX * RESOLVED_BYTES
    + RESOLVED_FRAMES_MAX * size_of::<FrameId>();
/// A process with addresses that lie in nothing known is observed again after this, and if that does not help, after twice this, …
const OBSERVE_AGAIN: Duration = Duration::from_millis(100);
/// … and so on up to this.
const OBSERVE_AGAIN_MAX: Duration = Duration::from_secs(60);
/// After so long without use, files are let go: a held file keeps its file system, a container's, from being taken away for good.
const LET_GO_AFTER: Duration = Duration::from_secs(60);
/// How often that is looked after.
const LET_GO_EVERY: Duration = Duration::from_secs(10);
/// Where file systems did not answer, nothing is opened for so long.
const HANGING_AGAIN: Duration = Duration::from_secs(600);
/// Origins that are blamed at once. All are forgiven when they are that many.
const BLAME_MAX: usize = 4096;

/// An address of a user stack, as `bpf_get_stack` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserAddr {
    /// An address of the process.
    Ip(u64),
    /// A place in the file with that build id.
    BuildId {
        /// The id, shorter ones filled up with zeros.
        id: [u8; 20],
        /// Bytes from the start of the file.
        offset: u64,
    },
}

/// What was done, and what was given up, since the start. Each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Workers that were started.
    pub workers: u64,
    /// Workers that died or were killed while they read a file.
    pub failures: u64,
    /// Files whose debug information was too much: they have names, but no lines.
    pub without_lines: u64,
    /// Files that were too much or cannot be read: they have `module+0xoffset`.
    pub without_names: u64,
    /// Frames that did not fit into the table.
    pub frames_refused: u64,
}

/// Names addresses. One thread has it.
///
/// It starts nothing until its first use: then a worker process and up to two threads, all of which end with it.
#[derive(Debug)]
pub struct Symbolizer {
    proc: PathBuf,
    frames: Frames,
    files: Files,
    processes: Processes,
    /// The frames of a place, by what it lies in.
    resolved: HashMap<(Key, u64), Box<[FrameId]>>,
    /// Frames in it.
    resolved_frames: usize,
    /// Failures by who is to blame.
    blame: HashMap<Origin, u32>,
    /// Mount namespaces with file systems that did not answer, and when.
    hanging: HashMap<PathBuf, Instant>,
    vdso: Option<Option<FileId>>,
    kernel: Kernel,
    link: Link,
    patience: Patience,
    counts: Counts,
    let_go: Instant,
    /// Until when names are asked for.
    deadline: Option<Instant>,
}

impl Default for Symbolizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Symbolizer {
    /// A symbolizer whose worker is this program, which must call [`worker_if_asked`] first.
    pub fn new() -> Self {
        Self::with_worker("/proc/self/exe")
    }

    /// A symbolizer whose worker is that program, which must call [`worker_if_asked`] first.
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
            patience: Patience::default(),
            counts: Counts::default(),
            let_go: Instant::now(),
            deadline: None,
        }
    }

    /// Looks for processes below that directory instead of /proc: where another pid namespace's is mounted.
    pub fn with_proc(mut self, proc: impl Into<PathBuf>) -> Self {
        self.proc = proc.into();
        self
    }

    /// The frames, by the numbers that stacks have.
    pub fn frames(&self) -> &Frames {
        &self.frames
    }

    /// What was done, and what was given up.
    pub fn counts(&self) -> Counts {
        Counts {
            workers: self.link.started(),
            frames_refused: self.frames.refused(),
            ..self.counts
        }
    }

    /// Why kernel addresses have no names, once [`Symbolizer::kernel`] has found that they have none.
    pub fn kernel_unnamed(&self) -> Option<KernelUnnamed> {
        self.kernel.unnamed()
    }

    /// The process id of the worker, while one runs.
    pub fn worker(&self) -> Option<u32> {
        self.link.pid()
    }

    /// Takes a process's mappings and holds its files while they are there.
    ///
    /// To be called as soon as a process is seen, and again after it has run another program or mapped more. Stacks taken before
    /// that should be named before. Takes 0.1 ms for a small process; at most seconds, for a hostile one.
    pub fn observe(&mut self, pid: u32) -> Result<(), ObserveError> {
        self.let_go();
        if self.hangs(pid) {
            return Err(ObserveError::TookTooLong { pid });
        }
        let known = self.known(pid);
        let proc = self.proc.clone();
        let seen = self
            .patience
            .run(OBSERVE_LIMIT, move || observe::observe(&proc, pid, &known));
        let mut seen = match seen {
            Ok(seen) => seen?,
            Err(out) => {
                if out == OutOfPatience::TookTooLong {
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

    /// Whether a process sees file systems that did not answer. Each try may cost a thread.
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

    /// The mount namespace of a process. /proc answers for it, and no other file system.
    fn mounts(&self, pid: u32) -> Option<PathBuf> {
        std::fs::read_link(self.proc.join(pid.to_string()).join("ns/mnt")).ok()
    }

    /// The files of a process that need not be looked at again.
    fn known(&self, pid: u32) -> Known {
        let Some(process) = self.processes.get(pid) else {
            return Known::default();
        };
        let files = process.files.iter();
        let files = files.filter(|(_, id)| self.is_within_reach(**id));
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

    /// Names a user stack: innermost frame first, each with the functions that are inlined there before it.
    ///
    /// The first address is taken as it is; all others are where calls return to, and are named by the call.
    /// Naming many stacks at once, [`Symbolizer::prepare`] before it saves time.
    pub fn user(&mut self, pid: u32, stack: &[UserAddr]) -> Vec<FrameId> {
        self.user_once(pid, stack).0
    }

    /// The same, and whether all of it is known: asked again, the answer is the same as long as the process runs the same program.
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

    /// Names all addresses of several stacks of a process at once, so that [`Symbolizer::user`] finds their names.
    pub fn prepare(&mut self, pid: u32, stacks: &[&[UserAddr]]) {
        let spots = self.spots(pid, stacks);
        self.name_spots(pid, &spots);
    }

    /// Ends the worker if it had nothing to do for so long, and lets go of files that were not used for a minute.
    ///
    /// To be called now and then by who has nothing to name. The next question starts a worker again.
    pub fn rest(&mut self, idle: Duration) {
        self.link.rest(idle);
        self.let_go();
    }

    fn let_go(&mut self) {
        if self.let_go.elapsed() >= LET_GO_EVERY {
            self.let_go = Instant::now();
            self.files.let_go(LET_GO_AFTER);
            self.processes.let_go(LET_GO_AFTER);
        }
    }

    /// Asks for names until then, and not after: what has none by then is `[unknown]`, with its module, until it is asked for again. A question
    /// that is under way is waited for, five seconds at most. The time in which the kernel's symbols are read is added to the deadline.
    pub fn name_until(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Returns whether the deadline of names has passed.
    pub fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Remembers the frames of an address.
    fn remember(&mut self, at: (Key, u64), frames: Box<[FrameId]>) {
        let frames = match frames.last() {
            Some(own) if self.resolved_frames + frames.len() > RESOLVED_FRAMES_MAX => [*own].into(),
            _ => frames,
        };
        self.resolved_frames += frames.len();
        self.resolved.insert(at, frames);
    }

    /// Forgets the frames of all addresses.
    fn forget_resolved(&mut self) {
        self.resolved.clear();
        self.resolved_frames = 0;
    }

    /// Forgets processes and files, because there are too many. Frames stay.
    fn forget(&mut self) {
        self.files.clear();
        self.processes.clear();
        self.forget_resolved();
        self.vdso = None;
    }
}
