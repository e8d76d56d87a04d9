//! Search for functions by name in the files that processes have mapped, to attach user probes.
//!
//! The inverse of [`Symbolizer`](super::Symbolizer), with the same isolation: files are held within the process's own root, compared with the
//! mapped ones, and read only by the worker.

use super::{
    link::{AskError, Link},
    maps::{Backing, MappedFile},
    name::{ASK_LIMIT, OPEN_LIMIT},
    observe::{Known, ObserveError, observe},
    open::{Held, Root, hold_directory, hold_in, hold_link, open_held},
    time_limit::{TimeLimit, TimedOut},
    wire::{Inspected, Reply, Request},
};
use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    time::Duration,
};

/// Timeout of the observation of a process.
const LOOK_LIMIT: Duration = Duration::from_secs(1);
/// Maximum files of a root at which the worker fails or times out. No further file of this root is read.
const FAILURES_MAX: u32 = 4;
/// Maximum roots with failures. Their counts are cleared at this number.
const BLAMED_MAX: usize = 4096;

/// A file of a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// The C library; in a statically linked program, the program itself.
    Libc,
    /// The program.
    Program,
    /// The library with this file name.
    Library(String),
}

impl Object {
    /// Returns the file with a point's name: `libc`, `program`, or the file name of a library.
    pub fn named(name: &str) -> Self {
        match name {
            "libc" => Self::Libc,
            "program" => Self::Program,
            library => Self::Library(library.to_owned()),
        }
    }
}

/// A file of a process, held without being opened.
#[derive(Debug)]
pub struct UserFile {
    /// Path in the process's mappings.
    pub path: OsString,
    /// Device and inode.
    pub identity: (u64, u64),
    /// Device and inode of the root below which it was found.
    pub root: (u64, u64),
    fd: OwnedFd,
}

impl AsFd for UserFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The location of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Offsets in the file: several if versions of the function have the same name.
    At(Vec<u64>),
    /// Chosen when the program starts (STT_GNU_IFUNC): the file does not contain the location.
    Indirect,
    /// The file has no function with this name.
    Missing,
}

/// Reason of a failed search.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The process cannot be observed.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// The worker reports that the file cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// Opening or reading the file took too long, or ended the worker.
    #[error("it was too much for its reader")]
    TooMuch,
    /// The worker failed at too many files of this container.
    #[error("files of the same root were too much for the reader before")]
    Blamed,
    /// There is no worker.
    #[error("its reader cannot be started")]
    NoWorker,
}

/// A search for functions, for one thread. The first use starts a worker.
#[derive(Debug)]
pub struct Finder {
    proc: PathBuf,
    link: Link,
    time_limit: TimeLimit,
    blame: HashMap<(u64, u64), u32>,
}

impl Finder {
    /// Creates a search for processes below `proc`. The worker is this program, which must call [`worker_if_asked`](super::worker_if_asked) first.
    pub fn new(proc: impl Into<PathBuf>) -> Self {
        Self::with_worker(proc, "/proc/self/exe")
    }

    /// Creates the same with the given program as the worker.
    pub fn with_worker(proc: impl Into<PathBuf>, program: impl Into<PathBuf>) -> Self {
        Self {
            proc: proc.into(),
            link: Link::new(program.into()),
            time_limit: TimeLimit::default(),
            blame: HashMap::new(),
        }
    }

    /// Returns a file of a process; `None` if the process has not mapped it (yet).
    ///
    /// # Errors
    /// If the process has ended, is not accessible, or hangs.
    pub fn look(&mut self, pid: u32, object: &Object) -> Result<Option<UserFile>, FindError> {
        let (proc, object) = (self.proc.clone(), object.clone());
        let seen = (self.time_limit).run(LOOK_LIMIT, move || look(&proc, pid, &object));
        Ok(seen.map_err(|_| ObserveError::TookTooLong { pid })??)
    }

