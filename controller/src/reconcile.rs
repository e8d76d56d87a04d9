//! From a job to what its nodes should run, and from what they say to its status. Called again and again; nothing is remembered that
//! the job's status and the agents do not say as well.

use crate::{
    admission,
    agents::{Expected, Fleet, Report, Wanted},
    counters::Counters,
    filter,
    outcome::{self, NO_ACCOUNT, Outcome, fold},
    plan::{Denied, Rules, Share, plan},
    present::Present,
    queue::{Place, Queue},
    status::{self, Phase, is_over, is_true},
    untraced::untraced,
    view::{Job, Scope},
    world::World,
};
use crd::{DEFAULT_DEADLINE_SECONDS, MAX_SUMMARY_ROWS, TraceJobSpec, TraceJobStatus, condition};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    Client, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{
        controller::Action,
        events::{Event, EventType, Recorder},
    },
};
use proto::v1;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
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

/// A status, and when it was written.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    status: TraceJobStatus,
    at: Timestamp,
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

    /// One look at a job that runs.
    fn run<J: Job>(
        &self,
        job: &J,
        uid: &str,
        new: &mut TraceJobStatus,
        now: Timestamp,
    ) -> (Phase, Duration) {
        let spec = job.spec();
        let started = new.start_time.as_ref().map_or(now, |time| time.0);
        let length = spec
            .active_deadline_seconds
            .unwrap_or(DEFAULT_DEADLINE_SECONDS);
        let length = Duration::from_secs(length);
        let age = now.duration_since(started);
        let age = Duration::try_from(age).unwrap_or_default();
        let left = length.saturating_sub(age);
        let known = self.fleet.nodes_of(uid);
        let planned = {
            let state = self.world.read();
            plan(uid, spec, job.scope(), &self.rules, &state, &known)
        };
        let of = |share: &Share| Wanted {
            generation: generation(Some(new)),
            spec: trace_spec(spec, job.scope()),
            targets: share.targets.clone(),
            since: share
                .since
                .iter()
                .map(|at| (*at).max(started).into())
                .collect(),
            // From the start and not from now: the same whenever it is asked.
            deadline: SystemTime::from(started) + length,
            table: has_table(spec),
        };
        // A node whose pods have gone has seen something, or should have: its trace goes on, of nobody, until its account is there.
        let nobody = Share::default();
        let owing = self.fleet.nodes_that_owe(uid);
        let owing = owing.iter().map(|node| (node, &nobody));
        let mut nodes: BTreeMap<&Arc<str>, &Share> = owing.collect();
        for (node, share) in &planned.nodes {
            // None begins after the deadline.
            if !left.is_zero() || known.contains(node) {
                nodes.insert(node, share);
            }
        }
        let wanted = nodes
            .iter()
            .map(|(node, share)| (Arc::clone(node), of(share)));
        self.fleet.want(uid, wanted.collect());
        let reports = self.fleet.reports(uid);
        let nodes: BTreeSet<Arc<str>> = nodes.into_keys().cloned().collect();
        // An agent has so long to tell its account: after the deadline, and after somebody is there to hear it.
        let last = (started + SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX))
            .max(self.began);
        let too_late = now.duration_since(last).unsigned_abs() > GRACE && now > last;
        // Nodes that the controller before this one knew: their agents are asked, and those that do not answer in time are failed.
        let inherited = lock(&self.inherited).get(uid).copied();
        let unheard = inherited.unwrap_or(0).saturating_sub(nodes.len());
        let mut outcome = {
            let state = self.world.read();
            let there = |node: &str| state.nodes.contains_key(node);
            let mut outcome = fold(&nodes, &reports, there, too_late);
            outcome.unheard(unheard, too_late);
            outcome
        };
        outcome.untraced = untraced(spec, &planned.nodes, &reports);
        outcome.complete &= outcome.untraced.count == 0;
        outcome.write_to(new);
        new.pods = planned.pods as i64;
        let all = nodes.len() + unheard;
        if outcome.over == all && (all > 0 || left.is_zero()) {
            if spec.output.summary_rows != Some(0) {
                new.summary = self.summary(spec, &reports);
            }
            return (ended(&outcome, all == 0), LOOK);
        }
        let message = match all {
            0 => {
                "no selected pod is on a matching node; pods that start later are traced".to_owned()
            }
            _ => format!("{} of {} nodes run the job", outcome.nodes.running, all),
        };
        let next = match left.is_zero() {
            true => Duration::from_secs(1),
            false => left.min(WRITE),
        };
        (
            Phase::Running(message),
            next.max(Duration::from_millis(100)),
        )
    }

    fn summary(
        &self,
        spec: &TraceJobSpec,
        reports: &BTreeMap<Arc<str>, Report>,
    ) -> Option<crd::Summary> {
        let tables: Vec<_> = reports
            .values()
            .filter_map(|report| report.table.as_ref())
            .collect();
        let most = spec
            .output
            .summary_rows
            .map_or(MAX_SUMMARY_ROWS, |most| most as usize);
        outcome::summary(&tables, most)
    }

    /// Writes a status where it says something new: at once where it is about conditions, and counts now and then.
    async fn write<J: Job>(
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
            // Nodes come one by one: what changes with each of them waits a little.
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

    /// Tells the job's user what happened to it.
    async fn publish<J: Job>(&self, job: &J, phase: &Phase) {
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

/// How a job has gone whose nodes are all over.
fn ended(outcome: &Outcome, nowhere: bool) -> Phase {
    if nowhere {
        return Phase::Failed {
            reason: "NoPods".to_owned(),
            message: "until the deadline no selected pod was on a matching node".to_owned(),
        };
    }
    let first = outcome.failures.first();
    if outcome.nodes.ended == 0 {
        let nobody = || "no agent that ran the job has sent an account".to_owned();
        let message =
            first.map_or_else(nobody, |first| format!("{}: {}", first.node, first.message));
        return Phase::Failed {
            reason: first
                .map_or(NO_ACCOUNT, |first| first.reason.as_str())
                .to_owned(),
            message,
        };
    }
    let mut missing = Vec::new();
    if outcome.nodes.failed > 0 {
        let which = first.map_or(String::new(), |first| format!(", {} first", first.node));
        missing.push(format!(
            "{} of {} nodes failed{which}",
            outcome.nodes.failed, outcome.nodes.desired
        ));
    }
    missing.extend(outcome.untraced.sentence());
    let events = &outcome.events;
    for (number, what) in [
        (events.lost, "events were lost"),
        (
            events.sampled,
            "events were omitted to stay within a budget",
        ),
        (events.missed_runs, "runs of kernel programs were skipped"),
    ] {
        if number > 0 {
            missing.push(format!("{number} {what}"));
        }
    }
    for (number, what) in [
        (outcome.anew, "agents restarted during the job"),
        (outcome.late, "nodes started late"),
    ] {
        if number > 0 {
            missing.push(format!("{number} {what}"));
        }
    }
    if missing.is_empty() && !outcome.complete {
        missing.push("the account of an agent is not complete".to_owned());
    }
    Phase::Complete {
        partial: (!missing.is_empty()).then(|| missing.join("; ")),
    }
}

/// What agents are asked for, but for whom and how long.
fn trace_spec(spec: &TraceJobSpec, scope: Scope<'_>) -> v1::TraceSpec {
    let crd::Limits {
        max_events,
        events_per_second,
        cpu_percent,
        memory_bytes,
        ring_bytes,
    } = &spec.limits;
    let budget = v1::Budget {
        cpu_percent: cpu_percent.unwrap_or(0),
        events_per_second: events_per_second.unwrap_or(0),
        memory_bytes: memory_bytes.unwrap_or(0),
    };
    let labels = match scope {
        Scope::Host => vec!["node"],
        _ => vec!["node", "namespace", "pod", "container"],
    };
    v1::TraceSpec {
        tracer: spec.tracer.tracer().name().to_owned(),
        options: Some(client::options(&spec.tracer)),
        max_events: max_events.unwrap_or(0),
        ring_bytes: ring_bytes.unwrap_or(0).into(),
        budget: Some(budget).filter(|budget| *budget != v1::Budget::default()),
        label_columns: labels.into_iter().map(str::to_owned).collect(),
        filter: spec.output.filter.clone().unwrap_or_default(),
        ..v1::TraceSpec::default()
    }
}

#[cfg(test)]
mod tests;
