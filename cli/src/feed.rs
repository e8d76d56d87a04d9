//! Where a trace's updates come from: the kernel here, an agent elsewhere, or the nodes of a cluster.

use crate::{
    cluster,
    remote::{self, Beside},
    render::Wall,
};
use agent::{Account, Update};
use anyhow::Result;
use std::time::Duration;
use tracers::Batch;

/// A running trace. Dropping it ends it.
pub(crate) enum Feed {
    /// Here.
    Here(agent::Trace),
    /// Elsewhere.
    There(Box<remote::Trace>),
    /// On the nodes of a cluster.
    Cluster(Box<cluster::Watch>),
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Its nodes, in a few words.
    pub(crate) nodes: String,
    /// Until it ends by itself; not known before it has begun.
    pub(crate) left: Option<Duration>,
}

impl Feed {
    /// The next thing that happened; `None` when `timeout` is over first.
    pub(crate) fn next(&mut self, timeout: Duration) -> Result<Option<Update>> {
        Ok(match self {
            Self::Here(trace) => trace.next(timeout)?,
            Self::There(trace) => trace.next(timeout)?,
            Self::Cluster(watch) => watch.next(timeout)?,
        })
    }

    /// For the times in its rows.
    pub(crate) fn wall(&self) -> Wall {
        rows::wall(match self {
            Self::Here(trace) => u64::try_from(trace.clock().unix_ns(0)).unwrap_or(0),
            // Those of others are the wall clock's already.
            Self::There(_) | Self::Cluster(_) => 0,
        })
    }

    /// Asks it to end: the remaining updates follow.
    pub(crate) fn stop(&self) {
        match self {
            Self::Here(trace) => trace.handle().stop(),
            Self::There(trace) => trace.stopper().stop(),
            Self::Cluster(watch) => watch.stopper().stop(),
        }
    }

    /// What there is to say beside an account.
    pub(crate) fn beside(&self, account: &Account) -> Beside {
        match self {
            Self::Here(_) => Beside::default(),
            Self::There(trace) => trace.beside(account),
            Self::Cluster(watch) => watch.beside(),
        }
    }

    /// How far it is, of a job.
    pub(crate) fn progress(&self) -> Option<Progress> {
        match self {
            Self::Here(_) | Self::There(_) => None,
            Self::Cluster(watch) => Some(watch.progress()),
        }
    }

    /// What is known where the account never comes, with the last tables that came; nothing, of a trace here.
    pub(crate) fn cut_off(&mut self) -> Option<(Account, Vec<Batch>)> {
        match self {
            Self::Here(_) => None,
            Self::There(trace) => Some(trace.cut_off()),
            Self::Cluster(watch) => Some(watch.cut_off()),
        }
    }
}