    /// Returns the file that a program will map when it starts, by the program's own headers; paths are our own.
    pub fn of_program(
        &mut self,
        path: &Path,
        object: &Object,
    ) -> Result<Option<UserFile>, FindError> {
        let Ok(path) = std::path::absolute(path) else {
            return Ok(None);
        };
        let program = self.hold_ours(vec![path.clone().into_os_string()])?;
        let Some(program) = program else {
            return Ok(None);
        };
        let name: &OsStr = match object {
            Object::Program => return Ok(Some(program)),
            Object::Libc => OsStr::new("libc.so.6"),
            Object::Library(name) => OsStr::new(name),
        };
        let inspected = match self.ask(&program, &Request::Inspect)? {
            Reply::Inspected(inspected) => inspected,
            Reply::Refused(why) => return Err(FindError::Unusable(why)),
            _ => return Err(FindError::TooMuch),
        };
        let Inspected {
            interpreter,
            needed,
            ..
        } = &inspected;
        let static_program = interpreter.is_none() && needed.is_empty();
        if static_program {
            return Ok((*object == Object::Libc).then_some(program));
        }
        let mut candidates =
            super::learn::library_paths(name.as_bytes(), &inspected, path.as_os_str());
        // musl's is its own loader.
        if let (Object::Libc, Some(interpreter)) = (object, interpreter)
            && is_libc(basename(interpreter))
        {
            candidates = vec![OsStr::from_bytes(interpreter).to_owned()];
        }
        self.hold_ours(candidates)
    }

    fn hold_ours(&mut self, paths: Vec<OsString>) -> Result<Option<UserFile>, FindError> {
        let held = self.time_limit.run(OPEN_LIMIT, move || {
            let root = hold_directory("/".as_ref()).ok()?;
            let which = Root::of(&root)?;
            let mut paths = paths.into_iter();
            paths.find_map(|path| Some(user_file(hold_in(root.as_fd(), &path).ok()?, path, which)))
        });
        held.map_err(|_| FindError::TooMuch)
    }

    /// Returns the locations of functions with these names, in this order.
    ///
    /// # Errors
    /// If the file has no symbols, cannot be read, or the worker fails.
    pub fn functions(&mut self, file: &UserFile, names: &[&str]) -> Result<Vec<Place>, FindError> {
        let request = Request::Find {
            names: names.iter().map(|name| name.as_bytes().to_vec()).collect(),
        };
        match self.ask(file, &request)? {
            Reply::Functions(functions) if functions.len() == names.len() => Ok(functions
                .into_iter()
                .map(|function| match function.offsets.is_empty() {
                    false => Place::At(function.offsets),
                    true if function.indirect => Place::Indirect,
                    true => Place::Missing,
                })
                .collect()),
            Reply::Refused(why) => Err(FindError::Unusable(why)),
            // An invalid reply: the worker is compromised by the file.
            _ => {
                self.blame(file.root);
                self.link.end();
                Err(FindError::TooMuch)
            }
        }
    }

    fn ask(&mut self, file: &UserFile, request: &Request) -> Result<Reply, FindError> {
        if self
            .blame
            .get(&file.root)
            .is_some_and(|times| *times >= FAILURES_MAX)
        {
            return Err(FindError::Blamed);
        }
        let held = file.fd.try_clone().map_err(|_| FindError::TooMuch)?;
        let opened = self
            .time_limit
            .run(OPEN_LIMIT, move || open_held(held.as_fd()));
        let opened = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(FindError::Unusable(error.to_string())),
            Err(TimedOut::TookTooLong | TimedOut::NotBegun) => {
                self.blame(file.root);
                return Err(FindError::TooMuch);
            }
        };
        let reply = self.link.ask(request, &[opened.as_fd()], ASK_LIMIT);
        self.time_limit.discard(opened);
        reply.map_err(|error| match error {
            AskError::TimedOut { .. } | AskError::Ended => {
                self.blame(file.root);
                FindError::TooMuch
            }
            AskError::Start { .. } | AskError::NotStarted => FindError::NoWorker,
        })
    }

    fn blame(&mut self, root: (u64, u64)) {
        if self.blame.len() >= BLAMED_MAX {
            self.blame.clear();
        }
        *self.blame.entry(root).or_default() += 1;
    }

    /// Ends the worker if it was idle for this long.
    pub fn rest(&mut self, idle: Duration) {
        self.link.rest(idle);
    }
}

