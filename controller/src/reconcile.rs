//! Reconciliation of a job: it derives the traces of the nodes from the job, and the job's status from their reports. It runs repeatedly,
//! and keeps no state that the job's status and the agents do not have as well.

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

/// Field manager of status writes.
pub(crate) const MANAGER: &str = "tracejob-controller";
/// Finalizer of version 0.1, which kept jobs until their traces had been stopped. It is only removed now.
const OLD_FINALIZER: &str = "tracejob.dev/stop";
/// Timeout after the deadline for a node's account.
const GRACE: Duration = Duration::from_secs(15);
/// Minimum interval of status writes that change counts only.
const WRITE: Duration = Duration::from_secs(10);
/// Interval of reconciliations without an event.
const RESYNC: Duration = Duration::from_secs(60);

/// State shared by all reconciliations.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) world: Arc<World>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) queue: Queue,
    pub(crate) present: Present,
    /// Uids of jobs to reconcile.
    pub(crate) wake: mpsc::UnboundedSender<String>,
    pub(crate) rules: Rules,
    pub(crate) recorder: Recorder,
    /// Last written status of each job, by uid. The watched objects may be older.
    pub(crate) written: Mutex<HashMap<String, Written>>,
    /// Final status of jobs until it has been written, by uid.
    pub(crate) closing: Mutex<HashMap<String, (TraceJobStatus, Phase)>>,
    /// Clock, which tests replace.
    pub(crate) clock: fn() -> Timestamp,
    /// Time at which this controller became the leader.
    pub(crate) began: Timestamp,
    /// Desired number of nodes of each inherited job when this controller became the leader, by uid.
    pub(crate) inherited: Mutex<HashMap<String, usize>>,
    pub(crate) counters: Arc<Counters>,
}

/// Error of a reconciliation, which is retried.
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
    // After a panic the value is still consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the generation of a job's traces.
fn generation(status: Option<&TraceJobStatus>) -> u64 {
    let generation = status.and_then(|status| status.trace_generation);
    generation.unwrap_or(1).unsigned_abs()
}

/// Returns whether the controller reads the last tables of a job's traces.
fn has_table(spec: &TraceJobSpec) -> bool {
    spec.tracer.tracer().source().form() == Form::Table
}

/// Returns a job's place in the queue.
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

/// Reconciles a job, and counts the reconciliation.
pub(crate) async fn reconcile<J: Job>(job: Arc<J>, context: Arc<Context>) -> Result<Action, Error> {
    context.counters.reconciliations.inc();
    let uid = job.trace_uid();
    let outcome = match context.present.has(&uid) {
        true => reconcile_job(job, &context).await,
        false => Ok(None),
    };
    // The job may have been deleted meanwhile, and is not reconciled again.
    if !context.present.has(&uid) {
        context.forget(&uid);
    }
    let (running, queued) = context.queue.counts();
    context.counters.jobs(running, queued);
    Ok(outcome?.map_or_else(Action::await_change, Action::requeue))
}

/// Delay until the next reconciliation; `None` if only a change triggers it.
type Delay = Option<Duration>;

