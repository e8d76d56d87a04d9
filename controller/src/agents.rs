//! The agents: on each node what is wanted is made so, again and again, and what is heard of it is kept.
//!
//! A connection is there while something is wanted of its node. Everything that is sent may be sent again: a start names a uid and a
//! generation, an update all targets.
//!
//! An agent that may run a trace of a job that is gone is asked, although nothing is wanted of it: each one when it is first known or
//! has moved, and each one that a trace is taken from. So a job may be deleted while there is no controller.

mod link;
mod refused;

#[cfg(test)]
pub(crate) use link::Step;

use crate::counters::Counters;
use client::Schema;
pub(crate) use fleet::OURS;
use fleet::{Addresses, Connector};
use k8s_openapi::jiff::Timestamp;
use proto::v1;
use refused::Refused;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::{Notify, Semaphore, mpsc};
use tracers::Batch;

/// After this time an agent was told late: what its targets did before is missing. It is more than clocks of a cluster differ.
const LATE: Duration = Duration::from_secs(15);
/// Nodes that are talked to at once while they are connected, and started.
const AT_ONCE: usize = 256;
/// Nodes that are asked at once what they run although nothing is wanted of them: a job's nodes do not wait for these.
const SURVEYED_AT_ONCE: usize = 32;

/// A trace that a node's agent should run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) generation: u64,
    /// All but its targets and its duration.
    pub(crate) spec: v1::TraceSpec,
    pub(crate) targets: Vec<v1::Target>,
    /// When each target was there, or its job if that is later.
    pub(crate) since: Vec<SystemTime>,
    /// When the agent ends it.
    pub(crate) deadline: SystemTime,
    /// Whether its last table is wanted.
    pub(crate) table: bool,
}

/// How far a trace is on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The agent has not answered yet.
    #[default]
    Waiting,
    /// It does not answer, or says that it cannot now: it is asked again.
    Troubled { reason: String, message: String },
    /// The agent has it.
    Running,
    /// As it should.
    Ended,
    /// It never will.
    Failed { reason: String, message: String },
}

/// The last table of a node's trace.
#[derive(Clone, Debug)]
pub(crate) struct LastTable {
    /// What the agent says that its rows are.
    pub(crate) schema: Schema,
    pub(crate) rows: Batch,
}

/// What is known of a trace on a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) generation: u64,
    pub(crate) progress: Progress,
    /// Its books, as they were last told.
    pub(crate) account: v1::Account,
    /// Those of the same trace before its agent was started anew: what came between is not known.
    pub(crate) before: Vec<v1::Account>,
    /// How long a target had been there when the agent was told of it, where that was long.
    pub(crate) late: Option<Duration>,
    /// Its last table.
    pub(crate) table: Option<LastTable>,
    /// Targets that could not be selected: the newest, as the agent reports them.
    pub(crate) target_failures: Vec<v1::TargetFailure>,
    /// The number of these, with those that are not in the list.
    pub(crate) targets_failed: u64,
    /// The targets that the agent was sent.
    targets: Vec<v1::Target>,
    /// Whether this controller has told its agent of targets: of what another one has told it nothing is known.
    asked: bool,
    /// Of the newest update.
    version: u64,
    /// When targets that failed are sent again.
    retry: Retry,
    /// What the agent refuses to do for it.
    pub(crate) refused: Refused,
}

/// Whether a target is one of these; their labels do not matter.
pub(crate) fn is_among(target: &v1::Target, all: &[v1::Target]) -> bool {
    all.iter()
        .any(|other| other.target == target.target && other.pod_uid == target.pod_uid)
}

/// The time until something is sent again, which grows with each try.
#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    wait: Duration,
}

/// The time until targets that failed are sent again: at first, and at most. An agent reads all cgroups of its node for them.
const RETRY_TARGETS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

impl Default for Retry {
    fn default() -> Self {
        Self {
            at: Instant::now() + RETRY_TARGETS.0,
            wait: RETRY_TARGETS.0,
        }
    }
}

impl Retry {
    /// The same targets have been sent once more.
    fn again(&mut self) {
        self.wait = (self.wait * 2).min(RETRY_TARGETS.1);
        self.at = Instant::now() + self.wait;
    }
}

impl Report {
    /// Whether a target that is wanted still could not be selected, and it is time to send it again.
    fn is_to_be_retried(&self) -> bool {
        let failed = self
            .target_failures
            .iter()
            .filter_map(|failure| failure.target.as_ref());
        { failed }.any(|target| is_among(target, &self.targets)) && Instant::now() >= self.retry.at
    }

    /// Whether the agent has, or had, the trace.
    pub(crate) fn has_run(&self) -> bool {
        self.version > 0 || !self.before.is_empty()
    }
}

/// A job that ran under another controller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) generation: u64,
    /// Whether its traces' last tables are wanted.
    pub(crate) table: bool,
}

