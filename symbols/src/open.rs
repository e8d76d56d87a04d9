//! Opens files of targets, without leaving their root and without touching anything but regular files.
//!
//! Every call here may hang on a hostile file system, and runs under [`super::time_limit`].

use rustix::{
    fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, fstatfs, openat, openat2, statx},
    io::Errno,
};
use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

// include/uapi/linux/magic.h, v6.12.
const PROC_SUPER_MAGIC: u64 = 0x9fa0;
const SYSFS_MAGIC: u64 = 0x6265_6572;
const DEBUGFS_MAGIC: u64 = 0x6462_6720;
const TRACEFS_MAGIC: u64 = 0x7472_6163;
const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c_7630;
const BTRFS_SUPER_MAGIC: u64 = 0x9123_683e;

/// Reason for not opening a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// It does not exist, is not accessible, or leads out of the root.
    #[error("it cannot be opened")]
    Open(#[source] io::Error),
    /// A directory, device, pipe or socket.
    #[error("it is no regular file")]
    NotRegular,
    /// A file that the kernel generates. Some of these never end, or consume data that other readers wait for.
    #[error("it is no file of a disk")]
    MadeUp,
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// It is not the file that is mapped.
    #[error("it was replaced")]
    Replaced,
}

/// Identity of a file in its current state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_ns: i128,
}

impl Identity {
    /// Device and inode.
    pub(super) fn numbers(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Returns whether it is the same file, regardless of later writes.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// A file, held without being opened: it can be neither read nor blocked on, and keeps no process waiting when it is closed.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) fd: OwnedFd,
    pub(super) identity: Identity,
    pub(super) owner: u32,
}

/// The root below which a file was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// Device and inode.
    pub(super) identity: (u64, u64),
    /// Whether it is our own.
    pub(super) ours: bool,
}

impl Root {
    pub(super) fn of(directory: impl AsFd) -> Option<Self> {
        let stat = rustix::fs::fstat(directory).ok()?;
        let ours = rustix::fs::stat("/").ok()?;
        Some(Self {
            identity: (stat.st_dev, stat.st_ino),
            ours: (stat.st_dev, stat.st_ino) == (ours.st_dev, ours.st_ino),
        })
    }
}

/// Holds a directory, to open what is below it.
pub(super) fn hold_directory(path: &std::path::Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Holds the regular file at this path below the root. Links do not lead out of the root, and those of /proc are not followed.
pub(super) fn hold_in(root: BorrowedFd<'_>, path: &OsStr) -> Result<Held, OpenError> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let open = |resolve| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        openat2(root, path.as_bytes(), flags, Mode::empty(), resolve)
    };
    // A mapped file is in the cache of names, so the lookup needs no file system. Kernels before 5.12 do not have the flag.
    let fd = match open(resolve | ResolveFlags::CACHED) {
        Err(Errno::AGAIN | Errno::INVAL) => open(resolve),
        other => other,
    };
    hold(fd.map_err(|error| OpenError::Open(error.into()))?)
}

/// Holds the target of a link of /proc, such as an entry of /proc/PID/map_files.
pub(super) fn hold_link(directory: BorrowedFd<'_>, name: &str) -> Result<Held, OpenError> {
    let fd = openat(
        directory,
        name,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    );
    hold(fd.map_err(|error| OpenError::Open(error.into()))?)
}

fn hold(fd: OwnedFd) -> Result<Held, OpenError> {
    let stat = rustix::fs::fstat(&fd).map_err(|error| OpenError::Open(error.into()))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(OpenError::NotRegular);
    }
    if [PROC_SUPER_MAGIC, SYSFS_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC].contains(&file_system(&fd)) {
        return Err(OpenError::MadeUp);
    }
    let identity = Identity {
        device: stat.st_dev,
        inode: stat.st_ino,
        bytes: stat.st_size as u64,
        modified_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
    };
    if identity.bytes == 0 {
        return Err(OpenError::Empty);
    }
    Ok(Held {
        fd,
        identity,
        owner: stat.st_uid,
    })
}

fn file_system(fd: impl AsFd) -> u64 {
    // An unknown file system is treated like one that is not listed.
    fstatfs(fd).map_or(0, |stat| stat.f_type as u64)
}

impl Held {
    /// Returns whether it is the file with these numbers in /proc/PID/maps.
    pub(super) fn is(&self, device: u64, inode: u64) -> bool {
        let found = &self.identity;
        if found.inode == inode && found.device == device {
            return true;
        }
        match file_system(&self.fd) {
            // Before Linux 6.7 (def3ae83da02), maps have the file below the overlay, with another device.
            // Its number is the same, or, with xino, the same in the lower bits (Documentation/filesystems/overlayfs.rst).
            OVERLAYFS_SUPER_MAGIC => found.inode as u32 == inode as u32,
            // A subvolume has a device of its own in stat and the file system's in maps.
            BTRFS_SUPER_MAGIC => found.inode == inode,
            _ => false,
        }
    }
}

