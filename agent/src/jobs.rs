//! The traces of this node, by uid. Each has a thread of its own that carries what it says into its log; one's fault is its own.

use super::{
    audit::{Asked, Audit},
    caller::{Caller, Shares},
    counters::Counters,
    job::{Job, OF_A_CALL, Share, check_uid, lock},
    limits::{DETACH, TRACE_BYTES, UPDATE, WATCH_BYTES, WATCHES},
    loader::Loader,
    policy::{Denied, Policy},
    refuse::{self, Refusal},
    wire,
};
use engine::{Account, Ended, Kernel, Reason, Request, Trace, Update, Whom};
use metrics::OneOf;
use prost::Message;
use proto::v1::{self, stream_events_response::Item};
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tonic::Status;

/// All traces.
pub(crate) struct Jobs {
    kernel: Kernel,
    /// Whoever asks the kernel does it there: nobody else may.
    loader: Loader,
    pub(crate) counters: Arc<Counters>,
    /// Changes with the configuration; each request goes by what it is then.
    policy: Mutex<Arc<Policy>>,
    pub(crate) audit: Audit,
    all: Mutex<All>,
    /// Counts changes of any trace.
    changes: watch::Sender<u64>,
    /// Watches of each caller.
    pub(crate) watches: Arc<Shares>,
    /// For digests of specs: nobody can look for two with the same.
    digests: RandomState,
}

/// A start that is yet to be carried out.
struct Start {
    request: Request,
    /// As the client named them.
    targets: Vec<v1::Target>,
}

#[derive(Default)]
struct All {
    by_uid: BTreeMap<String, Arc<Job>>,
    /// Those that are forgotten or replaced: they count until they are over, and have readers maybe for a while longer.
    leaving: Vec<Arc<Job>>,
    calls: u64,
}

impl All {
    /// Puts a job in its place.
    ///
    /// # Errors
    /// Where as many run as may, or take as much memory: the one that it replaces not counted. A namespace takes no more of what is left
    /// than it leaves, so that a few of them cannot take all.
    fn place(&mut self, job: &Arc<Job>, policy: &Policy) -> Result<(), Refusal> {
        let others = self.by_uid.values().filter(|other| other.uid != job.uid);
        let running = others.chain(&self.leaving).filter(|job| !job.is_over());
        let running: Vec<&Arc<Job>> = running.collect();
        let Some(places) = policy.max_traces.checked_sub(running.len() + 1) else {
            return Err(Refusal::TooManyTraces(policy.max_traces));
        };
        let taken = running.iter().map(|other| other.share.bytes).sum();
        let free = policy.max_node_bytes.saturating_sub(taken);
        let needed = job.share.bytes;
        let Some(left) = free.checked_sub(needed) else {
            return Err(Refusal::NodeMemory { needed, left: free });
        };
        let same = |other: &&&Arc<Job>| {
            !job.share.namespace.is_empty() && other.share.namespace == job.share.namespace
        };
        let (own, own_bytes) = running
            .iter()
            .filter(same)
            .fold((0, 0), |(own, bytes), other| {
                (own + 1, bytes + other.share.bytes)
            });
        if own > places + 1 || own_bytes > free {
            let namespace = job.share.namespace.clone();
            return Err(Refusal::NamespaceShare { namespace });
        }
        if let Some(replaced) = self.by_uid.insert(job.uid.clone(), Arc::clone(job)) {
            replaced.stop();
            self.leaving.push(replaced);
        }
        // What ended is kept for those who come late, in the room that there is, and no more of it than may run.
        let room = left / (policy.replay_bytes as u64).max(1);
        let most = policy
            .max_traces
            .min(usize::try_from(room).unwrap_or(usize::MAX));
        let mut ended: Vec<Instant> = self.all().filter_map(|job| job.ended()).collect();
        ended.sort_unstable();
        if let Some(last) = ended
            .len()
            .checked_sub(most.saturating_add(1))
            .map(|last| ended[last])
        {
            self.let_go(|ended| ended <= last);
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.by_uid.values().chain(&self.leaving)
    }

    /// Forgets those that ended then, with what was kept for their readers.
    fn let_go(&mut self, then: impl Fn(Instant) -> bool) {
        let stays = |job: &Arc<Job>| {
            let goes = job.ended().is_some_and(&then);
            if goes {
                job.log.let_go();
            }
            !goes
        };
        self.by_uid.retain(|_, job| stays(job));
        self.leaving.retain(stays);
    }

    /// Takes it away, if it is still the one of its uid.
    fn remove(&mut self, job: &Arc<Job>) {
        let known = self.by_uid.get(&job.uid);
        if known.is_some_and(|known| Arc::ptr_eq(known, job)) {
            self.by_uid.remove(&job.uid);
            self.leaving.push(Arc::clone(job));
        }
    }
}

/// A trace that belongs to somebody: forgotten when this is dropped, at whatever moment.
pub(crate) struct Owned {
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) job: Arc<Job>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.jobs.forget(&self.job);
    }
}