/// All nodes' agents.
#[derive(Debug)]
pub(crate) struct Fleet {
    nodes: Mutex<HashMap<Arc<str>, Arc<Node>>>,
    /// Jobs that ran when this controller began, by uid.
    expected: Mutex<HashMap<String, Expected>>,
    connector: Connector,
    /// Uids of traces of which something new is known.
    heard: mpsc::UnboundedSender<String>,
    at_once: Arc<Semaphore>,
    surveyed_at_once: Arc<Semaphore>,
    /// What time it is.
    clock: fn() -> Timestamp,
    counters: Arc<Counters>,
}

/// One node's.
#[derive(Debug)]
struct Node {
    name: Arc<str>,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    address: Option<Addresses>,
    wanted: BTreeMap<String, Wanted>,
    reports: BTreeMap<String, Report>,
    /// Traces of ours that the agent runs, wanted or not.
    running: BTreeSet<String>,
    /// Traces with names of ours that this controller may not stop: another client of the agent runs them.
    foreign: BTreeSet<String>,
    /// When the first target was there that the agent has not been told of, by trace.
    untold: BTreeMap<String, SystemTime>,
    /// Whether its agent may run a trace of ours that nobody wants.
    suspect: bool,
    /// Whether a task tends it.
    tended: bool,
}

impl State {
    /// Remembers since when the agent should know what it has not been told.
    fn note_untold(&mut self, uid: &str) {
        let Some(wanted) = self.wanted.get(uid) else {
            return;
        };
        let told = self.reports.get(uid).map(|report| &report.targets);
        let targets = wanted.targets.iter().zip(&wanted.since);
        let new = targets.filter(|(target, _)| told.is_none_or(|told| !told.contains(target)));
        if let Some(first) = new.map(|(_, since)| *since).min() {
            let known = self.untold.entry(uid.to_owned()).or_insert(first);
            *known = first.min(*known);
        }
    }

    /// Whether there is anything to start: of nobody, a trace has ended, or never will have begun.
    fn judge(&mut self, uid: &str, wanted: &Wanted) {
        let report = self.reports.entry(uid.to_owned()).or_default();
        let gone = Progress::Failed {
            reason: "TargetGone".to_owned(),
            message: "the pods had ended before their agent received them as targets".to_owned(),
        };
        let waits = matches!(
            report.progress,
            Progress::Waiting | Progress::Troubled { .. }
        );
        if !wanted.targets.is_empty() {
            if report.progress == gone {
                report.progress = Progress::Waiting;
            }
        } else if waits && report.version == 0 {
            report.generation = wanted.generation;
            report.progress = match report.has_run() {
                true => Progress::Ended,
                false => gone,
            };
        }
    }

    /// An agent is told now, for the first time or again.
    fn tells(&mut self, uid: &str, now: SystemTime) {
        let report = self.reports.entry(uid.to_owned()).or_default();
        if !std::mem::replace(&mut report.asked, true) && report.version > 0 {
            self.untold.remove(uid);
        }
        let untold = self.untold.get(uid);
        let late = untold.and_then(|since| now.duration_since(*since).ok());
        report.late = report.late.max(late.filter(|late| *late > LATE));
    }

