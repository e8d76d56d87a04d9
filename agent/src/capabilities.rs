//! The tracers that work here, cached for some seconds: each hook is probed, which takes milliseconds.

use super::{limits::CAPABILITIES, policy::Policy, traces::Traces, wire};
use engine::{Checked, Support};
use proto::v1;
use std::{sync::Arc, time::Instant};
use tokio::sync::Mutex;
use tonic::Status;
use tracers::{ALL, Needs, find};

/// The cached answer, and its source.
pub(crate) struct Capabilities {
    traces: Arc<Traces>,
    /// Held during a probe: concurrent callers wait for the same answer.
    newest: Mutex<Option<(Instant, Found)>>,
}

/// The result of the probe. The policy is applied to each answer.
#[derive(Clone)]
struct Found {
    tracers: Vec<v1::Tracer>,
    checks: Vec<v1::Check>,
}

impl Capabilities {
    pub(crate) fn new(traces: Arc<Traces>) -> Arc<Self> {
        let newest = Mutex::new(None);
        Arc::new(Self { traces, newest })
    }

    /// Returns the tracers that work here, and those that the policy denies.
    ///
    /// # Errors
    /// If the probe panics.
    pub(crate) async fn answer(self: &Arc<Self>) -> Result<v1::GetCapabilitiesResponse, Status> {
        let finding = Arc::clone(self);
        // Spawned, so that it continues for the other callers if the first one disconnects.
        let found = tokio::spawn(async move { finding.found().await }).await;
        let found = found.map_err(|cancelled| Status::unavailable(cancelled.to_string()))??;
        let Found {
            mut tracers,
            checks,
        } = found;
        let policy = self.traces.policy();
        for tracer in &mut tracers {
            let Some(known) = find(&tracer.name) else {
                continue;
            };
            if let Err(denied) = policy.tracer(known) {
                tracer.remedy = Policy::remedy(known, &denied);
                tracer.unsupported =
                    format!("{} ({} of its configuration)", denied.why, denied.line);
            }
        }
        Ok(v1::GetCapabilitiesResponse {
            kernel_release: self.traces.kernel().release().to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            tracers,
            checks,
        })
    }

    async fn found(&self) -> Result<Found, Status> {
        let mut newest = self.newest.lock().await;
        if let Some((when, found)) = &*newest
            && when.elapsed() < CAPABILITIES
        {
            return Ok(found.clone());
        }
        let traces = Arc::clone(&self.traces);
        let find = move || Found {
            tracers: ALL
                .iter()
                .map(|tracer| describe(&traces, *tracer))
                .collect(),
            checks: { traces.kernel().checks() }
                .into_iter()
                .map(wire::check)
                .collect(),
        };
        // Runs as work of the agent and not of a caller: at most one probe runs at a time.
        let found = self.traces.loader().run(None, find).await;
        let found = found.map_err(|panicked| Status::internal(panicked.to_string()))?;
        *newest = Some((Instant::now(), found.clone()));
        Ok(found)
    }
}

fn describe(traces: &Traces, tracer: &'static dyn tracers::Erased) -> v1::Tracer {
    let (points, unsupported, remedy) = match traces.kernel().support(tracer) {
        Support::Yes { points } => (points, String::new(), None),
        Support::No { reason, remedy } => (Vec::new(), reason, remedy),
    };
    v1::Tracer {
        name: tracer.name().to_owned(),
        about: tracer.about().to_owned(),
        unsupported,
        hooks: points.iter().map(ToString::to_string).collect(),
        options: tracer.options().iter().map(client::option).collect(),
        needs: Needs::of(tracer).to_string(),
        class: tracer.class().word().to_owned(),
        requirements: traces
            .kernel()
            .needs(tracer)
            .into_iter()
            .map(requirement)
            .collect(),
        schema: Some(client::schemas(tracer, &tracer.datasets())),
        remedy: remedy.unwrap_or_default(),
    }
}

fn requirement(checked: Checked) -> v1::Requirement {
    let Checked {
        need,
        required,
        missing,
    } = checked;
    v1::Requirement {
        name: need.what.name().to_owned(),
        required,
        reason: need.reason.to_owned(),
        met: missing.is_none(),
        remedy: missing.unwrap_or_default(),
    }
}
