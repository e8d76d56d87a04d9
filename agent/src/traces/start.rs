//! The start of a trace: checks by policy and limits, registration, and loading in the kernel.

use super::{
    super::{
        audit::Requested,
        caller::Caller,
        limits::TRACE_BYTES,
        policy::Denied,
        refuse::{self, Refusal},
        trace::{CALL_UID_PREFIX, Share, Trace, check_uid, lock},
        wire,
    },
    Owned, Traces, forward, not_owner,
};
use engine::{Account, Ended, Request, Selector};
use prost::Message;
use proto::v1::{self, stream_events_response::Item};
use std::{hash::BuildHasher, sync::Arc};
use tonic::Status;

/// A registered start whose programs are not loaded yet.
struct Start {
    request: Request,
    /// Targets as the client sent them.
    targets: Vec<v1::Target>,
}

impl Traces {
    /// Starts a trace, or returns the trace that runs with the same uid, generation and spec.
    ///
    /// # Errors
    /// If the request is invalid, the policy denies it, the uid belongs to another caller, or the kernel refuses.
    pub(crate) async fn start(
        self: &Arc<Self>,
        uid: String,
        generation: u64,
        spec: Option<v1::TraceSpec>,
        caller: &Caller,
    ) -> Result<Arc<Trace>, Status> {
        let requested = Requested::of(spec.as_ref());
        let checked = check_uid(&uid).map_err(|violation| Refusal::Invalid(violation).into());
        let registered = checked.and_then(|()| self.register(Some(&uid), generation, spec, caller));
        let (trace, start) = registered.inspect_err(|status| {
            self.audit
                .refused(caller, &uid, generation, &requested, status);
        })?;
        if let Some(start) = start {
            self.load_detached(&trace, start, requested).await?;
        }
        Ok(trace)
    }

