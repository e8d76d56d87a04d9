//! The parent's side of the worker: start, requests, timeouts, end. It is independent of the content of requests.

use super::{
    wire::{FDS_MAX, MESSAGE_MAX, Reply, Request},
    worker::ARGUMENT,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        SocketFlags, SocketType, recv, sendmsg, socketpair,
    },
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Starting a worker takes 3 ms; a machine that is out of memory takes longer.
const START_LIMIT: Duration = Duration::from_secs(5);
/// Maximum successive failures to start a worker. No further worker is started then: the program was replaced, or must not run.
const FAILED_STARTS_MAX: u32 = 3;

/// Reason of a failed request.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("the worker {} cannot be started", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("the worker could not be started before")]
    NotStarted,
    #[error("the worker took longer than {limit:?}")]
    TimedOut { limit: Duration },
    #[error("the worker ended")]
    Ended,
}

/// A worker, started when it is needed.
#[derive(Debug)]
pub(super) struct Link {
    program: PathBuf,
    running: Option<Running>,
    started: u64,
    failed_starts: u32,
}

#[derive(Debug)]
struct Running {
    socket: OwnedFd,
    process: OwnedFd,
    pid: u32,
    last_used: Instant,
}

impl Link {
    pub(super) fn new(program: PathBuf) -> Self {
        Self {
            program,
            running: None,
            started: 0,
            failed_starts: 0,
        }
    }

    /// Returns the number of started workers. Files that an earlier worker has loaded are not loaded in the current one.
    pub(super) fn started(&self) -> u64 {
        self.started
    }

    /// Returns the PID of the running worker.
    pub(super) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.pid)
    }

    /// Sends a request and waits for the reply. A worker that does not reply in time is killed.
    ///
    /// A worker that ended between two requests, by its idle time or by a signal, is no failure: another one is started.
    pub(super) fn ask(
        &mut self,
        request: &Request,
        files: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<Reply, AskError> {
        if self.running.as_ref().is_some_and(Running::has_ended) {
            self.end();
        }
        let running = self.running()?;
        // The start of a worker does not count as time of the request.
        let deadline = Instant::now() + limit;
        match running.exchange(request, files, deadline) {
            Ok(reply) => {
                running.last_used = Instant::now();
                Ok(reply)
            }
            Err(error) => {
                self.end();
                Err(match error.kind() {
                    io::ErrorKind::TimedOut => AskError::TimedOut { limit },
                    // All other errors are the same: the worker has ended, or sent an invalid reply and is killed now.
                    _ => AskError::Ended,
                })
            }
        }
    }

    /// Ends the worker if it was idle for this long.
    pub(super) fn rest(&mut self, idle: Duration) {
        if self
            .running
            .as_ref()
            .is_some_and(|running| running.last_used.elapsed() >= idle)
        {
            self.end();
        }
    }

    /// Ends the worker.
    pub(super) fn end(&mut self) {
        if let Some(running) = self.running.take() {
            // It may have ended by itself.
            let _ = pidfd_send_signal(&running.process, Signal::KILL);
        }
    }

    fn running(&mut self) -> Result<&mut Running, AskError> {
        if self.running.is_none() {
            if self.failed_starts >= FAILED_STARTS_MAX {
                return Err(AskError::NotStarted);
            }
            let running = start(self.program.clone()).map_err(|source| {
                self.failed_starts += 1;
                AskError::Start {
                    program: self.program.clone(),
                    source,
                }
            })?;
            self.failed_starts = 0;
            self.started += 1;
            self.running = Some(running);
        }
        self.running.as_mut().ok_or(AskError::NotStarted)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts a worker on a thread that lives as long as it does and waits for its end.
///
/// So it is reaped at once, however it ends; and the signal at the death of the parent, which the kernel sends at the death of the
/// *thread* that started it (PR_SET_PDEATHSIG(2const)), comes when the whole process dies and not before.
fn start(program: PathBuf) -> io::Result<Running> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let (sender, started) = mpsc::sync_channel(1);
    let mut command = Command::new(program);
    command
        .arg(ARGUMENT)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Control-C is for the parent only: there may be stacks left to symbolize.
        .process_group(0);
    thread::Builder::new()
        .name("symbol-worker".into())
        .spawn(move || {
            let child = command.spawn();
            // Our copy of its end of the socket is closed, so that the end of the worker closes the connection.
            drop(command);
            let mut child = match child {
                Ok(child) => child,
                Err(error) => {
                    let _ = sender.send(Err(error));
                    return;
                }
            };
            // Only this thread waits for the worker, so the PID is still its own.
            let process = Pid::from_raw(child.id() as i32)
                .ok_or(Errno::SRCH)
                .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
            let process = process.inspect_err(|_| {
                let _ = child.kill();
            });
            let _ = sender.send(
                process
                    .map(|process| (process, child.id()))
                    .map_err(io::Error::from),
            );
            let _ = child.wait();
        })?;
    let (process, pid) = started
        .recv_timeout(START_LIMIT)
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(Running {
        socket: ours,
        process,
        pid,
        last_used: Instant::now(),
    })
}

impl Running {
    /// Between requests only the end of the worker makes the socket readable.
    fn has_ended(&self) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let ready = poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&now));
        ready != Ok(0)
    }

    fn exchange(
        &self,
        request: &Request,
        files: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> io::Result<Reply> {
        self.send(&request.encode(), files, deadline)?;
        let mut length = [0; 4];
        self.receive(&mut length, deadline)?;
        let length = u32::from_ne_bytes(length) as usize;
        if length > MESSAGE_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; length];
        self.receive(&mut body, deadline)?;
        Reply::decode(&body).ok_or(io::ErrorKind::InvalidData.into())
    }

    fn send(&self, message: &[u8], files: &[BorrowedFd<'_>], deadline: Instant) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut rest = message;
        while !rest.is_empty() {
            self.wait(PollFlags::OUT, deadline)?;
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(&self.socket, &[IoSlice::new(rest)], &mut control, flags) {
                Ok(sent) => {
                    rest = &rest[sent..];
                    // They went with the first bytes.
                    control.clear();
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(&self, buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            self.wait(PollFlags::IN, deadline)?;
            match recv(&self.socket, &mut buffer[filled..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((count, _)) => filled += count,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn wait(&self, events: PollFlags, deadline: Instant) -> io::Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.socket, events)], Some(&left)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
