//! Start of a traced command, without missing events or tracing anything else: a launcher, which is this program, waits untraced until all
//! programs are attached, and then executes the command.

use crate::Error;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    io::{FdFlags, fcntl_setfd},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
};

/// The launcher's own first argument.
const ROLE: &str = "--tracejob-launch";

/// A command that waits for its start or runs.
pub(crate) struct Launched {
    child: Child,
    pidfd: OwnedFd,
    program: OsString,
    go: Option<File>,
    failure: File,
}

impl Launched {
    /// Starts the launcher.
    pub(crate) fn new(argv: &[OsString]) -> Result<Self, Error> {
        let program = argv.first().cloned().unwrap_or_default();
        let failed = |source: io::Error| Error::Command {
            command: program.clone(),
            source,
        };
        if program.is_empty() {
            return Err(failed(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no command was given",
            )));
        }
        let (go_read, go_write) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
        let (failure_read, failure_write) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
        // Only the launcher inherits its two ends.
        fcntl_setfd(&go_read, FdFlags::empty()).map_err(|e| failed(e.into()))?;
        fcntl_setfd(&failure_write, FdFlags::empty()).map_err(|e| failed(e.into()))?;
        let child = Command::new("/proc/self/exe")
            .arg(ROLE)
            .arg(go_read.as_raw_fd().to_string())
            .arg(failure_write.as_raw_fd().to_string())
            .args(argv)
            .spawn()
            .map_err(failed)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pidfd = pid
            .ok_or_else(|| io::Error::other("it has no number"))
            .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?))
            .map_err(failed)?;
        // Its own ends, so that only the launcher holds them and their closing is seen.
        drop((go_read, failure_write));
        let mut launched = Self {
            child,
            pidfd,
            program: program.clone(),
            go: Some(go_write.into()),
            failure: failure_read.into(),
        };
        // Waits for the launcher's own exec, which must not count as the command's.
        launched.failure.read_exact(&mut [0]).map_err(failed)?;
        Ok(launched)
    }

    /// Returns the PID.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns a descriptor that is readable after the end of the process.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Executes the command in the launcher, and waits for success or failure.
    pub(crate) fn go(&mut self) -> Result<(), Error> {
        let failed = |source| Error::Command {
            command: self.program.clone(),
            source,
        };
        if let Some(mut go) = self.go.take() {
            go.write_all(b"!").map_err(failed)?;
        }
        // Closed by a successful exec, without a message.
        let mut errno = Vec::new();
        self.failure.read_to_end(&mut errno).map_err(failed)?;
        match errno.try_into().map(i32::from_ne_bytes) {
            Ok(errno) => Err(failed(io::Error::from_raw_os_error(errno))),
            Err(_) => Ok(()),
        }
    }

    /// Returns the exit status if the process has ended.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends SIGTERM to the process.
    pub(crate) fn terminate(&self) {
        // It may just have ended.
        let _ = pidfd_send_signal(&self.pidfd, Signal::TERM);
    }
}

impl Drop for Launched {
    /// Waits for a launcher without a start, so that no zombie remains. It ends when the pipe is closed.
    fn drop(&mut self) {
        if self.go.take().is_some() {
            let _ = self.child.wait();
        }
    }
}

/// Runs the launcher; returns only if this process is not one.
pub(crate) fn launch_if_asked() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_none_or(|role| role != ROLE) {
        return;
    }
    let code = launch(args).map_or_else(|error| error.raw_os_error().unwrap_or(1), |()| 0);
    std::process::exit(if code == 0 { 0 } else { 127 });
}

fn launch(mut args: impl Iterator<Item = OsString>) -> io::Result<()> {
    let mut file = || {
        let number = args.next().and_then(|arg| arg.to_str()?.parse().ok());
        number
            .and_then(inherited)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
    };
    let (mut go, mut failure) = (file()?, file()?);
    failure.write_all(b"?")?;
    if go.read(&mut [0])? == 0 {
        // The trace could not start.
        return Ok(());
    }
    let program = args.next().unwrap_or_default();
    let error = Command::new(program).args(args).exec();
    failure.write_all(&error.raw_os_error().unwrap_or(libc::EINVAL).to_ne_bytes())?;
    Err(error)
}

/// Returns an inherited descriptor, which is closed by the exec of the command.
#[allow(unsafe_code, reason = "a descriptor is known only by its number here")]
fn inherited(number: i32) -> Option<File> {
    if number <= 2 {
        return None;
    }
    // SAFETY: `Launched::new` made this descriptor for this process, and nothing else here uses it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&fd, FdFlags::CLOEXEC).ok()?;
    Some(fd.into())
}

/// Returns the file of a command's program, as execvp(3) finds it.
pub(crate) fn found_in_path(program: &OsStr) -> Vec<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(program)];
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&path).map(|dir| dir.join(Path::new(program)));
    candidates.filter(|path| path.is_file()).take(1).collect()
}
