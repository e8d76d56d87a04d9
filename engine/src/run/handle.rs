//! Control of a running trace from other threads.

use crate::{Bounds, Change, Error};
use rustix::fd::OwnedFd;
use std::sync::{
    Arc,
    mpsc::{Sender, channel},
};

/// A handle that controls a trace from any thread.
#[derive(Clone)]
pub struct Handle {
    pub(super) commands: Sender<Command>,
    /// Wakes the reader, which then handles the commands.
    pub(super) wake: Arc<OwnedFd>,
}

/// A command for the reader.
pub(super) enum Command {
    Stop,
    Change(Vec<Change>, Bounds, Sender<Vec<Result<(), Error>>>),
}

impl Handle {
    /// Ends the trace: the remaining rows and the final account follow.
    pub fn stop(&self) {
        self.send(Command::Stop);
    }

    /// Changes the targets within these bounds, and waits for the outcomes: one for each change, in order, and one more for a failure that
    /// does not belong to a single change. Returns no outcome if the trace has ended.
    pub fn change(&self, changes: Vec<Change>, bounds: Bounds) -> Vec<Result<(), Error>> {
        let (sender, receiver) = channel();
        self.send(Command::Change(changes, bounds, sender));
        receiver.recv().unwrap_or_default()
    }

    fn send(&self, command: Command) {
        // A trace that has ended needs no command.
        let _ = self.commands.send(command);
        // The only possible error is a full counter, which wakes the reader too.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}
