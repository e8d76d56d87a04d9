//! The agents of all nodes: the traces that each one should run, the state that it reports, and the connections to them.
//!
//! A node's agent is connected while traces are wanted there. Every request can be repeated: a start names a uid and a generation, and an
//! update contains all targets.
//!
//! An agent that may still run a trace of a deleted job is queried although nothing is wanted there: each agent when it is first seen or
//! has moved, and each agent that a trace is removed from. So a job may be deleted while no controller runs.

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

/// Delay after which a target counts as late: its earlier events are missing. Longer than the difference between clocks of a cluster.
const LATE: Duration = Duration::from_secs(15);
/// Maximum number of nodes in the phase of connecting and starting traces.
const AT_ONCE: usize = 256;
/// Maximum number of nodes without wanted traces that are queried at once. Nodes of running jobs do not wait for these.
const SURVEYED_AT_ONCE: usize = 32;

/// A trace that a node's agent should run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) generation: u64,
    /// Spec of the trace without targets and duration.
    pub(crate) spec: v1::TraceSpec,
    pub(crate) targets: Vec<v1::Target>,
    /// Time from which each target should be traced: its start, or the start of the job if that is later.
    pub(crate) since: Vec<SystemTime>,
    /// Time at which the agent ends the trace.
    pub(crate) deadline: SystemTime,
    /// Whether the controller reads the last table.
    pub(crate) table: bool,
}

/// Progress of a trace on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The agent has not answered yet.
    #[default]
    Waiting,
    /// The agent does not answer, or cannot run the trace now. The request is repeated.
    Unavailable { reason: String, message: String },
    /// The agent runs the trace.
    Running,
    /// The trace has ended as planned.
    Ended,
    /// The trace failed and is not retried.
    Failed { reason: String, message: String },
}

/// The last table of a node's trace.
#[derive(Clone, Debug)]
pub(crate) struct LastTable {
    /// Schema of the rows, as the agent describes them.
    pub(crate) schema: Schema,
    pub(crate) rows: Batch,
}

/// The state of a trace on a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) generation: u64,
    pub(crate) progress: Progress,
    /// Newest account of the trace.
    pub(crate) account: v1::Account,
    /// Last accounts of the same trace from before restarts of the agent. Events between an account and the restart are unknown.
    pub(crate) before: Vec<v1::Account>,
    /// Delay between a target's start and its request to the agent, if longer than `LATE`.
    pub(crate) late: Option<Duration>,
    /// Last table of the trace.
    pub(crate) table: Option<LastTable>,
    /// Newest targets that could not be selected, as the agent reports them.
    pub(crate) target_failures: Vec<v1::TargetFailure>,
    /// Number of targets that could not be selected, including those outside the list.
    pub(crate) targets_failed: u64,
    /// Targets that the agent has received.
    targets: Vec<v1::Target>,
    /// Whether this controller has sent targets to the agent. Targets that another controller sent are unknown.
    has_sent: bool,
    /// Version of the newest update; 0 if the agent has never reported the trace.
    version: u64,
    /// Time at which failed targets are sent again.
    retry: Retry,
    /// Refusals of the agent that concern this trace.
    pub(crate) refused: Refused,
}

/// Returns whether a target is among others, regardless of labels.
pub(crate) fn is_among(target: &v1::Target, all: &[v1::Target]) -> bool {
    all.iter()
        .any(|other| other.target == target.target && other.pod_uid == target.pod_uid)
}

/// Time of the next retry, with a delay that doubles with each retry.
#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    wait: Duration,
}

/// First and longest delay before failed targets are sent again. Each time, an agent reads all cgroups of its node.
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
    /// Doubles the delay after a retry.
    fn back_off(&mut self) {
        self.wait = (self.wait * 2).min(RETRY_TARGETS.1);
        self.at = Instant::now() + self.wait;
    }
}

impl Report {
    /// Returns whether a wanted target could not be selected, and its retry is due.
    fn is_to_be_retried(&self) -> bool {
        let failed = self
            .target_failures
            .iter()
            .filter_map(|failure| failure.target.as_ref());
        { failed }.any(|target| is_among(target, &self.targets)) && Instant::now() >= self.retry.at
    }

