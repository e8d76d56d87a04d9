//! The existing jobs. A deleted job is not reconciled again: its absence here ends its traces.

use crate::view::Job;
use kube::runtime::watcher::Event;
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Uids of the jobs in the API server, as reported by the watches of both kinds.
#[derive(Debug, Default)]
pub(crate) struct Present(Mutex<BTreeSet<String>>);

/// The state of the watch of one kind of job.
#[derive(Debug)]
pub(crate) struct Watched {
    known: BTreeSet<String>,
    /// Jobs of a list that is not complete yet.
    listed: BTreeSet<String>,
}

impl Watched {
    /// Creates the state of a watch that starts with these jobs.
    pub(crate) fn new(known: BTreeSet<String>) -> Self {
        Self {
            known,
            listed: BTreeSet::new(),
        }
    }
}

impl Present {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a job exists.
    pub(crate) fn has(&self, uid: &str) -> bool {
        self.lock().contains(uid)
    }

    /// Records an event of a watch. Returns the uids of deleted jobs, including those deleted while no watch was open.
    pub(crate) fn see<J: Job>(&self, watched: &mut Watched, event: &Event<J>) -> Vec<String> {
        let gone: Vec<String> = match event {
            Event::Init => {
                watched.listed.clear();
                Vec::new()
            }
            Event::InitApply(job) => {
                watched.listed.insert(job.trace_uid());
                self.lock().insert(job.trace_uid());
                Vec::new()
            }
            Event::InitDone => {
                let before = std::mem::take(&mut watched.known);
                watched.known = std::mem::take(&mut watched.listed);
                before.difference(&watched.known).cloned().collect()
            }
            Event::Apply(job) => {
                watched.known.insert(job.trace_uid());
                self.lock().insert(job.trace_uid());
                Vec::new()
            }
            Event::Delete(job) => {
                watched.known.remove(&job.trace_uid());
                vec![job.trace_uid()]
            }
        };
        let mut present = self.lock();
        for uid in &gone {
            present.remove(uid);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crd::TraceJob;
    use serde_json::json;

    fn job(uid: &str) -> TraceJob {
        let job = json!({
            "apiVersion": "tracejob.dev/v1alpha1", "kind": "TraceJob",
            "metadata": {"name": "x", "namespace": "shop", "uid": uid}, "spec": {"tracer": {"open": {}}},
        });
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn a_job_is_gone_by_its_deletion_and_where_a_new_list_lacks_it() {
        let present = Present::default();
        // Ran before this controller, and was deleted before the list.
        let mut watched = Watched::new(BTreeSet::from([fleet::trace_uid("before")]));
        let mut see = |event| present.see(&mut watched, &event);
        assert!(see(Event::Init).is_empty());
        assert!(see(Event::InitApply(job("a"))).is_empty());
        assert_eq!(see(Event::InitDone), ["tj-before"]);
        // Another job of the same name, created while the deletion of the first was not seen.
        assert!(see(Event::Init).is_empty());
        assert!(see(Event::InitApply(job("b"))).is_empty());
        assert!(present.has("tj-a") && present.has("tj-b"));
        assert_eq!(see(Event::InitDone), ["tj-a"]);
        assert!(!present.has("tj-a") && present.has("tj-b"));
        assert!(see(Event::Apply(job("c"))).is_empty());
        assert_eq!(see(Event::Delete(job("b"))), ["tj-b"]);
        assert!(!present.has("tj-b") && present.has("tj-c"));
    }
}