    /// An agent has these targets.
    fn told(&mut self, uid: &str, targets: &[v1::Target]) {
        self.untold.remove(uid);
        if let Some(report) = self.reports.get_mut(uid) {
            report.refused.taken(targets);
            report.targets = targets.to_vec();
        }
        self.note_untold(uid);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked left a state that is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fleet {
    pub(crate) fn new(
        connector: Connector,
        heard: mpsc::UnboundedSender<String>,
        clock: fn() -> Timestamp,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        Arc::new(Self {
            nodes: Mutex::default(),
            expected: Mutex::default(),
            connector,
            heard,
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            surveyed_at_once: Arc::new(Semaphore::new(SURVEYED_AT_ONCE)),
            clock,
            counters,
        })
    }

    /// A job that runs already, before any agent is asked: what agents have of it is taken in, and goes on. What agents run of jobs
    /// that are gone is stopped.
    pub(crate) fn expect(&self, uid: &str, job: Expected) {
        lock(&self.expected).insert(uid.to_owned(), job);
    }

    /// Where the agents are now.
    pub(crate) fn addresses(self: &Arc<Self>, addresses: &BTreeMap<Arc<str>, Addresses>) {
        for node in self.all() {
            if !addresses.contains_key(&node.name) && lock(&node.state).address.take().is_some() {
                node.wake.notify_one();
            }
        }
        for (name, address) in addresses {
            let node = self.node(name);
            let mut state = lock(&node.state);
            if state.address.as_ref() != Some(address) {
                state.address = Some(Arc::clone(address));
                self.suspect(&node, &mut state);
            }
        }
    }

    /// Has a node's agent asked what it runs.
    fn suspect(self: &Arc<Self>, node: &Arc<Node>, state: &mut State) {
        state.suspect = true;
        self.tend(node, state);
    }

    /// Wakes the task that tends a node; starts it where there is none.
    fn tend(self: &Arc<Self>, node: &Arc<Node>, state: &mut State) {
        node.wake.notify_one();
        if !std::mem::replace(&mut state.tended, true) {
            tokio::spawn(link::tend(Arc::clone(self), Arc::clone(node)));
        }
    }

    fn all(&self) -> Vec<Arc<Node>> {
        lock(&self.nodes).values().cloned().collect()
    }

    /// What a job should run, on these nodes and no others.
    pub(crate) fn want(self: &Arc<Self>, uid: &str, wanted: BTreeMap<Arc<str>, Wanted>) {
        for node in self.all() {
            if wanted.contains_key(&node.name) {
                continue;
            }
            let mut state = lock(&node.state);
            state.untold.remove(uid);
            if state.wanted.remove(uid).is_some() || state.running.contains(uid) {
                self.suspect(&node, &mut state);
            }
        }
        for (name, wanted) in wanted {
            let node = self.node(&name);
            let mut state = lock(&node.state);
            state.judge(uid, &wanted);
            if state.wanted.get(uid) != Some(&wanted) {
                state.wanted.insert(uid.to_owned(), wanted);
                state.note_untold(uid);
                self.tend(&node, &mut state);
            }
        }
    }

    /// Ends a job's traces, and forgets what is known of them.
    pub(crate) fn forget(self: &Arc<Self>, uid: &str) {
        lock(&self.expected).remove(uid);
        self.want(uid, BTreeMap::new());
        for node in lock(&self.nodes).values() {
            lock(&node.state).reports.remove(uid);
        }
    }

    /// What is known of a job on each node.
    pub(crate) fn reports(&self, uid: &str) -> BTreeMap<Arc<str>, Report> {
        let nodes = lock(&self.nodes);
        let of = |node: &Arc<Node>| {
            let report = lock(&node.state).reports.get(uid).cloned()?;
            Some((Arc::clone(&node.name), report))
        };
        nodes.values().filter_map(of).collect()
    }

    /// The nodes on which a job is wanted or known.
    pub(crate) fn nodes_of(&self, uid: &str) -> BTreeSet<Arc<str>> {
        self.nodes_where(|state| state.wanted.contains_key(uid) || state.reports.contains_key(uid))
    }

    /// The nodes on which a job has seen something, or should have.
    pub(crate) fn nodes_that_owe(&self, uid: &str) -> BTreeSet<Arc<str>> {
        let now = self.now();
        self.nodes_where(|state| {
            let untold = state.untold.get(uid);
            let waits = untold.and_then(|since| now.duration_since(*since).ok());
            let has_run = state.reports.get(uid).is_some_and(Report::has_run);
            has_run || waits.is_some_and(|waits| waits > LATE)
        })
    }

    fn nodes_where(&self, holds: impl Fn(&State) -> bool) -> BTreeSet<Arc<str>> {
        let nodes = lock(&self.nodes);
        let nodes = nodes.values().filter(|node| holds(&lock(&node.state)));
        nodes.map(|node| Arc::clone(&node.name)).collect()
    }

    fn now(&self) -> SystemTime {
        (self.clock)().into()
    }

    fn node(&self, name: &Arc<str>) -> Arc<Node> {
        let mut nodes = lock(&self.nodes);
        let node = nodes.entry(Arc::clone(name)).or_insert_with(|| {
            Arc::new(Node {
                name: Arc::clone(name),
                state: Mutex::default(),
                wake: Notify::new(),
            })
        });
        Arc::clone(node)
    }

    /// Makes a node that a test plays the agent of: nobody connects to it.
    #[cfg(test)]
    pub(crate) fn play(self: &Arc<Self>, node: &Arc<str>) {
        lock(&self.node(node).state).tended = true;
    }

    /// What an agent that a test plays is asked for next.
    #[cfg(test)]
    pub(crate) fn next_step(&self, node: &Arc<str>, uid: &str) -> Option<Step> {
        let node = self.node(node);
        let mut steps = link::steps(self, &node).into_iter();
        let step = steps.find_map(|(of, step)| (of == uid).then_some(step))?;
        if matches!(step, Step::Start(_) | Step::Update(..)) {
            lock(&node.state).tells(uid, self.now());
        }
        Some(step)
    }

    /// Takes in that an agent that a test plays has done it.
    #[cfg(test)]
    pub(crate) fn done(&self, node: &Arc<str>, uid: &str, step: &Step) {
        let node = self.node(node);
        match step {
            Step::Start(wanted) => {
                link::answered(&node, uid, wanted, Progress::Running);
            }
            Step::Update(wanted, version) => {
                link::updated(&node, uid, wanted, *version);
            }
            Step::Fetch(_) => {}
            Step::Stop => drop(lock(&node.state).running.remove(uid)),
        }
    }

    /// Takes in what an agent says that a test plays.
    #[cfg(test)]
    pub(crate) fn hear(&self, node: &Arc<str>, trace: v1::TraceStatus) {
        let node = self.node(node);
        let traces = vec![trace];
        let message = v1::WatchTracesResponse { traces };
        link::heard(self, &node, &message);
    }

    fn heard_of(&self, uid: &str) {
        // At the end nobody listens.
        let _ = self.heard.send(uid.to_owned());
    }
}