    /// Returns whether the agent runs or has run the trace.
    pub(crate) fn has_run(&self) -> bool {
        self.version > 0 || !self.before.is_empty()
    }
}

/// A job that ran under another controller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) generation: u64,
    /// Whether the controller reads the last tables of its traces.
    pub(crate) table: bool,
}

/// The agents of all nodes.
#[derive(Debug)]
pub(crate) struct Fleet {
    nodes: Mutex<HashMap<Arc<str>, Arc<Node>>>,
    /// Jobs that ran when this controller started, by uid.
    expected: Mutex<HashMap<String, Expected>>,
    connector: Connector,
    /// Uids of traces with news.
    changed: mpsc::UnboundedSender<String>,
    at_once: Arc<Semaphore>,
    surveyed_at_once: Arc<Semaphore>,
    /// Clock, which tests replace.
    clock: fn() -> Timestamp,
    counters: Arc<Counters>,
}

/// A node and its agent.
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
    /// Traces of this controller that the agent runs, wanted or not.
    running: BTreeSet<String>,
    /// Traces with this controller's uid prefix that belong to another client of the agent. This controller may not stop them.
    foreign: BTreeSet<String>,
    /// Time since which the oldest target that was not sent yet should be traced, by trace.
    unsent: BTreeMap<String, SystemTime>,
    /// Whether the agent may run a trace of a deleted job.
    suspect: bool,
    /// Whether a task drives this node.
    tended: bool,
}

impl State {
    /// Records since when the unsent targets of a trace should be traced.
    fn note_unsent(&mut self, uid: &str) {
        let Some(wanted) = self.wanted.get(uid) else {
            return;
        };
        let sent = self.reports.get(uid).map(|report| &report.targets);
        let targets = wanted.targets.iter().zip(&wanted.since);
        let new = targets.filter(|(target, _)| sent.is_none_or(|sent| !sent.contains(target)));
        if let Some(first) = new.map(|(_, since)| *since).min() {
            let known = self.unsent.entry(uid.to_owned()).or_insert(first);
            *known = first.min(*known);
        }
    }