/// Returns the current state of the file: it may have grown since it was held.
pub(super) fn bytes_now(fd: &OwnedFd) -> Option<u64> {
    statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::SIZE)
        .ok()
        .map(|stat| stat.stx_size)
}

/// Opens a held file for reading. The caller returns it, and [`super::time_limit`] closes it.
pub(super) fn open_held(fd: BorrowedFd<'_>) -> Result<File, OpenError> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(|error| OpenError::Open(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{FileType, mknodat, symlink};
    use std::{fs, path::PathBuf};

    /// A directory that goes away with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("tracejob-open-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn hold(&self, path: &str) -> Result<Held, OpenError> {
            let root = hold_directory(&self.0).unwrap();
            hold_in(root.as_fd(), path.as_ref())
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_regular_file_is_held_and_read() {
        let directory = Directory::new("regular");
        fs::write(directory.0.join("a"), "text").unwrap();
        let held = directory.hold("/a").unwrap();
        let file = open_held(held.fd.as_fd()).unwrap();
        assert_eq!(std::io::read_to_string(file).unwrap(), "text");
        assert_eq!(bytes_now(&held.fd), Some(4));
    }

    #[test]
    fn a_pipe_a_device_and_a_directory_are_not_opened() {
        let directory = Directory::new("special");
        fs::create_dir(directory.0.join("directory")).unwrap();
        let root = hold_directory(&directory.0).unwrap();
        mknodat(&root, "pipe", FileType::Fifo, Mode::RUSR, 0).unwrap();
        let mut special = vec!["pipe", "directory"];
        // /dev/tty, where this test may make devices.
        let device = rustix::fs::makedev(5, 0);
        if mknodat(
            &root,
            "device",
            FileType::CharacterDevice,
            Mode::RUSR,
            device,
        )
        .is_ok()
        {
            special.push("device");
        }
        for name in special {
            assert!(
                matches!(directory.hold(name), Err(OpenError::NotRegular)),
                "{name}"
            );
        }
    }

    #[test]
    fn no_link_leads_out_of_the_root() {
        let directory = Directory::new("links");
        for (target, name) in [("../../../etc/passwd", "up"), ("/etc/passwd", "absolute")] {
            symlink(target, directory.0.join(name)).unwrap();
            assert!(
                matches!(directory.hold(name), Err(OpenError::Open(_))),
                "{name}"
            );
        }
        assert!(matches!(
            directory.hold("../../../../etc/passwd"),
            Err(OpenError::Open(_))
        ));
        // Inside, the same links are good.
        fs::create_dir(directory.0.join("etc")).unwrap();
        fs::write(directory.0.join("etc/passwd"), "mine").unwrap();
        for name in ["up", "absolute"] {
            let file = open_held(directory.hold(name).unwrap().fd.as_fd()).unwrap();
            assert_eq!(std::io::read_to_string(file).unwrap(), "mine");
        }
    }

    #[test]
    fn links_of_proc_are_not_followed() {
        let root = hold_directory("/".as_ref()).unwrap();
        assert!(matches!(
            hold_in(root.as_fd(), "/proc/self/exe".as_ref()),
            Err(OpenError::Open(_))
        ));
    }

    #[test]
    fn files_that_the_kernel_makes_up_are_not_opened() {
        let root = hold_directory("/".as_ref()).unwrap();
        for path in ["/proc/self/stat", "/proc/kmsg", "/sys/kernel/notes"] {
            assert!(
                matches!(hold_in(root.as_fd(), path.as_ref()), Err(OpenError::MadeUp)),
                "{path}"
            );
        }
    }

    #[test]
    fn a_replaced_file_is_another_one() {
        let directory = Directory::new("replaced");
        fs::write(directory.0.join("a"), "old").unwrap();
        let old = directory.hold("a").unwrap();
        fs::write(directory.0.join("b"), "new").unwrap();
        fs::rename(directory.0.join("b"), directory.0.join("a")).unwrap();
        let new = directory.hold("a").unwrap();
        assert!(old.is(old.identity.device, old.identity.inode));
        assert!(!new.is(old.identity.device, old.identity.inode));
        assert_ne!(new.identity, old.identity);
        // What is held is still what it was.
        let file = open_held(old.fd.as_fd()).unwrap();
        assert_eq!(std::io::read_to_string(file).unwrap(), "old");
    }
}