impl Jobs {
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
            all: Mutex::default(),
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

    /// From here on; traces that run are left to end.
    pub(crate) fn set_policy(&self, policy: Policy) {
        *lock(&self.policy) = Arc::new(policy);
    }

    /// Starts a trace, or finds it started.
    ///
    /// # Errors
    /// Where the request is wrong, the policy is against it, the trace is another caller's, or the kernel refuses.
    pub(crate) async fn start(
        self: &Arc<Self>,
        uid: String,
        generation: u64,
        spec: Option<v1::TraceSpec>,
        caller: &Caller,
    ) -> Result<Arc<Job>, Status> {
        let asked = Asked::of(spec.as_ref());
        let checked = check_uid(&uid).map_err(|violation| Refusal::Invalid(violation).into());
        let placed = checked.and_then(|()| self.place(Some(&uid), generation, spec, caller));
        let (job, start) = placed.inspect_err(|status| {
            self.audit.refused(caller, &uid, generation, &asked, status);
        })?;
        if let Some(start) = start {
            self.start_job(&job, start, asked).await?;
        }
        Ok(job)
    }

    /// Starts a trace that belongs to one call.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) async fn start_call(
        self: &Arc<Self>,
        spec: v1::TraceSpec,
        caller: &Caller,
    ) -> Result<Owned, Status> {
        let asked = Asked::of(Some(&spec));
        let (job, start) = self
            .place(None, 1, Some(spec), caller)
            .inspect_err(|status| self.audit.refused(caller, "", 1, &asked, status))?;
        // From here on: the client may be gone before it is started.
        let owned = Owned {
            jobs: Arc::clone(self),
            job,
        };
        if let Some(start) = start {
            self.start_job(&owned.job, start, asked).await?;
        }
        Ok(owned)
    }

    /// Makes a job of a request, which is yet to be carried out; or finds it, and then nothing is.
    fn place(
        &self,
        uid: Option<&str>,
        generation: u64,
        spec: Option<v1::TraceSpec>,
        caller: &Caller,
    ) -> Result<(Arc<Job>, Option<Start>), Status> {
        let digest = self
            .digests
            .hash_one(spec.as_ref().map(Message::encode_to_vec));
        // Targets that turn out to be missing are told as the client named them.
        let targets = spec.as_ref().filter(|_| uid.is_some());
        let targets = targets.map(|spec| spec.targets.clone()).unwrap_or_default();
        let filter = spec.as_ref().map(|spec| spec.filter.clone());
        let mut request = wire::request(spec).map_err(Refusal::Invalid)?;
        let tracer = request.spec.tracer();
        let policy = self.policy();
        policy.tracer(tracer).map_err(Refusal::Denied)?;
        for (at, target) in request.targets.iter().enumerate() {
            if let Err(denied) = policy.target(target) {
                // A program that selects the host selects it whatever else is selected; and a call has no status that could tell of it.
                if uid.is_none() || target.whom == Whom::Host {
                    return Err(Refusal::Denied(denied).into());
                }
                let Denied { line, why } = denied;
                request.denied.push(engine::Denied { at, line, why });
            }
        }
        request.bounds = policy.bounds();
        request.limits = policy.limits(&request.limits).map_err(Refusal::Denied)?;
        // Whoever starts a trace by uid reads its status. A call that is a trace of its own has none: it is refused.
        request.allow_missing = uid.is_some();
        // A trace of one call is over with its targets; one that has a uid waits for what its manager names next.
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
        let job = {
            let mut all = lock(&self.all);
            let uid = uid.map(str::to_owned).unwrap_or_else(|| {
                all.calls += 1;
                format!("{OF_A_CALL}{}", all.calls)
            });
            if let Some(known) = all.by_uid.get(&uid) {
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
            let job = Arc::new(Job::new(
                uid,
                generation,
                digest,
                caller.clone(),
                v1::Schema {
                    // What is not repeated is not applied.
                    filter: filter.unwrap_or_default(),
                    ..client::schemas(tracer, &request.datasets())
                },
                share,
                policy.replay_bytes,
            ));
            all.place(&job, &policy)?;
            job
        };
        self.changed(&job);
        Ok((job, Some(Start { request, targets })))
    }

    /// Starts it; goes on where nobody waits for it any more.
    async fn start_job(
        self: &Arc<Self>,
        job: &Arc<Job>,
        start: Start,
        asked: Asked,
    ) -> Result<(), Status> {
        let (jobs, starting) = (Arc::clone(self), Arc::clone(job));
        // A task of its own goes on where its caller does not wait. The thread that it runs on has no rights, nor has the trace's.
        let started = tokio::spawn(async move {
            let started = jobs.load(&starting, start, &asked).await;
            if let Err(error) = &started {
                // Here, and not where somebody waits for it, who may be gone.
                jobs.counters
                    .failed(&starting.schema.tracer, error.reason());
                let status = refuse::status(error);
                let job = &starting;
                jobs.audit
                    .refused(&job.caller, &job.uid, job.generation, &asked, &status);
                starting.end(Some((error.reason(), error.to_string())));
                jobs.forget(&starting);
            }
            started
        })
        .await;
        match started {
            Ok(started) => started.map_err(|error| refuse::status(&error)),
            Err(cancelled) => Err(Status::unavailable(format!("it is ending: {cancelled}"))),
        }
    }

    async fn load(
        self: &Arc<Self>,
        job: &Arc<Job>,
        start: Start,
        asked: &Asked,
    ) -> Result<(), engine::Error> {
        let Start { request, targets } = start;
        let (jobs, starting) = (Arc::clone(self), Arc::clone(job));
        let start = move || match starting.is_stopped() {
            // Its caller has gone, or changed its mind, before its turn came.
            true => Ok(None),
            false => Trace::start(request, &jobs.kernel).map(Some),
        };
        let trace = self.loader.run(Some(job.caller.identity.clone()), start);
        let trace = trace
            .await
            .unwrap_or(Err(engine::Error::Bug("starting it panicked")))?;
        let Some(trace) = trace else {
            self.never_began(job);
            return Ok(());
        };
        let running = self.counters.started(&job.schema.tracer);
        job.runs(trace.handle(), trace.missing(), &targets);
        self.audit.started(job, asked);
        self.changed(job);
        carry_on(self, Arc::clone(job), trace, running)
    }

    /// Ends a trace that nothing was loaded for.
    fn never_began(&self, job: &Arc<Job>) {
        let account = Account {
            ended: Some(Ended::Stopped),
            ..Account::default()
        };
        job.log.push(Item::Account(wire::account(&account)), 512);
        job.book(account);
        self.audit.ended(job, None);
        job.end(None);
        self.changed(job);
    }

    /// A trace by its uid.
    ///
    /// # Errors
    /// Where there is none.
    pub(crate) fn get(&self, uid: &str) -> Result<Arc<Job>, Refusal> {
        let all = lock(&self.all);
        let job = all.by_uid.get(uid).cloned();
        job.ok_or_else(|| Refusal::UnknownTrace(uid.to_owned()))
    }

    /// Those that have changed since a number of changes, with what that number is now.
    pub(crate) fn changed_since(&self, seen: u64, uid: &str) -> (Vec<v1::TraceStatus>, u64) {
        let newest = *self.changes.borrow();
        let mut jobs: Vec<Arc<Job>> = lock(&self.all).by_uid.values().cloned().collect();
        jobs.retain(|job| (uid.is_empty() || job.uid == uid) && job.version() > seen);
        // However many there are, their failures fit one message.
        let room = WATCH_BYTES / jobs.len().max(1);
        let changed = jobs.iter().map(|job| job.status_within(room)).collect();
        (changed, newest)
    }

    /// Changes a trace's targets.
    ///
    /// # Errors
    /// Where there is no such trace, it is another caller's, or a change cannot be understood.
    pub(crate) async fn update(
        &self,
        uid: &str,
        generation: u64,
        update: v1::Update,
        caller: &Caller,
    ) -> Result<(), Status> {
        let job = self.get(uid)?;
        if !job.is_of(&caller.identity) {
            let status = not_owner(uid, caller).into();
            self.audit.refused_to("update", &job, caller, &status);
            return Err(status);
        }
        match job.generation {
            known if known == generation => self.update_job(&job, update, caller).await,
            known if known > generation => Err(Refusal::OldGeneration { known }.into()),
            _ => Err(Refusal::UnknownTrace(uid.to_owned()).into()),
        }
    }

    /// Asks a trace to end; none where there is no such trace.
    ///
    /// # Errors
    /// Where it is another caller's.
    pub(crate) fn stop(&self, uid: &str, caller: &Caller) -> Result<Option<Arc<Job>>, Status> {
        let Ok(job) = self.get(uid) else {
            return Ok(None);
        };
        if !job.is_of(&caller.identity) && !caller.is_admin {
            let status = not_owner(uid, caller).into();
            self.audit.refused_to("stop", &job, caller, &status);
            return Err(status);
        }
        self.audit.stopped(&job, caller);
        job.stop();
        Ok(Some(job))
    }

    /// The same, of a trace that is at hand.
    ///
    /// # Errors
    /// Where a change cannot be understood.
    pub(crate) async fn update_job(
        &self,
        job: &Arc<Job>,
        update: v1::Update,
        caller: &Caller,
    ) -> Result<(), Status> {
        let targets = super::audit::changes(&update);
        let policy = self.policy();
        let updated = job.update(update, |target| policy.target(target), policy.bounds());
        let updated = updated.await;
        let refused = updated.as_ref().map_or_else(Some, Option::as_ref);
        self.audit.updated(job, caller, targets, refused);
        updated?;
        self.changed(job);
        Ok(())
    }

    /// Tells of every change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self, job: &Job) {
        self.changes.send_modify(|version| {
            *version += 1;
            job.changed(*version);
        });
    }

    /// Ends a trace, and forgets it at once.
    pub(crate) fn forget(&self, job: &Arc<Job>) {
        job.stop();
        lock(&self.all).remove(job);
    }

    /// Forgets traces that ended long ago, for as long as it is polled.
    pub(crate) async fn forget_old_ones(&self) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let keep = Duration::from_secs(self.policy().keep_seconds);
            lock(&self.all).let_go(|ended| ended.elapsed() > keep);
        }
    }

    /// Ends all traces, and waits for their last words.
    pub(crate) async fn stop_all(&self) {
        let jobs: Vec<Arc<Job>> = lock(&self.all).by_uid.values().cloned().collect();
        for job in &jobs {
            job.stop();
        }
        let mut changes = self.changes();
        let all_over = async {
            while !jobs.iter().all(|job| job.is_over()) {
                // The sender is `self`.
                let _ = changes.changed().await;
            }
        };
        if tokio::time::timeout(DETACH, all_over).await.is_err() {
            tracing::warn!("not every trace ended in time");
        }
    }
}

