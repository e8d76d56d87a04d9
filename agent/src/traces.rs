//! The traces of this node, by uid. Each has its own thread, so that a failure ends only its own trace.

mod forward;
mod registry;
mod start;

use super::{
    audit::{self, Audit},
    caller::{Caller, Shares},
    counters::Counters,
    limits::{DETACH, WATCH_BYTES, WATCHES},
    loader::Loader,
    policy::Policy,
    refuse::Refusal,
    trace::{Trace, lock},
};
use engine::Kernel;
use proto::v1;
use registry::Registry;
use std::{
    hash::RandomState,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::watch;
use tonic::Status;

/// All traces of this agent.
pub(crate) struct Traces {
    kernel: Kernel,
    /// Threads that load programs and probe the kernel. No other thread has the capabilities for it.
    loader: Loader,
    pub(crate) counters: Arc<Counters>,
    /// Current policy. It changes with the configuration file; a request is checked by the policy at its start.
    policy: Mutex<Arc<Policy>>,
    pub(crate) audit: Audit,
    registry: Mutex<Registry>,
    /// Number of changes of all traces so far.
    changes: watch::Sender<u64>,
    /// Open watches of each caller.
    pub(crate) watches: Arc<Shares>,
    /// Keys of the specs' digests. They are random, so that no client can search for two specs with the same digest.
    digests: RandomState,
}

/// A trace that belongs to a call. It is stopped and removed when this is dropped.
pub(crate) struct Owned {
    pub(crate) traces: Arc<Traces>,
    pub(crate) trace: Arc<Trace>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.traces.remove(&self.trace);
    }
}

impl Traces {
    /// Creates an empty registry.
    pub(crate) fn new(
        kernel: Kernel,
        policy: Policy,
        loader: Loader,
        counters: Arc<Counters>,
        audit: Audit,
    ) -> Arc<Self> {
        Arc::new(Self {
            kernel,
            loader,
            counters,
            policy: Mutex::new(Arc::new(policy)),
            audit,
            registry: Mutex::default(),
            changes: watch::Sender::new(0),
            watches: Shares::new(WATCHES),
            digests: RandomState::new(),
        })
    }

    pub(crate) fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    pub(crate) fn loader(&self) -> &Loader {
        &self.loader
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&lock(&self.policy))
    }

    /// Replaces the policy for new requests. Running traces are not affected.
    pub(crate) fn set_policy(&self, policy: Policy) {
        *lock(&self.policy) = Arc::new(policy);
    }

    /// Returns the trace with a uid.
    ///
    /// # Errors
    /// If no trace has the uid.
    pub(crate) fn get(&self, uid: &str) -> Result<Arc<Trace>, Refusal> {
        let registry = lock(&self.registry);
        let trace = registry.by_uid.get(uid).cloned();
        trace.ok_or_else(|| Refusal::UnknownTrace(uid.to_owned()))
    }

    /// Returns the statuses of traces that changed after change number `seen`, and the current number.
    pub(crate) fn changed_since(&self, seen: u64, uid: &str) -> (Vec<v1::TraceStatus>, u64) {
        let newest = *self.changes.borrow();
        let mut traces: Vec<Arc<Trace>> = lock(&self.registry).by_uid.values().cloned().collect();
        traces.retain(|trace| (uid.is_empty() || trace.uid == uid) && trace.version() > seen);
        // The failures of all statuses together fit one message.
        let room = WATCH_BYTES / traces.len().max(1);
        let changed = traces
            .iter()
            .map(|trace| trace.status_within(room))
            .collect();
        (changed, newest)
    }

    /// Changes a trace's targets.
    ///
    /// # Errors
    /// If no trace has the uid, the trace belongs to another caller, or a change is invalid.
    pub(crate) async fn update(
        &self,
        uid: &str,
        generation: u64,
        update: v1::Update,
        caller: &Caller,
    ) -> Result<(), Status> {
        let trace = self.get(uid)?;
        if !trace.is_of(&caller.identity) {
            let status = not_owner(uid, caller).into();
            self.audit.refused_to("update", &trace, caller, &status);
            return Err(status);
        }
        match trace.generation {
            known if known == generation => self.update_trace(&trace, update, caller).await,
            known if known > generation => Err(Refusal::OldGeneration { known }.into()),
            _ => Err(Refusal::UnknownTrace(uid.to_owned()).into()),
        }
    }

    /// Requests the end of a trace. Returns `None` if no trace has the uid.
    ///
    /// # Errors
    /// If the trace belongs to another caller, and the caller is no administrator.
    pub(crate) fn stop(&self, uid: &str, caller: &Caller) -> Result<Option<Arc<Trace>>, Status> {
        let Ok(trace) = self.get(uid) else {
            return Ok(None);
        };
        if !trace.is_of(&caller.identity) && !caller.is_admin {
            let status = not_owner(uid, caller).into();
            self.audit.refused_to("stop", &trace, caller, &status);
            return Err(status);
        }
        self.audit.stopped(&trace, caller);
        trace.stop();
        Ok(Some(trace))
    }

    /// Changes the targets of a given trace.
    ///
    /// # Errors
    /// If a change is invalid or denied.
    pub(crate) async fn update_trace(
        &self,
        trace: &Arc<Trace>,
        update: v1::Update,
        caller: &Caller,
    ) -> Result<(), Status> {
        let targets = audit::changes(&update);
        let policy = self.policy();
        let updated = trace.update(update, |target| policy.target(target), policy.bounds());
        let updated = updated.await;
        let refused = updated.as_ref().map_or_else(Some, Option::as_ref);
        self.audit.updated(trace, caller, targets, refused);
        updated?;
        self.changed(trace);
        Ok(())
    }

    /// Returns a receiver that is notified of every change of a trace.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Records a change of a trace, and notifies the watches.
    fn changed(&self, trace: &Trace) {
        self.changes.send_modify(|version| {
            *version += 1;
            trace.changed(*version);
        });
    }

    /// Stops a trace and removes it from the registry.
    pub(crate) fn remove(&self, trace: &Arc<Trace>) {
        trace.stop();
        lock(&self.registry).remove(trace);
    }

    /// Removes traces that ended more than `keepSeconds` ago. The future never completes.
    pub(crate) async fn expire(&self) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let keep = Duration::from_secs(self.policy().keep_seconds);
            lock(&self.registry).release(|ended| ended.elapsed() > keep);
        }
    }

    /// Stops all traces, and waits until their accounts are in their logs.
    pub(crate) async fn stop_all(&self) {
        let traces: Vec<Arc<Trace>> = lock(&self.registry).by_uid.values().cloned().collect();
        for trace in &traces {
            trace.stop();
        }
        let mut changes = self.changes();
        let all_over = async {
            while !traces.iter().all(|trace| trace.is_over()) {
                // Cannot fail: the sender is in `self`.
                let _ = changes.changed().await;
            }
        };
        if tokio::time::timeout(DETACH, all_over).await.is_err() {
            tracing::warn!("some traces did not end within {} s", DETACH.as_secs());
        }
    }
}

fn not_owner(uid: &str, caller: &Caller) -> Refusal {
    Refusal::NotOwner {
        uid: uid.to_owned(),
        who: caller.who.clone(),
    }
}
