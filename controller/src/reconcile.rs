//! From a job to what its nodes should run, and from what they say to its status. Called again and again; nothing is remembered that
//! the job's status and the agents do not say as well.

mod running;
mod write;

pub(crate) use write::Written;

use crate::{
    admission,
    agents::{Expected, Fleet},
    counters::Counters,
    filter,
    plan::{Denied, Rules},
    present::Present,
    queue::{Place, Queue},
    status::{self, Phase, is_over, is_true},
    view::Job,
    world::World,
};
use crd::{TraceJobSpec, TraceJobStatus, condition};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Client, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{controller::Action, events::Recorder},
};
use serde_json::json;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;
use tracers::Form;

/// Who writes statuses, to the API server.
pub(crate) const MANAGER: &str = "tracejob-controller";
/// Version 0.1 kept jobs by it until their traces had been stopped. Now it is only taken away.
const OLD_FINALIZER: &str = "tracejob.dev/stop";
/// How long after its deadline a node has to tell its account.
const GRACE: Duration = Duration::from_secs(15);
/// How often counts are written.
const WRITE: Duration = Duration::from_secs(10);
/// How often a job looks again that waits for what wakes it.
const LOOK: Duration = Duration::from_secs(60);

/// What every reconciliation works with.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) world: Arc<World>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) queue: Queue,
    pub(crate) present: Present,
    /// Uids of jobs that are to be looked at.
    pub(crate) wake: mpsc::UnboundedSender<String>,
    pub(crate) rules: Rules,
    pub(crate) recorder: Recorder,
    /// The statuses of jobs as they were last written, by uid: what is watched may lag behind them.
    pub(crate) written: Mutex<HashMap<String, Written>>,
    /// How jobs have gone, by uid, until that is written.
    pub(crate) closing: Mutex<HashMap<String, (TraceJobStatus, Phase)>>,
    /// What time it is.
    pub(crate) clock: fn() -> Timestamp,
    /// When this controller began to lead.
    pub(crate) began: Timestamp,
    /// On how many nodes a job was to run, by uid, when this controller began to lead.
    pub(crate) inherited: Mutex<HashMap<String, usize>>,
    pub(crate) counters: Arc<Counters>,
}

/// Why it did not work; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("reading {what}: {source}")]
    Read {
        what: &'static str,
        source: Box<kube::Error>,
    },
    #[error("writing {what}: {source}")]
    Write {
        what: &'static str,
        source: Box<kube::Error>,
    },
}

