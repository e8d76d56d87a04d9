//! What a job's controller says of it, looked at now and then while its stream is read.

use super::super::{
    access::Cluster,
    job::{self, Job},
};
use crate::source::remote::words;
use crd::condition;
use crd::name::JobName;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::task::AbortHandle;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(2);
/// How long the last look may take.
const LAST: Duration = Duration::from_secs(5);

/// Looks at a job. They end with it.
pub(crate) struct Looks {
    seen: Arc<Mutex<Seen>>,
    task: AbortHandle,
}

impl Drop for Looks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is of interest of it.
#[derive(Clone, Debug, Default)]
struct Seen {
    state: String,
    desired: Option<u64>,
    failed: Option<(String, String)>,
}

impl Seen {
    fn of(job: &Job) -> Self {
        let failed = job
            .condition(condition::FAILED)
            .filter(|condition| condition.status == "True");
        let desired = u64::try_from(job.status.nodes.desired).ok();
        Self {
            state: words(job.state()),
            // Before its controller has looked at it nobody knows.
            desired: desired.filter(|_| !job.status.conditions.is_empty()),
            failed: failed.map(|failed| (words(&failed.reason), words(&failed.message))),
        }
    }
}

impl Looks {
    /// From now on.
    pub(super) fn start(cluster: &Cluster, job: &Job) -> Self {
        let seen = Arc::new(Mutex::new(Seen::of(job)));
        let (shared, client, name) = (Arc::clone(&seen), cluster.client.clone(), job.name.clone());
        let task = cluster.runtime.spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                if let Ok(job) = job::get(&client, &name).await {
                    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Seen::of(&job);
                }
            }
        });
        Self {
            seen,
            task: task.abort_handle(),
        }
    }

    /// Looks at it at once. Where nobody answers, or it is gone, what was seen last holds.
    pub(super) fn look(&self, cluster: &Cluster, name: &JobName) {
        let looked = job::get(&cluster.client, name);
        let looked = async { tokio::time::timeout(LAST, looked).await };
        if let Ok(Ok(job)) = cluster.runtime.block_on(looked) {
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::of(&job);
        }
    }

    fn seen(&self) -> Seen {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    /// How far it is, in a word.
    pub(super) fn state(&self) -> String {
        match self.seen().state {
            state if state.is_empty() => "waiting for the controller".to_owned(),
            state => state,
        }
    }

    /// How many nodes should run it.
    pub(super) fn desired(&self) -> Option<u64> {
        Some(self.seen().desired.unwrap_or(0))
    }

    /// Why it failed, if it did.
    pub(super) fn failed(&self) -> Option<(String, String)> {
        self.seen().failed
    }
}
