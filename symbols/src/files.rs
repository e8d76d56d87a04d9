//! The table of targets' files: their names, held descriptors, and success of reading. It does not open files.

use super::{
    open::{Held, Identity, Root},
    wire::{Detail, Key},
};
use std::{
    collections::HashMap,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

/// Maximum held files. A held file keeps the file system of a removed container alive, so they are few and held for a short time.
const HELD_MAX: usize = 256;
/// Maximum files of the table: with 5,000 pods of 20 files each on a node, the table is cleared from time to time.
pub(super) const FILES_MAX: usize = 16_384;

/// The number of a file in [`Files`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FileId(u32);

/// A root and an owner of files in it, to which failures are attributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    /// Device and inode of the root.
    pub(super) root: (u64, u64),
    /// Whether it is our own root.
    pub(super) ours: bool,
    /// The user.
    pub(super) owner: u32,
}

/// A program file or library.
#[derive(Debug)]
pub(super) struct ProgramFile {
    /// Path in the target, or `[vdso]`.
    pub(super) path: Arc<str>,
    /// Held as long as it may be needed.
    held: Option<OwnedFd>,
    /// The file with its debug information, held as well.
    held_debug: Option<OwnedFd>,
    pub(super) build_id: Option<[u8; 20]>,
    /// Level of detail that is still attempted.
    pub(super) detail: Detail,
    /// Its libraries and their libraries, once they were followed.
    pub(super) libraries: Option<Box<[FileId]>>,
    /// Time that the worker spent on it, and the number of resulting addresses.
    pub(super) spent: Duration,
    pub(super) answered: u32,
    /// A worker ended while it read this file.
    pub(super) ended_a_worker: bool,
    /// Loading it took too long once.
    pub(super) load_timed_out: bool,
    /// The worker that has loaded it: the number of workers started by then.
    pub(super) loaded_by: u64,
    /// The worker that has loaded its unwind tables.
    pub(super) tables_by: u64,
    /// It has no unwind tables, or they cannot be read.
    pub(super) without_tables: bool,
    /// Origin: failures of all files of an origin count together.
    pub(super) origin: Origin,
    /// Never released: it is in memory.
    pinned: bool,
    used: u64,
    used_at: Instant,
}

/// The table of files.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: Vec<ProgramFile>,
    by_identity: HashMap<Identity, FileId>,
    by_build_id: HashMap<[u8; 20], FileId>,
    clock: u64,
    /// Number of keys that were used before the table was cleared: a key is never used twice.
    before: u64,
}

impl Files {
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Clears the table. Earlier numbers are invalid.
    pub(super) fn clear(&mut self) {
        *self = Self {
            before: self.before + self.files.len() as u64,
            ..Self::default()
        };
    }

    /// Adds a held file. Returns its number and whether it is new.
    pub(super) fn add(&mut self, path: &str, held: Held, root: Root) -> (FileId, bool) {
        let known = self.by_identity.get(&held.identity).copied();
        let id = known.unwrap_or_else(|| {
            let id = FileId(self.files.len() as u32);
            self.by_identity.insert(held.identity, id);
            self.files.push(ProgramFile {
                path: path.into(),
                held: None,
                held_debug: None,
                build_id: None,
                detail: Detail::Lines,
                libraries: None,
                spent: Duration::ZERO,
                answered: 0,
                ended_a_worker: false,
                load_timed_out: false,
                loaded_by: 0,
                tables_by: 0,
                without_tables: false,
                origin: Origin {
                    root: root.identity,
                    ours: root.ours,
                    owner: held.owner,
                },
                pinned: false,
                used: 0,
                used_at: Instant::now(),
            });
            id
        });
        self.get_mut(id).held = Some(held.fd);
        self.touch(id);
        self.let_go_of_old();
        (id, known.is_none())
    }

    /// Adds a file that is only in memory, and stays.
    pub(super) fn add_memory(&mut self, name: &str, file: OwnedFd) -> FileId {
        let id = FileId(self.files.len() as u32);
        self.files.push(ProgramFile {
            path: name.into(),
            held: Some(file),
            held_debug: None,
            build_id: None,
            detail: Detail::Names,
            libraries: None,
            spent: Duration::ZERO,
            answered: 0,
            ended_a_worker: false,
            load_timed_out: false,
            loaded_by: 0,
            tables_by: 0,
            without_tables: false,
            origin: Origin {
                root: (0, 0),
                ours: true,
                owner: 0,
            },
            pinned: true,
            used: 0,
            used_at: Instant::now(),
        });
        id
    }

    pub(super) fn add_debug(&mut self, id: FileId, held: Held) {
        self.get_mut(id).held_debug = Some(held.fd);
        self.let_go_of_old();
    }

    pub(super) fn get(&self, id: FileId) -> &ProgramFile {
        &self.files[id.0 as usize]
    }

    pub(super) fn get_mut(&mut self, id: FileId) -> &mut ProgramFile {
        &mut self.files[id.0 as usize]
    }

    /// Returns the key of the file in the worker.
    pub(super) fn key(&self, id: FileId) -> Key {
        self.before + u64::from(id.0)
    }

    /// Records that the file is used now.
    pub(super) fn touch(&mut self, id: FileId) {
        self.clock += 1;
        let clock = self.clock;
        let file = self.get_mut(id);
        file.used = clock;
        file.used_at = Instant::now();
    }

    /// Records the build id of the file.
    pub(super) fn index(&mut self, id: FileId, build_id: [u8; 20]) {
        self.get_mut(id).build_id = Some(build_id);
        let index = self.by_build_id.entry(build_id).or_insert(id);
        // A file can claim any build id. A container's file does not replace one of ours.
        if self.files[id.0 as usize].origin.ours && !self.files[index.0 as usize].origin.ours {
            *index = id;
        }
    }

    pub(super) fn by_build_id(&self, build_id: &[u8; 20]) -> Option<FileId> {
        self.by_build_id.get(build_id).copied()
    }

    /// Releases files that were not used for this long. Files that the worker has read are no longer needed, and those of running processes can
    /// be held again.
    pub(super) fn release(&mut self, unused: Duration) {
        let old = |file: &&mut ProgramFile| !file.pinned && file.used_at.elapsed() >= unused;
        for file in self.files.iter_mut().filter(old) {
            file.held = None;
            file.held_debug = None;
        }
    }

    fn let_go_of_old(&mut self) {
        let count: usize = self.files.iter().map(ProgramFile::count_held).sum();
        if count <= HELD_MAX {
            return;
        }
        // A quarter at once, so that this is not done for every new file.
        let mut held: Vec<&mut ProgramFile> = self
            .files
            .iter_mut()
            .filter(|file| file.count_held() > 0)
            .collect();
        held.sort_unstable_by_key(|file| file.used);
        for file in held.into_iter().take(HELD_MAX / 4) {
            file.held = None;
            file.held_debug = None;
        }
    }
}

impl ProgramFile {
    pub(super) fn held(&self) -> Option<BorrowedFd<'_>> {
        self.held.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn held_debug(&self) -> Option<BorrowedFd<'_>> {
        self.held_debug.as_ref().map(AsFd::as_fd)
    }

    fn count_held(&self) -> usize {
        if self.pinned {
            return 0;
        }
        usize::from(self.held.is_some()) + usize::from(self.held_debug.is_some())
    }
}