fn write(what: &'static str) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error::Write {
        what,
        source: Box::new(source),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked left a state that is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of a job's traces.
fn generation(status: Option<&TraceJobStatus>) -> u64 {
    let generation = status.and_then(|status| status.trace_generation);
    generation.unwrap_or(1).unsigned_abs()
}

/// Whether the last tables of a job's traces are wanted.
fn has_table(spec: &TraceJobSpec) -> bool {
    spec.tracer.tracer().source().form() == Form::Table
}

/// Where a job stands in the queue, by what its object says.
fn place<J: Job>(job: &J) -> Place {
    let started = |status: &TraceJobStatus| {
        status.trace_generation.is_some()
            && !is_over(status)
            && !is_true(status, condition::SUSPENDED)
    };
    Place {
        namespace: job.namespace().unwrap_or_default(),
        name: job.name_any(),
        created: job
            .creation_timestamp()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        runs: job.status().is_some_and(started),
    }
}

/// Looks at a job once, and counts it.
pub(crate) async fn reconcile<J: Job>(job: Arc<J>, context: Arc<Context>) -> Result<Action, Error> {
    context.counters.reconciliations.inc();
    let uid = job.trace_uid();
    let outcome = match context.present.has(&uid) {
        true => look(job, &context).await,
        false => Ok(None),
    };
    // It may have gone meanwhile, and is not looked at again.
    if !context.present.has(&uid) {
        context.forget(&uid);
    }
    let (running, queued) = context.queue.counts();
    context.counters.jobs(running, queued);
    Ok(outcome?.map_or_else(Action::await_change, Action::requeue))
}

/// How long until a job is to be looked at again; none where it waits for a change.
type Again = Option<Duration>;

async fn look<J: Job>(job: Arc<J>, context: &Context) -> Result<Again, Error> {
    let uid = job.trace_uid();
    release(&*job, context).await?;
    if job.meta().deletion_timestamp.is_some() {
        // Somebody else's finalizer keeps it.
        context.leave(&uid);
        return Ok(None);
    }
    let watched = job.status().cloned().unwrap_or_default();
    if is_over(&watched) {
        context.leave(&uid);
        lock(&context.written).remove(&uid);
        return expire(&*job, &watched, context).await;
    }
    // Only the leader writes statuses. What it has written is newer than what it watches, or the same.
    let written = lock(&context.written).get(&uid).cloned();
    let old = written.map_or(watched, |written| written.status);
    if is_over(&old) {
        return Ok(None);
    }
    let closing = lock(&context.closing).get(&uid).cloned();
    if let Some((new, phase)) = closing {
        return close(&*job, &old, new, phase, context).await;
    }
    let now = (context.clock)();
    let mut new = old.clone();
    let generation = job.meta().generation.unwrap_or(1);
    new.tracer = Some(tracers::camel(job.spec().tracer.tracer().name()));
    let (phase, again) = if let Err(denied) = context.allow(&*job, &new).await? {
        let phase = Phase::Failed {
            reason: denied.reason.to_owned(),
            message: denied.message,
        };
        (phase, LOOK)
    } else if job.spec().suspend == Some(true) {
        context.leave(&uid);
        new.start_time = None;
        new.nodes = crd::Nodes::default();
        (Phase::Suspended, WRITE)
    } else {
        context.queue.enter(&uid, place(&*job));
        match context.queue.admit(&uid) {
            Err(why) => (Phase::Queued(why), LOOK),
            Ok(()) => {
                if new.start_time.is_none() {
                    // Before any agent hears of it: whoever goes on after us goes on with these.
                    new.start_time = Some(Time(now));
                    new.events = crd::Events::default();
                    new.trace_generation = Some(generation);
                    let phase = Phase::Running("it starts".to_owned());
                    status::tell(&mut new, &phase, generation, now);
                    context.write(&*job, &old, &new, true).await?;
                }
                context.run(&*job, &uid, &mut new, now)
            }
        }
    };
    status::tell(&mut new, &phase, generation, now);
    if phase.is_over() {
        // Said once, it stays: a write that seems to fail may have been read by somebody.
        lock(&context.closing).insert(uid, (new.clone(), phase.clone()));
        return close(&*job, &old, new, phase, context).await;
    }
    if context.write(&*job, &old, &new, false).await? {
        context.publish(&*job, &phase).await;
    }
    Ok(Some(again))
}

/// Writes how a job has gone; again until it is written.
async fn close<J: Job>(
    job: &J,
    old: &TraceJobStatus,
    new: TraceJobStatus,
    phase: Phase,
    context: &Context,
) -> Result<Again, Error> {
    let told = context.write(job, old, &new, true).await?;
    // Not before its account is in the status: what its agents have said is known nowhere else.
    context.leave(&job.trace_uid());
    if told {
        context.counters.over(&phase);
        context.publish(job, &phase).await;
    }
    Ok(Some(LOOK))
}

/// Takes the finalizer of version 0.1 away: a job waits for no controller, which may be uninstalled.
async fn release<J: Job>(job: &J, context: &Context) -> Result<(), Error> {
    let mut finalizers = job.finalizers().to_vec();
    finalizers.retain(|name| name != OLD_FINALIZER);
    if finalizers.len() == job.finalizers().len() {
        return Ok(());
    }
    // With the version that was looked at: others' finalizers are not lost.
    let patch = json!({"metadata": {
        "finalizers": finalizers, "resourceVersion": job.resource_version(),
    }});
    let api = job.api(context.client.clone());
    let params = PatchParams::apply(MANAGER);
    let patched = api
        .patch(&job.name_any(), &params, &Patch::Merge(patch))
        .await;
    match patched {
        // Gone already.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        patched => patched.map(drop).map_err(write("a finalizer")),
    }
}

/// A job that is over goes when its time has come.
async fn expire<J: Job>(
    job: &J,
    status: &TraceJobStatus,
    context: &Context,
) -> Result<Again, Error> {
    let Some(ttl) = job.spec().ttl_seconds_after_finished else {
        return Ok(None);
    };
    let ended = status.completion_time.as_ref();
    let ended = ended.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let age = (context.clock)().duration_since(ended).unsigned_abs();
    let ttl = Duration::from_secs(ttl.into());
    if age < ttl {
        return Ok(Some(ttl.saturating_sub(age)));
    }
    let api = job.api(context.client.clone());
    match api
        .delete(&job.name_any(), &kube::api::DeleteParams::default())
        .await
    {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        deleted => {
            deleted.map_err(write("a deletion"))?;
        }
    }
    Ok(None)
}

impl Context {
    /// Whether a job may run: by the rules and, before it starts, by what the API server has checked.
    async fn allow<J: Job>(
        &self,
        job: &J,
        status: &TraceJobStatus,
    ) -> Result<Result<(), Denied>, Error> {
        let tracer = job.spec().tracer.tracer();
        let allowed = self.rules.allow(job.scope(), tracer);
        let starts = status.start_time.is_none() && job.spec().suspend != Some(true);
        // Agents have the condition of one that runs, whatever this version makes of it.
        let allowed = match starts {
            true => allowed.and_then(|()| filter::check(job.spec())),
            false => allowed,
        };
        if allowed.is_err() || !starts || self.rules.unchecked.contains(&tracer.class()) {
            return Ok(allowed);
        }
        let made = job.creation_timestamp();
        let made = made.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let checked = admission::check(&self.client, tracer, made).await;
        checked.map_err(|source| Error::Read {
            what: "the admission policy",
            source: Box::new(source),
        })
    }

    /// Keeps the place of a job that runs already, and its traces, until it is looked at.
    ///
    /// Returns whether it runs.
    pub(crate) fn occupy<J: Job>(&self, job: &J) -> bool {
        let (uid, place) = (job.trace_uid(), place(job));
        let runs = place.runs;
        if runs {
            let expected = Expected {
                generation: generation(job.status()),
                table: has_table(job.spec()),
            };
            let desired = job.status().map_or(0, |status| status.nodes.desired);
            lock(&self.inherited).insert(uid.clone(), usize::try_from(desired).unwrap_or(0));
            self.fleet.expect(&uid, expected);
            self.queue.enter(&uid, place);
        }
        runs
    }

    /// A job is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.leave(uid);
        lock(&self.written).remove(uid);
    }

    /// A job's place is free, and those whose it is now are looked at.
    fn leave(&self, uid: &str) {
        if self.queue.leave(uid) {
            self.queue.next().into_iter().for_each(|next| {
                // At the end nobody listens.
                let _ = self.wake.send(next);
            });
        }
        self.fleet.forget(uid);
        lock(&self.inherited).remove(uid);
        lock(&self.closing).remove(uid);
    }
}

#[cfg(test)]
mod tests;
