//! The traces of this node, by uid. Each has a thread of its own that carries what it says into its log; one's fault is its own.

use super::{
    config::Policy,
    counters::{Counters, OneOf},
    loader::Loader,
    log::Log,
    refuse::{self, Refusal},
    wire::{self, Violation},
};
use agent::{Account, Handle, Kernel, Reason, Request, Trace, Update, Whom};
use proto::v1::{self, State, stream_events_response::Item};
use std::{
    collections::{BTreeMap, VecDeque},
    iter,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    policy: Policy,
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

/// One trace, from the moment that it is asked for until it is forgotten.
pub(crate) struct Job {
    uid: String,
    generation: u64,
    spec: v1::TraceSpec,
    pub(crate) schema: v1::Schema,
    /// Of memory, at most.
    bytes: u64,
    pub(crate) log: Log,
    state: Mutex<Now>,
    /// Held by the update of its targets that is being done.
    updates: tokio::sync::Mutex<()>,
}

/// How many changes of targets that failed are kept.
const TARGET_FAILURES: usize = 32;

fn changed_target(change: &v1::Change) -> v1::Target {
    use v1::change::Change::{Add, Remove};
    match &change.change {
        Some(Add(target) | Remove(target)) => target.clone(),
        None => v1::Target::default(),
    }
}

struct Now {
    state: State,
    account: Account,
    /// Reason and message, where it failed.
    failure: Option<(Reason, String)>,
    handle: Option<Handle>,
    stop: bool,
    /// Of the newest update that is applied.
    targets_version: u64,
    target_failures: VecDeque<v1::TargetFailure>,
    ended: Option<Instant>,
    /// Of the last change.
    version: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked left a state that is whole: every change is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    /// What a client sees of it.
    pub(crate) fn status(&self) -> v1::TraceStatus {
        let now = lock(&self.state);
        let failure = now.failure.clone();
        let (reason, message) = failure.map_or_else(Default::default, |(reason, message)| {
            (reason.word(), message)
        });
        v1::TraceStatus {
            uid: self.uid.clone(),
            generation: self.generation,
            tracer: self.schema.tracer.clone(),
            state: now.state.into(),
            account: Some(wire::account(&now.account)),
            message,
            reason: reason.to_owned(),
            targets_version: now.targets_version,
            target_failures: now.target_failures.iter().cloned().collect(),
        }
    }

    /// Changes whom it traces. What cannot be done is told in its status; the rest is done.
    ///
    /// # Errors
    /// Where a change cannot be understood: then nothing of the update is done.
    async fn update(&self, update: v1::Update) -> Result<(), Status> {
        let v1::Update { version, changes } = update;
        let targets: Vec<v1::Target> = changes.iter().map(changed_target).collect();
        let changes = changes
            .into_iter()
            .map(wire::change)
            .collect::<Result<Vec<_>, _>>()
            .map_err(Refusal::Invalid)?;
        // One after the other: an older one must not come after a newer one.
        let _turn = self.updates.lock().await;
        let handle = {
            let now = lock(&self.state);
            if version <= now.targets_version {
                return Ok(());
            }
            now.handle.clone()
        };
        let outcomes = match handle {
            Some(handle) => tokio::task::spawn_blocking(move || handle.change(changes))
                .await
                .map_err(|panicked| Status::internal(format!("a bug: {panicked}")))?,
            // It is over: nothing is left to change.
            None => Vec::new(),
        };
        // What concerns none of them in particular comes after them.
        let targets = targets.into_iter().map(Some).chain(iter::repeat(None));
        let failures = targets.zip(outcomes).filter_map(|(target, outcome)| {
            let error = outcome.err()?;
            Some(v1::TargetFailure {
                version,
                target,
                reason: error.reason().word().to_owned(),
                message: error.to_string(),
            })
        });
        let mut now = lock(&self.state);
        now.target_failures.extend(failures);
        let beyond = now.target_failures.len().saturating_sub(TARGET_FAILURES);
        now.target_failures.drain(..beyond);
        now.targets_version = version;
        Ok(())
    }

    /// Why reading it failed.
    pub(crate) fn failure(&self) -> Option<Status> {
        let now = lock(&self.state);
        let (reason, message) = now.failure.as_ref()?;
        Some(refuse::failed(*reason, message))
    }

    /// Asks it to end; what it has seen follows.
    pub(crate) fn stop(&self) {
        let mut now = lock(&self.state);
        now.stop = true;
        if let Some(handle) = &now.handle {
            handle.stop();
        }
    }

    fn is_over(&self) -> bool {
        self.ended().is_some()
    }

    fn ended(&self) -> Option<Instant> {
        lock(&self.state).ended
    }

    fn end(&self, failure: Option<(Reason, String)>) {
        {
            let mut now = lock(&self.state);
            now.state = match failure {
                None => State::Ended,
                Some(_) => State::Failed,
            };
            now.failure = failure;
            now.handle = None;
            now.ended = Some(Instant::now());
        }
        self.log.close();
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
    ) -> Arc<Self> {
        Arc::new(Self {
            kernel,
            loader,
            counters,
            policy,
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

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
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
    ) -> Result<Arc<Job>, Status> {
        check_uid(&uid).map_err(Refusal::Invalid)?;
        let (job, request) = self.place(Some(uid), generation, spec)?;
        if let Some(request) = request {
            self.start_job(&job, request).await?;
        }
        Ok(job)
    }

    /// Starts a trace that belongs to one call.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) async fn start_call(self: &Arc<Self>, spec: v1::TraceSpec) -> Result<Owned, Status> {
        let (job, request) = self.place(None, 1, Some(spec))?;
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
    ) -> Result<(Arc<Job>, Option<Request>), Status> {
        let mut request = wire::request(spec.clone()).map_err(Refusal::Invalid)?;
        let tracer = request.spec.tracer();
        self.policy.tracer(tracer.name()).map_err(Refusal::Denied)?;
        if request
            .targets
            .iter()
            .any(|target| target.whom == Whom::Host)
        {
            self.policy.host().map_err(Refusal::Denied)?;
        }
        request.limits = self
            .policy
            .limits(&request.limits)
            .map_err(Refusal::Denied)?;
        let needed = agent::memory(&request, &self.kernel) + self.policy.replay_bytes as u64;
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
            let job = Arc::new(Job {
                uid,
                generation,
                spec: spec.unwrap_or_default(),
                schema: wire::schema(tracer, &agent::columns(&request)),
                updates: tokio::sync::Mutex::default(),
                bytes: needed,
                log: Log::new(self.policy.replay_bytes),
                state: Mutex::new(Now {
                    state: State::Starting,
                    account: Account::default(),
                    failure: None,
                    handle: None,
                    targets_version: 0,
                    target_failures: VecDeque::new(),
                    stop: false,
                    ended: None,
                    version: 0,
                }),
            });
            all.place(&job, &self.policy)?;
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
        {
            let mut now = lock(&job.state);
            now.handle = Some(trace.handle());
            now.state = State::Running;
            if now.stop {
                trace.handle().stop();
            }
        }
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
            .filter(|job| lock(&job.state).version > seen)
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
    ) -> Result<(), Status> {
        let job = self.get(uid)?;
        match job.generation {
            known if known == generation => self.update_job(&job, update).await,
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
    ) -> Result<(), Status> {
        job.update(update).await?;
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
            lock(&job.state).version = *version;
        });
    }

    /// Ends a trace, and forgets it at once.
    pub(crate) fn forget(&self, job: &Arc<Job>) {
        job.stop();
        lock(&self.all).remove(job);
    }

    /// Forgets traces that ended long ago, for as long as it is polled.
    pub(crate) async fn forget_old_ones(&self) {
        let keep = Duration::from_secs(self.policy.keep_seconds);
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
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
            Ok(Some(Update::Rows(rows) | Update::Table(rows))) => {
                let (batch, bytes) = wire::batch(rows, trace.columns(), trace.clock());
                job.log.push(Item::Batch(batch), bytes);
            }
            Ok(Some(Update::Progress(account))) => {
                counters.booked(tracer, &told, &account);
                tell_losses(job, &told, &account);
                told = account.clone();
                lock(&job.state).account = account;
                jobs.changed(job);
            }
            Ok(Some(Update::Done(account))) => {
                counters.booked(tracer, &told, &account);
                counters.ended(tracer, &account);
                tell_losses(job, &told, &account);
                job.log.push(Item::Account(wire::account(&account)), 512);
                lock(&job.state).account = account;
                return None;
            }
            Err(error) => return Some((error.reason(), error.to_string())),
        }
    }
}

fn tell_losses(job: &Job, before: &Account, now: &Account) {
    if let Some(lost) = wire::lost_since(before, now) {
        job.log.push(Item::Lost(lost), 256);
    }
}

/// 1 to 63 letters, digits, '-', '_' and '.': it comes back in logs and audit lines.
fn check_uid(uid: &str) -> Result<(), Violation> {
    let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match (1..=63).contains(&uid.len()) && uid.chars().all(known) {
        true => Ok(()),
        false => Err(Violation {
            field: "uid",
            why: "it takes 1 to 63 letters, digits, '-', '_' and '.'".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_cannot_write_to_a_log() {
        for uid in ["", "a b", "a\nb", "call:1", &"a".repeat(64), "é"] {
            assert!(check_uid(uid).is_err(), "{uid:?}");
        }
        assert!(check_uid("6d1f-4c.b_2").is_ok());
    }
}