    /// Starts a trace that ends with its call.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) async fn start_call(
        self: &Arc<Self>,
        spec: v1::TraceSpec,
        caller: &Caller,
    ) -> Result<Owned, Status> {
        let requested = Requested::of(Some(&spec));
        let (trace, start) = self
            .register(None, 1, Some(spec), caller)
            .inspect_err(|status| self.audit.refused(caller, "", 1, &requested, status))?;
        // Created before the programs are loaded: the client may disconnect meanwhile.
        let owned = Owned {
            traces: Arc::clone(self),
            trace,
        };
        if let Some(start) = start {
            self.load_detached(&owned.trace, start, requested).await?;
        }
        Ok(owned)
    }

    /// Checks a request and registers its trace. Returns no `Start` if the trace was registered before.
    fn register(
        &self,
        uid: Option<&str>,
        generation: u64,
        spec: Option<v1::TraceSpec>,
        caller: &Caller,
    ) -> Result<(Arc<Trace>, Option<Start>), Status> {
        let digest = self
            .digests
            .hash_one(spec.as_ref().map(Message::encode_to_vec));
        // Missing targets are reported as the client sent them.
        let targets = spec.as_ref().filter(|_| uid.is_some());
        let targets = targets.map(|spec| spec.targets.clone()).unwrap_or_default();
        let filter = spec.as_ref().map(|spec| spec.filter.clone());
        let mut request = wire::request(spec).map_err(Refusal::Invalid)?;
        let tracer = request.spec.tracer();
        let policy = self.policy();
        policy.tracer(tracer).map_err(Refusal::Denied)?;
        for (at, target) in request.targets.iter().enumerate() {
            if let Err(denied) = policy.target(target) {
                // Selecting the host overrides all other targets, so it cannot be left out. A trace of a call has no status that
                // could report the denial.
                if uid.is_none() || target.selector == Selector::Host {
                    return Err(Refusal::Denied(denied).into());
                }
                let Denied { line, why } = denied;
                request.denied.push(engine::Denied { at, line, why });
            }
        }
        request.bounds = policy.bounds();
        request.limits = policy.limits(&request.limits).map_err(Refusal::Denied)?;
        // The status of a trace with a uid reports missing targets. A trace of a call has no status, so its call fails.
        request.allow_missing = uid.is_some();
        // A trace of a call ends with its targets. A trace with a uid waits for the targets that its manager adds.
        request.outlives_cgroups = uid.is_some();
        let needed = engine::memory(&request, &self.kernel)
            .map_err(|error| refuse::status(&error))?
            + policy.replay_bytes as u64
            + TRACE_BYTES;
        let namespaces = request.targets.iter();
        let namespaces = namespaces.map(|target| target.labels.namespace());
        let namespace = { namespaces }.find(|namespace| !namespace.is_empty());
        let share = Share {
            bytes: needed,
            namespace: namespace.unwrap_or_default().to_owned(),
        };
        let trace = {
            let mut registry = lock(&self.registry);
            let uid = uid.map(str::to_owned).unwrap_or_else(|| {
                registry.calls += 1;
                format!("{CALL_UID_PREFIX}{}", registry.calls)
            });
            if let Some(known) = registry.by_uid.get(&uid) {
                if !known.is_of(&caller.identity) {
                    return Err(not_owner(&uid, caller).into());
                }
                if known.generation == generation && known.digest == digest {
                    return Ok((Arc::clone(known), None));
                }
                if known.generation == generation {
                    return Err(Refusal::OtherSpec.into());
                }
                if known.generation > generation {
                    let known = known.generation;
                    return Err(Refusal::OldGeneration { known }.into());
                }
            }
            let trace = Arc::new(Trace::new(
                uid,
                generation,
                digest,
                caller.clone(),
                v1::Schema {
                    // The client checks that its condition is repeated here: an older agent would not apply it.
                    filter: filter.unwrap_or_default(),
                    ..client::schemas(tracer, &request.datasets())
                },
                share,
                policy.replay_bytes,
            ));
            registry.insert(&trace, &policy)?;
            trace
        };
        self.changed(&trace);
        Ok((trace, Some(Start { request, targets })))
    }

    /// Loads a trace's programs, also if the caller stops waiting for the result.
    async fn load_detached(
        self: &Arc<Self>,
        trace: &Arc<Trace>,
        start: Start,
        requested: Requested,
    ) -> Result<(), Status> {
        let (traces, starting) = (Arc::clone(self), Arc::clone(trace));
        // A separate task continues after its caller is cancelled. Its thread has no capabilities, and neither has the trace's.
        let started = tokio::spawn(async move {
            let started = traces.load(&starting, start, &requested).await;
            if let Err(error) = &started {
                // Recorded here, because the waiting caller may be gone.
                traces
                    .counters
                    .failed(&starting.schema.tracer, error.reason());
                let status = refuse::status(error);
                let trace = &starting;
                traces.audit.refused(
                    &trace.caller,
                    &trace.uid,
                    trace.generation,
                    &requested,
                    &status,
                );
                starting.end(Some((error.reason(), error.to_string())));
                traces.remove(&starting);
            }
            started
        })
        .await;
        match started {
            Ok(started) => started.map_err(|error| refuse::status(&error)),
            Err(cancelled) => Err(Status::unavailable(format!(
                "the agent is ending: {cancelled}"
            ))),
        }
    }

    /// Loads the programs on a loading thread, and starts the thread that forwards their updates.
    async fn load(
        self: &Arc<Self>,
        trace: &Arc<Trace>,
        start: Start,
        requested: &Requested,
    ) -> Result<(), engine::Error> {
        let Start { request, targets } = start;
        let (traces, starting) = (Arc::clone(self), Arc::clone(trace));
        let start = move || match starting.is_stopped() {
            // The caller disconnected, or stopped the trace, before a loading thread was free.
            true => Ok(None),
            false => engine::Trace::start(request, &traces.kernel).map(Some),
        };
        let loaded = self.loader.run(Some(trace.caller.identity.clone()), start);
        let loaded = loaded
            .await
            .unwrap_or(Err(engine::Error::Bug("starting it panicked")))?;
        let Some(loaded) = loaded else {
            self.end_unloaded(trace);
            return Ok(());
        };
        let running = self.counters.started(&trace.schema.tracer);
        trace.runs(loaded.handle(), loaded.missing(), &targets);
        self.audit.started(trace, requested);
        self.changed(trace);
        forward::spawn(self, Arc::clone(trace), loaded, running)
    }

    /// Ends a trace whose programs were never loaded.
    fn end_unloaded(&self, trace: &Arc<Trace>) {
        let account = Account {
            ended: Some(Ended::Stopped),
            ..Account::default()
        };
        trace.log.push(Item::Account(wire::account(&account)), 512);
        trace.set_account(account);
        self.audit.ended(trace, None);
        trace.end(None);
        self.changed(trace);
    }
}
