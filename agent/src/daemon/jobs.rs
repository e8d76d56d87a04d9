//! The traces of this node, by uid. Each has a thread of its own that carries what it says into its log; one's fault is its own.

use super::{
    audit::Audit,
    config::Policy,
    counters::Counters,
    job::{Job, check_uid, lock},
    loader::Loader,
    refuse::{self, Refusal},
    wire,
};
use agent::{Account, Kernel, Reason, Request, Trace, Update};
use metrics::OneOf;
use proto::v1::{self, stream_events_response::Item};
use std::{
    collections::BTreeMap,
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
    /// Where as many run as may, or take as much memory: the one that it replaces not counted.
    fn place(&mut self, job: &Arc<Job>, policy: &Policy) -> Result<(), Refusal> {
        let others = self.by_uid.values().filter(|other| other.uid != job.uid);
        let running = others.chain(&self.leaving).filter(|job| !job.is_over());
        let (count, taken) =
            running.fold((0, 0), |(count, bytes), job| (count + 1, bytes + job.bytes));
        if count >= policy.max_traces {
            return Err(Refusal::TooManyTraces(policy.max_traces));
        }
        let left = policy.max_node_bytes.saturating_sub(taken);
        let needed = job.bytes;
        let Some(left) = left.checked_sub(needed) else {
            return Err(Refusal::NodeMemory { needed, left });
        };
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
        if let Some(last) = ended.len().checked_sub(most + 1).map(|last| ended[last]) {
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
    /// Where the request is wrong, the policy is against it, or the kernel refuses.
    pub(crate) async fn start(
        self: &Arc<Self>,
        uid: String,
        generation: u64,
        spec: Option<v1::TraceSpec>,
        who: &str,
    ) -> Result<Arc<Job>, Status> {
        let placed = match check_uid(&uid) {
            Ok(()) => self.place(Some(uid.clone()), generation, spec.clone(), who),
            Err(violation) => Err(Refusal::Invalid(violation).into()),
        };
        let (job, request) = placed.inspect_err(|status| {
            let spec = spec.unwrap_or_default();
            self.audit.refused(who, &uid, generation, &spec, status);
        })?;
        if let Some(request) = request {
            self.start_job(&job, request).await?;
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
        who: &str,
    ) -> Result<Owned, Status> {
        let placed = self.place(None, 1, Some(spec.clone()), who);
        let (job, request) =
            placed.inspect_err(|status| self.audit.refused(who, "", 1, &spec, status))?;
        // From here on: the client may be gone before it is started.
        let owned = Owned {
            jobs: Arc::clone(self),
            job,
        };
        if let Some(request) = request {
            self.start_job(&owned.job, request).await?;
        }
        Ok(owned)
    }

    /// Makes a job of a request, which is yet to be carried out; or finds it, and then nothing is.
    fn place(
        &self,
        uid: Option<String>,
        generation: u64,
        spec: Option<v1::TraceSpec>,
        who: &str,
    ) -> Result<(Arc<Job>, Option<Request>), Status> {
        let mut request = wire::request(spec.clone()).map_err(Refusal::Invalid)?;
        let tracer = request.spec.tracer();
        let policy = self.policy();
        policy.tracer(tracer.name()).map_err(Refusal::Denied)?;
        for target in &request.targets {
            policy.target(target).map_err(Refusal::Denied)?;
        }
        request.limits = policy.limits(&request.limits).map_err(Refusal::Denied)?;
        // Whoever starts a trace by uid reads its status. A call that is a trace of its own has none: it is refused.
        request.allow_missing = uid.is_some();
        // A trace of one call is over with its targets; one that has a uid waits for what its manager names next.
        request.outlives_cgroups = uid.is_some();
        let needed = agent::memory(&request, &self.kernel) + policy.replay_bytes as u64;
        let job = {
            let mut all = lock(&self.all);
            let uid = uid.unwrap_or_else(|| {
                all.calls += 1;
                // No client can call its own so.
                format!("call:{}", all.calls)
            });
            if let Some(known) = all.by_uid.get(&uid) {
                if known.generation == generation && Some(&known.spec) == spec.as_ref() {
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
                spec.unwrap_or_default(),
                who.to_owned(),
                client::schema(tracer, &agent::columns(&request)),
                needed,
                policy.replay_bytes,
            ));
            all.place(&job, &policy)?;
            job
        };
        self.changed(&job);
        Ok((job, Some(request)))
    }

    /// Starts it; goes on where nobody waits for it any more.
    async fn start_job(self: &Arc<Self>, job: &Arc<Job>, request: Request) -> Result<(), Status> {
        let (jobs, starting) = (Arc::clone(self), Arc::clone(job));
        // A task of its own goes on where its caller does not wait. The thread that it runs on has no rights, nor has the trace's.
        let started = tokio::spawn(async move {
            let started = jobs.load(&starting, request).await;
            if let Err(error) = &started {
                // Here, and not where somebody waits for it, who may be gone.
                jobs.counters
                    .failed(&starting.schema.tracer, error.reason());
                let status = refuse::status(error);
                let (
                    Job {
                        uid,
                        generation,
                        spec,
                        who,
                        ..
                    },
                    audit,
                ) = (&*starting, &jobs.audit);
                audit.refused(who, uid, *generation, spec, &status);
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

    async fn load(self: &Arc<Self>, job: &Arc<Job>, request: Request) -> Result<(), agent::Error> {
        let jobs = Arc::clone(self);
        let trace = self.loader.run(move || Trace::start(request, &jobs.kernel));
        let trace = trace
            .await
            .unwrap_or(Err(agent::Error::Bug("starting it panicked")))?;
        let running = self.counters.started(&job.schema.tracer);
        job.runs(trace.handle(), trace.missing());
        self.audit.started(job);
        self.changed(job);
        carry_on(self, Arc::clone(job), trace, running)
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
        let jobs: Vec<Arc<Job>> = lock(&self.all).by_uid.values().cloned().collect();
        let changed = jobs
            .iter()
            .filter(|job| uid.is_empty() || job.uid == uid)
            .filter(|job| job.version() > seen)
            .map(|job| job.status())
            .collect();
        (changed, newest)
    }

    /// Changes a trace's targets.
    ///
    /// # Errors
    /// Where there is no such trace, or a change cannot be understood.
    pub(crate) async fn update(
        &self,
        uid: &str,
        generation: u64,
        update: v1::Update,
        who: &str,
    ) -> Result<(), Status> {
        let job = self.get(uid)?;
        match job.generation {
            known if known == generation => self.update_job(&job, update, who).await,
            known if known > generation => Err(Refusal::OldGeneration { known }.into()),
            _ => Err(Refusal::UnknownTrace(uid.to_owned()).into()),
        }
    }

    /// The same, of a trace that is at hand.
    ///
    /// # Errors
    /// Where a change cannot be understood.
    pub(crate) async fn update_job(
        &self,
        job: &Arc<Job>,
        update: v1::Update,
        who: &str,
    ) -> Result<(), Status> {
        let targets = self.audit.changes(&update);
        let policy = self.policy();
        let updated = job.update(update, |target| policy.target(target)).await;
        self.audit
            .updated(job, who, targets, updated.as_ref().err());
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
        /// Detaching takes milliseconds for each program.
        const PATIENCE: Duration = Duration::from_secs(10);
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
        if tokio::time::timeout(PATIENCE, all_over).await.is_err() {
            tracing::warn!("not every trace ended in time");
        }
    }
}

/// Carries what a trace says into its log, on a thread of its own: its reader waits where this is slow.
fn carry_on(
    jobs: &Arc<Jobs>,
    job: Arc<Job>,
    trace: Trace,
    running: OneOf,
) -> Result<(), agent::Error> {
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
        .map_err(|source| agent::Error::Read {
            what: "a new thread",
            source,
        })
}

/// To the end; why it failed, where it did.
fn carry(jobs: &Jobs, job: &Job, mut trace: Trace) -> Option<(Reason, String)> {
    /// A trace says something every second at least.
    const TIMEOUT: Duration = Duration::from_secs(5);
    let (counters, tracer) = (&jobs.counters, job.schema.tracer.as_str());
    let mut told = Account::default();
    loop {
        match trace.next(TIMEOUT) {
            Ok(None) => {}
            Ok(Some(Update::Rows(rows))) => {
                for (batch, bytes) in wire::batches(&rows, false, trace.columns(), trace.clock()) {
                    job.log.push(Item::Batch(batch), bytes);
                }
            }
            Ok(Some(Update::Table(table))) => {
                let parts = wire::batches(&table, true, trace.columns(), trace.clock());
                job.log.push_table(parts);
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
                job.log.push(Item::Account(wire::account(&account)), 512);
                job.book(account);
                return None;
            }
            Err(error) => return Some((error.reason(), error.to_string())),
        }
    }
}
