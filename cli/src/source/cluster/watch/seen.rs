//! The status of a job, polled while its stream is read.

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

/// Interval of polling.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Timeout of the last poll.
const POLL_TIMEOUT: Duration = Duration::from_secs(5);

/// Polling of a job's status. Dropping it ends the polling.
pub(crate) struct Poller {
    seen: Arc<Mutex<Seen>>,
    task: AbortHandle,
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Relevant part of a job's status.
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
            // Unknown before the controller has set the status.
            desired: desired.filter(|_| !job.status.conditions.is_empty()),
            failed: failed.map(|failed| (words(&failed.reason), words(&failed.message))),
        }
    }
}

impl Poller {
    /// Starts polling.
    pub(super) fn start(cluster: &Cluster, job: &Job) -> Self {
        let seen = Arc::new(Mutex::new(Seen::of(job)));
        let (shared, client, name) = (Arc::clone(&seen), cluster.client.clone(), job.name.clone());
        let task = cluster.runtime.spawn(async move {
            loop {
                tokio::time::sleep(POLL_INTERVAL).await;
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

    /// Polls once. If there is no answer, or the job was deleted, the last status remains.
    pub(super) fn poll(&self, cluster: &Cluster, name: &JobName) {
        let looked = job::get(&cluster.client, name);
        let looked = async { tokio::time::timeout(POLL_TIMEOUT, looked).await };
        if let Ok(Ok(job)) = cluster.runtime.block_on(looked) {
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::of(&job);
        }
    }

    fn seen(&self) -> Seen {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    /// Returns the state in a word.
    pub(super) fn state(&self) -> String {
        match self.seen().state {
            state if state.is_empty() => "waiting for the controller".to_owned(),
            state => state,
        }
    }

    /// Returns the number of nodes that should run the job.
    pub(super) fn desired(&self) -> Option<u64> {
        Some(self.seen().desired.unwrap_or(0))
    }

    /// Returns reason and message of a failed job.
    pub(super) fn failed(&self) -> Option<(String, String)> {
        self.seen().failed
    }
}
