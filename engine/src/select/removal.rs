//! Notification of removed cgroups, so that the reader of a trace that ends with its cgroups sleeps until one is removed.
//!
//! The watches are on the parent directories. A cgroup's own directory reports no IN_DELETE_SELF, because kernfs never sets the link count
//! of its inode to 0 (observed on 6.18 for version 1 and 2). rmdir(2) reports IN_DELETE to the parent in both versions: inotify(7).
//!
//! A directory may have no watch, because fs.inotify.max_user_instances or fs.inotify.max_user_watches is reached. The reader then detects the
//! removal at its next poll, at most a second later (`engine/src/run/rest.rs`).

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::inotify::{CreateFlags, WatchFlags, add_watch, init, remove_watch},
    io::{Errno, read},
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// Bytes of notifications that are read at once; each has at most 16 bytes and a name of 256 bytes: inotify(7).
const BUFFER: usize = 4096;

/// Watches of the directories that contain the selected cgroups. Watches only cause a wake-up; the check itself is
/// [`super::find::Place::is_gone`].
#[derive(Debug, Default)]
pub(super) struct RemovalWatch {
    /// The inotify instance; opened for the first directory, because a user may have only 128 by default.
    inotify: Option<OwnedFd>,
    watched: HashMap<PathBuf, i32>,
}

impl RemovalWatch {
    /// Watches these directories and no others.
    pub(super) fn watch<'a>(&mut self, directories: impl Iterator<Item = &'a Path>) {
        let mut stale = std::mem::take(&mut self.watched);
        for directory in directories {
            if self.watched.contains_key(directory) {
                continue;
            }
            let watched = match stale.remove(directory) {
                Some(known) => Ok(known),
                None => self.add(directory),
            };
            match watched {
                Ok(watch) => drop(self.watched.insert(directory.to_owned(), watch)),
                Err(error) => {
                    tracing::debug!(
                        directory = %directory.display(), %error,
                        "no notification of removed cgroups"
                    );
                }
            }
        }
        for watch in stale.into_values() {
            if let Some(inotify) = &self.inotify {
                // An error means that the directory and its watch are gone.
                let _ = remove_watch(inotify, watch);
            }
        }
    }

    fn add(&mut self, directory: &Path) -> Result<i32, Errno> {
        let inotify = match &self.inotify {
            Some(inotify) => inotify,
            None => {
                let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
                self.inotify.insert(init(flags)?)
            }
        };
        add_watch(inotify, directory, WatchFlags::DELETE | WatchFlags::ONLYDIR)
    }

    /// Returns the descriptor that is readable when a cgroup was removed.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Discards the notifications so far, so that the descriptor is readable only after the next one.
    pub(super) fn clear(&self) {
        let Some(inotify) = &self.inotify else {
            return;
        };
        let mut buffer = [0; BUFFER];
        while read(inotify, &mut buffer).is_ok_and(|bytes| bytes > 0) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::fs;

    fn is_readable(watch: &RemovalWatch) -> bool {
        let Some(fd) = watch.fd() else {
            return false;
        };
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&now)).unwrap() == 1
    }

    #[test]
    fn only_a_removal_in_a_watched_directory_is_notified() {
        let folder = std::env::temp_dir().join(format!("tracejob-removal-{}", std::process::id()));
        let make = |name: &str| {
            let path = folder.join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let (first, second) = (make("a/one"), make("b/two"));
        let parents = [first.parent().unwrap(), second.parent().unwrap()];
        let mut watch = RemovalWatch::default();
        assert!(watch.fd().is_none(), "no instance without a cgroup");
        // Two cgroups of the same parent.
        watch.watch([parents[0], parents[0], parents[1]].into_iter());
        assert_eq!(watch.watched.len(), 2);
        make("a/three");
        assert!(!is_readable(&watch));
        fs::remove_dir(&second).unwrap();
        assert!(is_readable(&watch));
        watch.clear();
        assert!(!is_readable(&watch));
        watch.watch(parents[1..].iter().copied());
        // The removal of a watch is a notification too: IN_IGNORED.
        watch.clear();
        fs::remove_dir(&first).unwrap();
        assert!(!is_readable(&watch), "it is no longer watched");
        watch.watch([folder.join("missing").as_path()].into_iter());
        assert!(watch.watched.is_empty(), "no error without a watch");
        fs::remove_dir_all(&folder).unwrap();
    }
}