fn not_owner(uid: &str, caller: &Caller) -> Refusal {
    Refusal::NotOwner {
        uid: uid.to_owned(),
        who: caller.who.clone(),
    }
}

/// Carries what a trace says into its log, on a thread of its own: its reader waits where this is slow.
fn carry_on(
    jobs: &Arc<Jobs>,
    job: Arc<Job>,
    trace: Trace,
    running: OneOf,
) -> Result<(), engine::Error> {
    let jobs = Arc::clone(jobs);
    std::thread::Builder::new()
        .name("tracejob-trace".to_owned())
        .spawn(move || {
            let carry = AssertUnwindSafe(|| {
                let _running = running;
                carry(&jobs, &job, trace)
            });
            let bug = || (Reason::Internal, "carrying its rows panicked".to_owned());
            // Detached, before anybody hears that it is over.
            let failure = catch_unwind(carry).unwrap_or_else(|_| Some(bug()));
            if let Some((reason, _)) = failure {
                jobs.counters.failed(&job.schema.tracer, reason);
            }
            jobs.audit
                .ended(&job, failure.as_ref().map(|(reason, _)| *reason));
            job.end(failure);
            jobs.changed(&job);
        })
        .map(|_| ())
        .map_err(|source| engine::Error::Read {
            what: "a new thread",
            source,
        })
}