    /// Ends a trace without targets that was never started.
    fn end_without_targets(&mut self, uid: &str, wanted: &Wanted) {
        let report = self.reports.entry(uid.to_owned()).or_default();
        let gone = Progress::Failed {
            reason: "TargetGone".to_owned(),
            message: "the pods had ended before their agent received them as targets".to_owned(),
        };
        let waits = matches!(
            report.progress,
            Progress::Waiting | Progress::Unavailable { .. }
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

    /// Records that targets are being sent, for the first time or again.
    fn record_sending(&mut self, uid: &str, now: SystemTime) {
        let report = self.reports.entry(uid.to_owned()).or_default();
        if !std::mem::replace(&mut report.has_sent, true) && report.version > 0 {
            self.unsent.remove(uid);
        }
        let unsent = self.unsent.get(uid);
        let late = unsent.and_then(|since| now.duration_since(*since).ok());
        report.late = report.late.max(late.filter(|late| *late > LATE));
    }

    /// Records that the agent has these targets.
    fn record_sent(&mut self, uid: &str, targets: &[v1::Target]) {
        self.unsent.remove(uid);
        if let Some(report) = self.reports.get_mut(uid) {
            report.refused.taken(targets);
            report.targets = targets.to_vec();
        }
        self.note_unsent(uid);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // After a panic the value is still consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fleet {
    pub(crate) fn new(
        connector: Connector,
        changed: mpsc::UnboundedSender<String>,
        clock: fn() -> Timestamp,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        Arc::new(Self {
            nodes: Mutex::default(),
            expected: Mutex::default(),
            connector,
            changed,
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            surveyed_at_once: Arc::new(Semaphore::new(SURVEYED_AT_ONCE)),
            clock,
            counters,
        })
    }

    /// Registers a job that ran under another controller, before any agent is queried. Its traces continue. Traces of deleted jobs are
    /// stopped.
    pub(crate) fn expect(&self, uid: &str, job: Expected) {
        lock(&self.expected).insert(uid.to_owned(), job);
    }

    /// Replaces the addresses of the agents.
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

    /// Schedules a query of the traces that a node's agent runs.
    fn suspect(self: &Arc<Self>, node: &Arc<Node>, state: &mut State) {
        state.suspect = true;
        self.tend(node, state);
    }

    /// Wakes the task that drives a node, or spawns it.
    fn tend(self: &Arc<Self>, node: &Arc<Node>, state: &mut State) {
        node.wake.notify_one();
        if !std::mem::replace(&mut state.tended, true) {
            tokio::spawn(link::tend(Arc::clone(self), Arc::clone(node)));
        }
    }

    fn all(&self) -> Vec<Arc<Node>> {
        lock(&self.nodes).values().cloned().collect()
    }

    /// Sets the traces of a job: they run on these nodes and on no others.
    pub(crate) fn want(self: &Arc<Self>, uid: &str, wanted: BTreeMap<Arc<str>, Wanted>) {
        for node in self.all() {
            if wanted.contains_key(&node.name) {
                continue;
            }
            let mut state = lock(&node.state);
            state.unsent.remove(uid);
            if state.wanted.remove(uid).is_some() || state.running.contains(uid) {
                self.suspect(&node, &mut state);
            }
        }
        for (name, wanted) in wanted {
            let node = self.node(&name);
            let mut state = lock(&node.state);
            state.end_without_targets(uid, &wanted);
            if state.wanted.get(uid) != Some(&wanted) {
                state.wanted.insert(uid.to_owned(), wanted);
                state.note_unsent(uid);
                self.tend(&node, &mut state);
            }
        }
    }

    /// Ends a job's traces and removes their state.
    pub(crate) fn forget(self: &Arc<Self>, uid: &str) {
        lock(&self.expected).remove(uid);
        self.want(uid, BTreeMap::new());
        for node in lock(&self.nodes).values() {
            lock(&node.state).reports.remove(uid);
        }
    }

    /// Returns the state of a job on each node.
    pub(crate) fn reports(&self, uid: &str) -> BTreeMap<Arc<str>, Report> {
        let nodes = lock(&self.nodes);
        let of = |node: &Arc<Node>| {
            let report = lock(&node.state).reports.get(uid).cloned()?;
            Some((Arc::clone(&node.name), report))
        };
        nodes.values().filter_map(of).collect()
    }

    /// Returns the nodes where a job is wanted or has a state.
    pub(crate) fn nodes_of(&self, uid: &str) -> BTreeSet<Arc<str>> {
        self.nodes_where(|state| state.wanted.contains_key(uid) || state.reports.contains_key(uid))
    }

    /// Returns the nodes that have traced events of a job, or should have.
    pub(crate) fn nodes_with_events(&self, uid: &str) -> BTreeSet<Arc<str>> {
        let now = self.now();
        self.nodes_where(|state| {
            let unsent = state.unsent.get(uid);
            let waits = unsent.and_then(|since| now.duration_since(*since).ok());
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

    /// Adds a node whose agent is simulated by a test: no task connects to it.
    #[cfg(test)]
    pub(crate) fn play(self: &Arc<Self>, node: &Arc<str>) {
        lock(&self.node(node).state).tended = true;
    }

    /// Returns the next request to a simulated agent.
    #[cfg(test)]
    pub(crate) fn next_step(&self, node: &Arc<str>, uid: &str) -> Option<Step> {
        let node = self.node(node);
        let mut steps = link::steps(self, &node).into_iter();
        let step = steps.find_map(|(of, step)| (of == uid).then_some(step))?;
        if matches!(step, Step::Start(_) | Step::Update(..)) {
            lock(&node.state).record_sending(uid, self.now());
        }
        Some(step)
    }

    /// Records that a simulated agent has completed a request.
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

    /// Records a status of a simulated agent.
    #[cfg(test)]
    pub(crate) fn hear(&self, node: &Arc<str>, trace: v1::TraceStatus) {
        let node = self.node(node);
        let traces = vec![trace];
        let message = v1::WatchTracesResponse { traces };
        link::record_statuses(self, &node, &message);
    }

    fn notify(&self, uid: &str) {
        // Fails only at shutdown, when the receiver is gone.
        let _ = self.changed.send(uid.to_owned());
    }
}
