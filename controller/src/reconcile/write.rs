//! Writes of a job's status and Kubernetes events to the API server.

use super::{Context, Error, MANAGER, WRITE, lock, write};
use crate::{status::Phase, view::Job};
use crd::TraceJobStatus;
use k8s_openapi::jiff::Timestamp;
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
    runtime::events::{Event, EventType},
};
use serde_json::json;
use std::time::Duration;

/// A status with the time at which it was written.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(super) status: TraceJobStatus,
    at: Timestamp,
}

impl Context {
    /// Writes a changed status: conditions at once, other fields with a delay, and counts at an interval. Returns whether conditions changed.
    pub(super) async fn write<J: Job>(
        &self,
        job: &J,
        old: &TraceJobStatus,
        new: &TraceJobStatus,
        at_once: bool,
    ) -> Result<bool, Error> {
        if old == new {
            return Ok(false);
        }
        let words = |status: &TraceJobStatus| {
            let all = status.conditions.iter();
            all.map(|c| (c.status.clone(), c.reason.clone()))
                .collect::<Vec<_>>()
        };
        let said = words(old) != words(new)
            || old.nodes != new.nodes
            || old.failures != new.failures
            || old.target_failures != new.target_failures
            || old.observed_generation != new.observed_generation;
        let uid = job.trace_uid();
        {
            let now = (self.clock)();
            let since = lock(&self.written)
                .get(&uid)
                .map(|written| now.duration_since(written.at));
            // Nodes start one by one, so their changes are collected for a second.
            let wait = if words(old) != words(new) {
                Duration::ZERO
            } else if said {
                Duration::from_secs(1)
            } else {
                WRITE
            };
            if !at_once && since.is_some_and(|since| since.unsigned_abs() < wait) {
                return Ok(false);
            }
        }
        let patch = json!({
            "apiVersion": J::api_version(&()), "kind": J::kind(&()),
            "metadata": {"name": job.name_any()}, "status": new,
        });
        let api = job.api(self.client.clone());
        let params = PatchParams::apply(MANAGER).force();
        let patched = api
            .patch_status(&job.name_any(), &params, &Patch::Apply(patch))
            .await;
        match patched {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            patched => {
                patched.map_err(write("a status"))?;
                let written = Written {
                    status: new.clone(),
                    at: (self.clock)(),
                };
                lock(&self.written).insert(uid, written);
                self.counters.writes.inc();
                Ok(words(old) != words(new))
            }
        }
    }

    /// Publishes a Kubernetes event about the job's phase.
    pub(super) async fn publish<J: Job>(&self, job: &J, phase: &Phase) {
        let (type_, note) = match phase {
            Phase::Failed { message, .. } => (EventType::Warning, message.clone()),
            Phase::Complete {
                partial: Some(missing),
            } => (EventType::Warning, missing.clone()),
            Phase::Complete { partial: None } => (
                EventType::Normal,
                "it has run, and nothing is missing".to_owned(),
            ),
            Phase::Queued(why) => (EventType::Normal, why.clone()),
            Phase::Running(message) => (EventType::Normal, message.clone()),
            Phase::Suspended => (EventType::Normal, "its user has suspended it".to_owned()),
        };
        let event = Event {
            type_,
            reason: phase.word().to_owned(),
            note: Some(note),
            action: "Trace".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &job.object_ref(&())).await {
            tracing::warn!(%error, "cannot write a Kubernetes event");
        }
    }
}
