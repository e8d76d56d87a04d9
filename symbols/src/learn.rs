//! Inspection of files: their build ids, required libraries, and the location of their debug information.

use super::{
    Symbolizer,
    files::FileId,
    link::AskError,
    name::{ASK_LIMIT, OPEN_LIMIT},
    open::{Held, OpenError, Root, hold_directory, hold_in, open_held},
    time_limit::TimedOut,
    wire::{Inspected, Reply, Request},
};
use std::{
    collections::{HashSet, VecDeque},
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Maximum files of a program: itself, its loader, its libraries and theirs.
const FILES_PER_PROGRAM_MAX: usize = 64;
/// Timeout of the inspection of a program. Files that were not inspected by then stay unknown.
const KNOW_LIMIT: Duration = Duration::from_secs(2);
/// Default directories of loaders: of glibc and musl, including Debian's directories by architecture.
/// /etc/ld.so.cache is not read, because the target can write it.
const LIBRARY_DIRS: &[&str] = &[
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    #[cfg(target_arch = "x86_64")]
    "/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    "/lib/aarch64-linux-gnu",
    #[cfg(target_arch = "x86_64")]
    "/usr/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    "/usr/lib/aarch64-linux-gnu",
    "/usr/local/lib",
    "/usr/local/lib64",
];

impl Symbolizer {
    /// Inspects a program file and its libraries, at a path in our own root, before or after it runs.
    ///
    /// So addresses with build ids get names even if the process ended before it could be observed.
    pub fn know_file(&mut self, path: &Path) {
        // A relative one begins in our own folder, and not in the root. It fails only where there is no such folder any more.
        let Ok(path) = std::path::absolute(path) else {
            return;
        };
        let root = self
            .time_limit
            .run(OPEN_LIMIT, || hold_directory("/".as_ref()));
        if let Ok(Ok(root)) = root {
            self.know(root, path.as_os_str());
        }
    }

    /// Inspects a program file, at a path in the root of an existing process.
    pub fn know_file_of(&mut self, pid: u32, path: &Path) {
        if self.hangs(pid) {
            return;
        }
        let root = self.proc.join(pid.to_string()).join("root");
        let root = self
            .time_limit
            .run(OPEN_LIMIT, move || hold_directory(&root));
        if let Ok(Ok(root)) = root {
            self.know(root, path.as_os_str());
        }
    }

    fn know(&mut self, root: OwnedFd, path: &OsStr) {
        self.release();
        if self.files.len() + FILES_PER_PROGRAM_MAX > super::files::FILES_MAX {
            self.forget();
        }
        let Some(which) = Root::of(&root) else { return };
        let root = Arc::new(root);
        let Some((program, path)) = self.hold_first(&root, which, vec![path.to_owned()]) else {
            return;
        };
        let libraries = self.files.get(program).libraries.as_deref();
        if libraries.is_some_and(|libraries| libraries.iter().all(|id| self.is_within_reach(*id))) {
            return;
        }
        let libraries = self.follow(program, path, &root, which);
        self.files.get_mut(program).libraries = Some(libraries);
    }

    /// Inspects a program and its direct and indirect libraries.
    fn follow(
        &mut self,
        program: FileId,
        path: OsString,
        root: &Arc<OwnedFd>,
        which: Root,
    ) -> Box<[FileId]> {
        let deadline = Instant::now() + KNOW_LIMIT;
        let mut found = vec![program];
        let mut asked: HashSet<OsString> = HashSet::new();
        let mut queue: VecDeque<(FileId, OsString)> = [(program, path)].into();
        while let Some((id, path)) = queue.pop_front() {
            let Some(inspected) = self.inspect(id) else {
                continue;
            };
            self.take_inspected(id, &inspected, root);
            let interpreter = inspected
                .interpreter
                .iter()
                .map(|path| vec![OsString::from_vec(path.clone())]);
            let needed = inspected
                .needed
                .iter()
                .map(|name| library_paths(name, &inspected, &path));
            for candidates in interpreter.chain(needed) {
                let name = candidates.last().cloned().unwrap_or_default();
                if found.len() >= FILES_PER_PROGRAM_MAX || Instant::now() >= deadline {
                    return found.into();
                }
                if !asked.insert(name) {
                    continue;
                }
                if let Some((id, path)) = self.hold_first(root, which, candidates)
                    && !found.contains(&id)
                {
                    found.push(id);
                    queue.push_back((id, path));
                }
            }
        }
        found.into()
    }

    /// Holds the first of these files that exists.
    fn hold_first(
        &mut self,
        root: &Arc<OwnedFd>,
        which: Root,
        paths: Vec<OsString>,
    ) -> Option<(FileId, OsString)> {
        let root = root.clone();
        let held = self
            .time_limit
            .run(OPEN_LIMIT, move || hold_first(&root, paths));
        let (path, held) = held.ok()??;
        let (id, _) = self.files.add(&path.to_string_lossy(), held, which);
        Some((id, path))
    }

    /// Inspects new files, all below one root.
    pub(super) fn learn(&mut self, files: Vec<FileId>, root: OwnedFd) {
        let root = Arc::new(root);
        for id in files {
            if let Some(inspected) = self.inspect(id) {
                self.take_inspected(id, &inspected, &root);
            }
        }
    }

    /// Returns the build id of a file, by its first bytes in our own memory.
    pub(super) fn build_id_of(&mut self, head: OwnedFd) -> Option<[u8; 20]> {
        match self.link.ask(&Request::Inspect, &[head.as_fd()], ASK_LIMIT) {
            Ok(Reply::Inspected(inspected)) => inspected.build_id,
            Ok(_) | Err(AskError::Start { .. } | AskError::NotStarted) => None,
            // It costs its own file's build id; the next question starts another reader.
            Err(AskError::TimedOut { .. } | AskError::Ended) => {
                self.counts.failures += 1;
                None
            }
        }
    }

    fn inspect(&mut self, id: FileId) -> Option<Inspected> {
        let held = self.files.get(id).held()?.try_clone_to_owned().ok()?;
        let opened = self
            .time_limit
            .run(OPEN_LIMIT, move || open_held(held.as_fd()));
        if matches!(opened, Err(TimedOut::TookTooLong)) {
            self.blame_for(id);
            self.give_up(id);
        }
        let file = opened.ok()?.ok()?;
        let reply = self.link.ask(&Request::Inspect, &[file.as_fd()], ASK_LIMIT);
        self.time_limit.discard(file);
        match reply {
            Ok(Reply::Inspected(inspected)) => Some(inspected),
            Ok(_) | Err(AskError::Start { .. } | AskError::NotStarted) => None,
            Err(AskError::TimedOut { .. }) => {
                self.blame_for(id);
                self.give_up(id);
                None
            }
            Err(AskError::Ended) => {
                self.blame_for(id);
                None
            }
        }
    }

    fn take_inspected(&mut self, id: FileId, inspected: &Inspected, root: &Arc<OwnedFd>) {
        let Some(build_id) = inspected.build_id else {
            return;
        };
        self.files.index(id, build_id);
        if inspected.has_debug {
            return;
        }
        // Distributions put debug information there, by build id. Links to other places are not followed.
        let below = root.clone();
        let held = self.time_limit.run(OPEN_LIMIT, move || {
            let hex: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
            let path = format!("usr/lib/debug/.build-id/{}/{}.debug", &hex[..2], &hex[2..]);
            hold_in(below.as_fd(), path.as_ref())
        });
        if let Ok(Ok(held)) = held {
            self.files.add_debug(id, held);
        }
    }
}

fn hold_first(root: &OwnedFd, paths: Vec<OsString>) -> Option<(OsString, Held)> {
    let hold = |path: OsString| -> Result<_, OpenError> {
        Ok((path.clone(), hold_in(root.as_fd(), &path)?))
    };
    paths.into_iter().find_map(|path| hold(path).ok())
}

/// Returns the directories in which a loader searches for a library: those of the program, and the default ones.
pub(super) fn library_paths(name: &[u8], inspected: &Inspected, program: &OsStr) -> Vec<OsString> {
    if name.contains(&b'/') {
        return vec![OsString::from_vec(name.to_vec())];
    }
    let origin = Path::new(program).parent().unwrap_or(Path::new("/"));
    let said = inspected.run_path.as_deref().unwrap_or_default();
    let said = said
        .split(|byte| *byte == b':')
        .filter_map(|dir| {
            let rest = dir
                .strip_prefix(b"$ORIGIN")
                .or(dir.strip_prefix(b"${ORIGIN}"));
            match rest {
                Some(rest) => Some([origin.as_os_str().as_bytes(), rest].concat()),
                None => dir.starts_with(b"/").then(|| dir.to_vec()),
            }
        })
        .take(8);
    let usual = LIBRARY_DIRS.iter().map(|dir| dir.as_bytes().to_vec());
    said.chain(usual)
        .map(|dir| OsString::from_vec([&dir, &b"/"[..], name].concat()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(name: &[u8], run_path: Option<&[u8]>) -> Vec<OsString> {
        let inspected = Inspected {
            run_path: run_path.map(<[u8]>::to_vec),
            ..Inspected::default()
        };
        library_paths(name, &inspected, "/opt/x/bin/x".as_ref())
    }

    #[test]
    fn a_library_is_looked_for_where_the_program_says_first() {
        let found = paths(b"liba.so", Some(b"$ORIGIN/../lib:relative:/opt/lib"));
        assert_eq!(found[0], "/opt/x/bin/../lib/liba.so");
        assert_eq!(found[1], "/opt/lib/liba.so");
        assert_eq!(found[2], "/lib64/liba.so");
    }

    #[test]
    fn a_library_with_a_path_is_that_path() {
        assert_eq!(paths(b"/opt/liba.so", None), ["/opt/liba.so"]);
    }
}