/// To the end; why it failed, where it did.
fn carry(jobs: &Jobs, job: &Job, mut trace: Trace) -> Option<(Reason, String)> {
    let (counters, tracer) = (&jobs.counters, job.schema.tracer.as_str());
    let mut told = Account::default();
    loop {
        match trace.next(UPDATE) {
            Ok(None) => {}
            Ok(Some(Update::Rows(rows))) => {
                for (item, bytes) in wire::batches(&rows, trace.datasets(), trace.clock()) {
                    job.log.push(item, bytes);
                }
            }
            Ok(Some(Update::Table(table))) => {
                let parts = wire::batches(&table, trace.datasets(), trace.clock());
                job.log.push_table(table.dataset, parts);
            }
            Ok(Some(Update::Progress(account))) => {
                counters.booked(tracer, &told, &account);
                job.tell_losses(&told, &account);
                told = account.clone();
                job.book(account);
                jobs.changed(job);
            }
            Ok(Some(Update::Done(account))) => {
                counters.booked(tracer, &told, &account);
                counters.ended(tracer, &account);
                job.tell_losses(&told, &account);
                let told = wire::account(&account);
                let bytes = 512 + told.untraced.iter().map(String::len).sum::<usize>();
                job.log.push(Item::Account(told), bytes);
                job.book(account);
                return None;
            }
            Err(error) => return Some((error.reason(), error.to_string())),
        }
    }
}
