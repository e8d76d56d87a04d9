//! Observation of an existing process in /proc: its mappings, and its files, which are held.
//!
//! Every call here may hang on a hostile target, and runs under [`super::time_limit`].

use super::{
    maps::{self, Backing, MappedFile, Mapping},
    open::{Held, OpenError, Root, hold_directory, hold_in, hold_link},
};
use rustix::fs::{Dir, MemfdFlags, Mode, OFlags, memfd_create, openat, readlinkat};
use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::FileExt},
    },
    path::Path,
};

/// The part of /proc/PID/maps that is read: 65,530 mappings of 100 bytes, and as much again.
const MAPS_BYTES_MAX: u64 = 16 << 20;
/// The part of stat and status that is read; they are below 4 KiB.
const STATUS_BYTES_MAX: u64 = 64 << 10;
/// Maximum held files of a process.
const FILES_MAX: usize = 1024;

/// Reason of a failed observation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// The process does not exist or has ended.
    #[error("process {pid} is gone")]
    Gone {
        /// The process.
        pid: u32,
    },
    /// The process is not accessible. Reading another user's process needs CAP_SYS_PTRACE.
    #[error("reading {what} of process {pid} requires CAP_SYS_PTRACE")]
    Denied {
        /// The process.
        pid: u32,
        /// The file below /proc/PID.
        what: &'static str,
    },
    /// The kernel returned an error.
    #[error("reading {what} of process {pid} failed")]
    Read {
        /// The process.
        pid: u32,
        /// The file below /proc/PID.
        what: &'static str,
        /// Error of the kernel.
        source: io::Error,
    },
    /// Its file systems or those of earlier processes do not answer.
    #[error("process {pid} has files that cannot be opened in time")]
    TookTooLong {
        /// The process.
        pid: u32,
    },
}

/// An observed process.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) start_time: u64,
    /// Its root; `None` without access to it, which needs CAP_SYS_PTRACE.
    pub(super) root: Option<(OwnedFd, Root)>,
    pub(super) mappings: Vec<Mapping>,
    /// The requested mapped files that could be held.
    pub(super) files: Vec<(MappedFile, Held)>,
    /// The first bytes of the others, from the process's memory.
    pub(super) heads: Vec<(MappedFile, OwnedFd)>,
    pub(super) perf_map: Option<Held>,
}

/// The known files of a process.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Files that need not be opened again.
    pub(super) files: HashSet<MappedFile>,
    /// Files that could not be held, and whose starts need not be read again.
    pub(super) lost: HashSet<MappedFile>,
}

