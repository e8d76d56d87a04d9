//! Destinations of bytes: standard output, or a file that is renamed to its name when complete.

use anyhow::{Context as _, Result, bail};
use rustix::{
    fs::{FileType, Mode, OFlags},
    io::{Errno, fcntl_dupfd_cloexec},
    stdio,
};
use std::{
    cell::RefCell,
    ffi::OsString,
    fs::{self, File},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Temporary names of unfinished files.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Destination of an output's bytes.
#[derive(Debug)]
pub(crate) struct Sink {
    file: File,
    /// Temporary and final name. It is a cell, because a CSV writer only lends the sink by reference.
    pending: RefCell<Option<(PathBuf, PathBuf)>>,
}

impl Sink {
    /// Creates a sink for standard output, with a duplicated descriptor: the original may be redirected.
    pub(crate) fn stdout() -> Result<Self> {
        let fd =
            fcntl_dupfd_cloexec(stdio::stdout(), 3).context("cannot duplicate standard output")?;
        Ok(Self {
            file: File::from(fd),
            pending: RefCell::default(),
        })
    }

    /// Creates a sink for an open file.
    pub(crate) fn of(file: File) -> Self {
        Self {
            file,
            pending: RefCell::default(),
        }
    }

    /// Creates a file, which is renamed to its name by [`Sink::finish`]. Errors are reported now.
    ///
    /// Only its owner may read it, because rows contain data of other users. Symbolic links are not followed: with them, a user with
    /// write access to the directory could make this program, as root, write to any file.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let shown = path.display();
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                bail!("cannot write {shown}: it is a directory; specify a file in it")
            }
            Ok(metadata) if metadata.is_symlink() => {
                bail!("cannot write {shown}: it is a symbolic link; specify its target")
            }
            // A device or a pipe must stay what it is.
            Ok(metadata) if !metadata.is_file() => return Ok(Self::of(special(path)?)),
            _ => {}
        }
        let Some(name) = path.file_name() else {
            bail!("cannot write {shown}: it is not the name of a file");
        };
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.part", std::process::id()));
        let temporary = path.with_file_name(temporary);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR)
            .with_context(|| format!("cannot write {shown}"))?;
        unfinished(|paths| paths.push(temporary.clone()));
        Ok(Self {
            file: File::from(fd),
            pending: RefCell::new(Some((temporary, path.to_owned()))),
        })
    }

    /// Returns whether the sink is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.file.is_terminal()
    }

    /// Renames the file to its final name.
    pub(crate) fn finish(&self) -> io::Result<()> {
        let Some((temporary, path)) = self.pending.take() else {
            return Ok(());
        };
        let renamed = fs::rename(&temporary, path);
        if renamed.is_err() {
            // The error that matters is the other.
            let _ = fs::remove_file(&temporary);
        }
        unfinished(|paths| paths.retain(|path| *path != temporary));
        renamed
    }

    /// Returns the final name of a file; `None` for standard output and devices.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.pending.borrow().as_ref().map(|(_, path)| path.clone())
    }
}

/// Opens an existing pipe or character device.
///
/// A pipe of another user is rejected, because its owner could read the rows. The check comes after opening, since a name may refer to
/// another file at any time. A pipe without a reader is rejected too, because opening it would block.
fn special(path: &Path) -> Result<File> {
    let shown = path.display();
    let flags =
        OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::NXIO) => {
            bail!("cannot write {shown}: no process reads from this pipe; start the reader first")
        }
        opened => opened.with_context(|| format!("cannot write {shown}"))?,
    };
    let stat = rustix::fs::fstat(&fd).with_context(|| format!("cannot write {shown}"))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo | FileType::CharacterDevice => {}
        _ => bail!("cannot write {shown}: it is not a file, a pipe or a character device"),
    }
    let own = rustix::process::geteuid().as_raw();
    if ![0, own].contains(&stat.st_uid) {
        bail!(
            "cannot write {shown}: it belongs to user {}, who could read the rows; use a file of your own, or redirect with the shell (>)",
            stat.st_uid
        );
    }
    // From here on a full pipe is waited for.
    let status = rustix::fs::fcntl_getfl(&fd)? - OFlags::NONBLOCK;
    rustix::fs::fcntl_setfl(&fd, status).with_context(|| format!("cannot write {shown}"))?;
    Ok(File::from(fd))
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some((temporary, _)) = self.pending.take() {
            // It is ours and incomplete; if it cannot be removed there is nothing else to do.
            let _ = fs::remove_file(&temporary);
            unfinished(|paths| paths.retain(|path| *path != temporary));
        }
    }
}

