//! Sources of the updates of a trace: this kernel, an agent, or the nodes of a cluster.

pub(crate) mod cluster;
mod here;
pub(crate) mod remote;
pub(crate) mod survey;

use anyhow::Result;
use engine::{Account, Update};
use remote::Beside;
use rows::Wall;
use std::time::Duration;
use tracers::Batch;

/// A running trace. Dropping it ends it.
pub(crate) trait Feed {
    /// Returns the next update; `None` when `timeout` is over first.
    ///
    /// # Errors
    /// If the trace was interrupted: no update follows, and [`Feed::cut_off`] has the provisional account.
    fn next(&mut self, timeout: Duration) -> Result<Option<Update>>;

    /// Returns the clock for the times in its rows.
    fn wall(&self) -> Wall;

    /// Requests the end of the trace; the remaining updates follow.
    fn stop(&self);

    /// Returns details beside an account.
    fn beside(&self, account: &Account) -> Beside;

    /// Returns how far a job of a cluster is; `None` for a trace of one host.
    fn progress(&self) -> Option<Progress>;

    /// Returns the account so far and the last tables, where the account never comes; `None` for a trace of this process.
    fn cut_off(&mut self) -> Option<(Account, Vec<Batch>)>;
}

/// Progress of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Nodes in a few words.
    pub(crate) nodes: String,
    /// Time until the job ends; `None` before it has started.
    pub(crate) left: Option<Duration>,
}