/// Observes a process.
pub(super) fn observe(proc: &Path, pid: u32, known: &Known) -> Result<Seen, ObserveError> {
    // Everything below is read through this one: if the process ends and its number is given to another one, these reads fail.
    let process =
        hold_directory(&proc.join(pid.to_string())).map_err(|_| ObserveError::Gone { pid })?;
    let read = |what, most| {
        read_all(process.as_fd(), what, most).map_err(|error| explain(pid, what, error))
    };
    let start_time =
        maps::start_time(&read("stat", STATUS_BYTES_MAX)?).ok_or(ObserveError::Gone { pid })?;
    let mut mappings = maps::mappings(&read("maps", MAPS_BYTES_MAX)?);
    // Of a process whose first thread has ended, only the others show what there is.
    let other = match mappings.is_empty() {
        true => living_thread(process.as_fd()),
        false => None,
    };
    let thread = match other {
        Some((thread, its)) => {
            mappings = its;
            thread
        }
        None => process
            .try_clone()
            .map_err(|source| explain(pid, "maps", source))?,
    };
    see_from_root(thread.as_fd(), &mut mappings);
    let root = openat(&thread, "root", DIRECTORY, Mode::empty()).ok();
    let root = root.and_then(|directory| Root::of(&directory).map(|root| (directory, root)));
    let mut seen = Seen {
        start_time,
        root,
        mappings,
        files: Vec::new(),
        heads: Vec::new(),
        perf_map: None,
    };
    if let Some((root, _)) = &seen.root {
        let memory = Memory::of(thread.as_fd());
        memory.tell_libraries(&mut seen.mappings, known);
        seen.files = hold_files(thread.as_fd(), root.as_fd(), &seen.mappings, &known.files);
        seen.heads = memory.heads(&seen, known);
        let status = maps::status(&read("status", STATUS_BYTES_MAX)?);
        seen.perf_map = status.and_then(|status| {
            let path = format!("tmp/perf-{}.map", status.own_pid.unwrap_or(pid));
            let held = hold_in(root.as_fd(), path.as_ref()).ok()?;
            // Any user may create a file in /tmp.
            (held.owner == status.uid).then_some(held)
        });
    }
    Ok(seen)
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Maximum threads that are checked for a running one.
const THREADS_MAX: usize = 1024;

/// A thread of the process that has mappings: its folder, and they.
fn living_thread(process: BorrowedFd<'_>) -> Option<(OwnedFd, Vec<Mapping>)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tasks = openat(process, "task", flags, Mode::empty()).ok()?;
    let threads = Dir::read_from(&tasks).ok()?.flatten().take(THREADS_MAX);
    let names = threads.map(|thread| thread.file_name().to_owned());
    names
        .filter(|name| !name.as_bytes().starts_with(b"."))
        .find_map(|name| {
            let thread = openat(&tasks, name, DIRECTORY, Mode::empty()).ok()?;
            let mappings = maps::mappings(&read_all(thread.as_fd(), "maps", MAPS_BYTES_MAX).ok()?);
            (!mappings.is_empty()).then_some((thread, mappings))
        })
}

/// Paths of maps are as we see them, if we see them: a process that was put into another root of our own mount namespace
/// (chroot(2)) has that before all of them (fs/d_path.c, v6.12). It does not see that itself.
fn see_from_root(process: BorrowedFd<'_>, mappings: &mut [Mapping]) {
    let Ok(root) = readlinkat(process, "root", Vec::new()) else {
        return;
    };
    let root = root.as_bytes();
    if root == b"/" {
        return;
    }
    for mapping in mappings {
        if let Backing::File(file) = &mut mapping.backing
            && let Some(path) = file.path.as_bytes().strip_prefix(root)
            && path.starts_with(b"/")
        {
            file.path = OsStr::from_bytes(path).to_owned();
        }
    }
}

/// The memory of a process: what it shows of files that cannot be opened.
struct Memory(Option<File>);

/// Bytes that are read of the start of a file: a linker puts its headers and its build id there.
const HEAD_BYTES: usize = 16 << 10;
const ELF: &[u8; 4] = b"\x7fELF";

impl Memory {
    fn of(process: BorrowedFd<'_>) -> Self {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        // Some security modules allow the mappings and not the memory; then such files have no build id here.
        let memory = openat(process, "mem", flags, Mode::empty());
        Self(memory.ok().map(File::from))
    }

    fn starts_with_elf(&self, mapping: &Mapping) -> bool {
        let (Some(memory), Some(head)) = (&self.0, mapping.head) else {
            return false;
        };
        let mut magic = [0; ELF.len()];
        memory.read_exact_at(&mut magic, head).is_ok() && magic == *ELF
    }

    /// Files without a place are libraries where they begin like one; else they are memory.
    fn tell_libraries(&self, mappings: &mut [Mapping], known: &Known) {
        for mapping in mappings {
            let Backing::Nameless(file) = &mapping.backing else {
                continue;
            };
            let seen = known.files.contains(file) || known.lost.contains(file);
            mapping.backing = match seen || self.starts_with_elf(mapping) {
                true => Backing::File(file.clone()),
                false => Backing::Anonymous,
            };
        }
    }

    /// The starts of files that could not be held.
    fn heads(&self, seen: &Seen, known: &Known) -> Vec<(MappedFile, OwnedFd)> {
        let held: HashSet<&MappedFile> = seen.files.iter().map(|(file, _)| file).collect();
        let mut heads = HashMap::new();
        for mapping in &seen.mappings {
            let Backing::File(file) = &mapping.backing else {
                continue;
            };
            let is_known = [&known.files, &known.lost]
                .iter()
                .any(|known| known.contains(file));
            if is_known
                || held.contains(file)
                || heads.contains_key(file)
                || heads.len() >= FILES_MAX
            {
                continue;
            }
            if let Some(head) = self.head(mapping) {
                heads.insert(file.clone(), head);
            }
        }
        heads.into_iter().collect()
    }

    fn head(&self, mapping: &Mapping) -> Option<OwnedFd> {
        let mut bytes = vec![0; HEAD_BYTES];
        // It may end before.
        let count = self.0.as_ref()?.read_at(&mut bytes, mapping.head?).ok()?;
        bytes.truncate(count);
        if !bytes.starts_with(ELF) {
            return None;
        }
        // Where its sections are, of 64 and of 32 bits: they are not loaded.
        let sections = if bytes.get(4) == Some(&2) {
            40..48
        } else {
            32..36
        };
        bytes.get_mut(sections)?.fill(0);
        let file = File::from(memfd_create("head", MemfdFlags::CLOEXEC).ok()?);
        file.write_all_at(&bytes, 0).ok()?;
        Some(file.into())
    }
}

fn explain(pid: u32, what: &'static str, source: io::Error) -> ObserveError {
    match source.kind() {
        io::ErrorKind::PermissionDenied => ObserveError::Denied { pid, what },
        io::ErrorKind::NotFound => ObserveError::Gone { pid },
        _ if source.raw_os_error() == Some(libc::ESRCH) => ObserveError::Gone { pid },
        _ => ObserveError::Read { pid, what, source },
    }
}

fn read_all(process: BorrowedFd<'_>, name: &str, most: u64) -> io::Result<Vec<u8>> {
    let file = openat(
        process,
        name,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut bytes = Vec::new();
    File::from(file).take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn hold_files(
    process: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    mappings: &[Mapping],
    known: &HashSet<MappedFile>,
) -> Vec<(MappedFile, Held)> {
    let mut files = HashMap::new();
    for mapping in mappings {
        let Backing::File(file) = &mapping.backing else {
            continue;
        };
        if known.contains(file) || files.contains_key(file) || files.len() >= FILES_MAX {
            continue;
        }
        if let Ok(held) = hold_mapped(process, root, mapping, file) {
            files.insert(file.clone(), held);
        }
    }
    files.into_iter().collect()
}

/// By its name, and if another file has the name now, as the process's program or through the mapping itself.
fn hold_mapped(
    process: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    mapping: &Mapping,
    file: &MappedFile,
) -> Result<Held, OpenError> {
    let same = |held: Held| {
        let same = held.is(file.device, file.inode);
        same.then_some(held).ok_or(OpenError::Replaced)
    };
    if !file.deleted
        && let Ok(held) = hold_in(root, &file.path).and_then(same)
    {
        return Ok(held);
    }
    // The program itself is there by another name, also after it was deleted, and where it was never in a folder: memfd_create(2).
    if let Ok(held) = hold_link(process, "exe").and_then(same) {
        return Ok(held);
    }
    // Needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN (proc_pid_map_files(5)), which an agent does not have and a laptop's root has.
    hold_link(
        process,
        &format!("map_files/{:x}-{:x}", mapping.start, mapping.end),
    )
    .and_then(same)
}