/// Removes unfinished files, for an exit without destructors.
pub(crate) fn abandon() {
    unfinished(|paths| {
        for path in paths.drain(..) {
            // Nothing else could be done.
            let _ = fs::remove_file(path);
        }
    });
}

fn unfinished(change: impl FnOnce(&mut Vec<PathBuf>)) {
    change(&mut UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn folder(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("tracejob-sink-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_file_appears_whole_and_is_its_owners_alone() {
        let folder = folder("whole");
        let path = folder.join("rows.json");
        let mut sink = Sink::create(&path).unwrap();
        sink.write_all(b"{}\n").unwrap();
        assert!(!path.exists(), "unfinished");
        sink.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{}\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            1,
            "nothing else is left"
        );
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_unfinished_file_leaves_the_old_one_and_no_trace() {
        let folder = folder("old");
        let path = folder.join("rows.json");
        fs::write(&path, "old").unwrap();
        let mut sink = Sink::create(&path).unwrap();
        sink.write_all(b"new").unwrap();
        drop(sink);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_refused_at_once_and_links_are_not_followed() {
        let folder = folder("refused");
        let error = |path: &Path| format!("{:#}", Sink::create(path).unwrap_err());
        assert!(error(&folder).contains("it is a directory"));
        symlink(folder.join("elsewhere"), folder.join("link")).unwrap();
        assert!(error(&folder.join("link")).contains("it is a symbolic link"));
        assert!(error(&folder.join("no/such/folder")).contains("No such file"));
        let null = Sink::create(Path::new("/dev/null")).unwrap();
        assert!(null.path().is_none(), "a device stays a device");
        fs::remove_dir_all(folder).unwrap();
    }

    fn pipe(path: &Path) {
        rustix::fs::mkfifoat(rustix::fs::CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
    }

    #[test]
    fn a_pipe_without_a_reader_is_refused_at_once_and_one_with_a_reader_gets_all() {
        let folder = folder("pipe");
        let path = folder.join("pipe");
        pipe(&path);
        let error = Sink::create(&path).unwrap_err().to_string();
        assert!(error.contains("no process reads from"), "{error}");
        let reader = rustix::fs::open(
            &path,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap();
        let mut sink = Sink::create(&path).unwrap();
        assert!(sink.path().is_none(), "a pipe stays a pipe");
        // More than a pipe holds, so that the writer has to wait for its reader.
        let sent = vec![b'x'; 1 << 20];
        let mut reader = File::from(reader);
        let status = rustix::fs::fcntl_getfl(&reader).unwrap() - OFlags::NONBLOCK;
        rustix::fs::fcntl_setfl(&reader, status).unwrap();
        let read = std::thread::spawn(move || {
            let mut got = Vec::new();
            io::Read::read_to_end(&mut reader, &mut got).unwrap();
            got
        });
        sink.write_all(&sent).unwrap();
        drop(sink);
        assert_eq!(read.join().unwrap(), sent);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_pipe_of_another_user_is_not_written_to() {
        if !rustix::process::geteuid().is_root() {
            println!("left out: only root can give a pipe to another user");
            return;
        }
        let folder = folder("foreign");
        let path = folder.join("pipe");
        pipe(&path);
        std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap();
        let reader = rustix::fs::open(
            &path,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap();
        let error = Sink::create(&path).unwrap_err().to_string();
        assert!(error.contains("it belongs to user 65534"), "{error}");
        drop(reader);
        fs::remove_dir_all(folder).unwrap();
    }
}