async fn reconcile_job<J: Job>(job: Arc<J>, context: &Context) -> Result<Delay, Error> {
    let uid = job.trace_uid();
    release(&*job, context).await?;
    if job.meta().deletion_timestamp.is_some() {
        // Another finalizer keeps the object.
        context.leave(&uid);
        return Ok(None);
    }
    let watched = job.status().cloned().unwrap_or_default();
    if is_over(&watched) {
        context.leave(&uid);
        lock(&context.written).remove(&uid);
        return expire(&*job, &watched, context).await;
    }
    // Only the leader writes statuses, so the written status is at least as new as the watched one.
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
    let (phase, delay) = if let Err(denied) = context.allow(&*job, &new).await? {
        let phase = Phase::Failed {
            reason: denied.reason.to_owned(),
            message: denied.message,
        };
        (phase, RESYNC)
    } else if job.spec().suspend == Some(true) {
        context.leave(&uid);
        new.start_time = None;
        new.nodes = crd::Nodes::default();
        (Phase::Suspended, WRITE)
    } else {
        context.queue.enter(&uid, place(&*job));
        match context.queue.admit(&uid) {
            Err(why) => (Phase::Queued(why), RESYNC),
            Ok(()) => {
                if new.start_time.is_none() {
                    // Written before any agent receives a request, so that the next leader continues with these values.
                    new.start_time = Some(Time(now));
                    new.events = crd::Events::default();
                    new.trace_generation = Some(generation);
                    let phase = Phase::Running("it starts".to_owned());
                    status::set_conditions(&mut new, &phase, generation, now);
                    context.write(&*job, &old, &new, true).await?;
                }
                context.run(&*job, &uid, &mut new, now)
            }
        }
    };
    status::set_conditions(&mut new, &phase, generation, now);
    if phase.is_over() {
        // A final status never changes: a write that seems to fail may have been read already.
        lock(&context.closing).insert(uid, (new.clone(), phase.clone()));
        return close(&*job, &old, new, phase, context).await;
    }
    if context.write(&*job, &old, &new, false).await? {
        context.publish(&*job, &phase).await;
    }
    Ok(Some(delay))
}

/// Writes the final status of a job, and retries until it is written.
async fn close<J: Job>(
    job: &J,
    old: &TraceJobStatus,
    new: TraceJobStatus,
    phase: Phase,
    context: &Context,
) -> Result<Delay, Error> {
    let is_new = context.write(job, old, &new, true).await?;
    // Released only after the account is in the status, because the agents' reports are kept nowhere else.
    context.leave(&job.trace_uid());
    if is_new {
        context.counters.over(&phase);
        context.publish(job, &phase).await;
    }
    Ok(Some(RESYNC))
}

/// Removes the finalizer of version 0.1, so that a job can be deleted after the controller is uninstalled.
async fn release<J: Job>(job: &J, context: &Context) -> Result<(), Error> {
    let mut finalizers = job.finalizers().to_vec();
    finalizers.retain(|name| name != OLD_FINALIZER);
    if finalizers.len() == job.finalizers().len() {
        return Ok(());
    }
    // The resource version protects the finalizers of others.
    let patch = json!({"metadata": {
        "finalizers": finalizers, "resourceVersion": job.resource_version(),
    }});
    let api = job.api(context.client.clone());
    let params = PatchParams::apply(MANAGER);
    let patched = api
        .patch(&job.name_any(), &params, &Patch::Merge(patch))
        .await;
    match patched {
        // Deleted already.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        patched => patched.map(drop).map_err(write("a finalizer")),
    }
}

/// Deletes an ended job after its `ttlSecondsAfterFinished`.
async fn expire<J: Job>(
    job: &J,
    status: &TraceJobStatus,
    context: &Context,
) -> Result<Delay, Error> {
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
    /// Returns whether a job may run: by the rules and, before its start, by the checks of the API server.
    async fn allow<J: Job>(
        &self,
        job: &J,
        status: &TraceJobStatus,
    ) -> Result<Result<(), Denied>, Error> {
        let tracer = job.spec().tracer.tracer();
        let allowed = self.rules.allow(job.scope(), tracer);
        let starts = status.start_time.is_none() && job.spec().suspend != Some(true);
        // The condition of a running job is checked by its agents only.
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

    /// Reserves the place and the traces of a running job until its first reconciliation.
    ///
    /// Returns whether the job runs.
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

    /// Removes the state of a deleted job.
    pub(crate) fn forget(&self, uid: &str) {
        self.leave(uid);
        lock(&self.written).remove(uid);
    }

    /// Releases a job's place, and wakes the next jobs in the queue.
    fn leave(&self, uid: &str) {
        if self.queue.leave(uid) {
            self.queue.next().into_iter().for_each(|next| {
                // Fails only at shutdown, when the receiver is gone.
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