fn user_file(held: Held, path: OsString, root: Root) -> UserFile {
    UserFile {
        path,
        identity: held.identity.numbers(),
        root: root.identity,
        fd: held.fd,
    }
}

fn look(proc: &Path, pid: u32, object: &Object) -> Result<Option<UserFile>, ObserveError> {
    let gone = |_| ObserveError::Gone { pid };
    // Opened before the process is observed: if its PID is reused in the meantime, the program is not among the files.
    let process = hold_directory(&proc.join(pid.to_string())).map_err(gone)?;
    let program = hold_link(process.as_fd(), "exe").ok();
    let seen = observe(proc, pid, &Known::default())?;
    let Some((_, root)) = seen.root else {
        return Err(ObserveError::Denied { pid, what: "root" });
    };
    let is_program = |file: &MappedFile| {
        { program.as_ref() }.is_some_and(|program| program.is(file.device, file.inode))
    };
    let mapped: Vec<&MappedFile> = seen
        .mappings
        .iter()
        .filter_map(|mapping| match &mapping.backing {
            Backing::File(file) => Some(file),
            _ => None,
        })
        .collect();
    let named = |wanted: &dyn Fn(&[u8]) -> bool| {
        { mapped.iter().copied() }.find(|file| wanted(basename(file.path.as_bytes())))
    };
    let wanted = match object {
        Object::Library(name) => named(&|file| file == name.as_bytes()),
        Object::Program => mapped.iter().copied().find(|file| is_program(file)),
        Object::Libc => named(&is_libc).or_else(|| match named(&is_loader) {
            // Its libraries are not mapped yet.
            Some(_) => None,
            None => mapped.iter().copied().find(|file| is_program(file)),
        }),
    };
    let wanted = wanted.cloned();
    let file = wanted.and_then(|wanted| {
        let mut files = seen.files.into_iter();
        files.find_map(|(mapped, held)| (mapped == wanted).then_some((mapped, held)))
    });
    Ok(file.map(|(mapped, held)| user_file(held, mapped.path, root)))
}

fn basename(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// glibc's, by its name and by that of its file before 2.34; musl's, which is its loader too.
fn is_libc(file: &[u8]) -> bool {
    let between = |start: &[u8], end: &[u8]| file.starts_with(start) && file.ends_with(end);
    matches!(file, b"libc.so.6" | b"libc.so")
        || between(b"libc-2.", b".so")
        || between(b"libc.musl-", b".so.1")
        || between(b"ld-musl-", b".so.1")
}

/// What maps a program's libraries.
fn is_loader(file: &[u8]) -> bool {
    file.starts_with(b"ld-") || file.starts_with(b"ld.so")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_libraries_are_told_by_the_names_of_their_files() {
        for file in [
            "libc.so.6",
            "libc-2.31.so",
            "ld-musl-x86_64.so.1",
            "libc.musl-aarch64.so.1",
            "libc.so",
        ] {
            assert!(is_libc(file.as_bytes()), "{file}");
        }
        for file in [
            "libcrypto.so.3",
            "libc.so.5",
            "ld-linux-x86-64.so.2",
            "libc-2.31.so.bak",
            "libc",
        ] {
            assert!(!is_libc(file.as_bytes()), "{file}");
        }
        assert!(is_loader(b"ld-linux-x86-64.so.2"));
        assert_eq!(basename(b"/usr/lib/libc.so.6"), b"libc.so.6");
    }

    #[test]
    fn a_process_that_is_not_there_is_said_to_be_gone() {
        let mut finder = Finder::new("/proc");
        let found = finder.look(u32::MAX, &Object::Libc);
        assert!(matches!(
            found,
            Err(FindError::Observe(ObserveError::Gone { pid: u32::MAX }))
        ));
    }
}
