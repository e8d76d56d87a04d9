//! The agents: on each node what is wanted is made so, again and again, and what is heard of it is kept.
//!
//! A connection is there while something is wanted of its node. Everything that is sent may be sent again: a start names a uid and a
//! generation, an update all targets.

mod link;

use crate::{counters::Counters, untraced::is_among};
use fleet::Connector;
pub(crate) use fleet::OURS;
use proto::v1;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::{Notify, Semaphore, mpsc};
use tracers::Batch;

/// Nodes that are talked to at once while they are connected, and started.
const AT_ONCE: usize = 256;

/// A trace that a node's agent should run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) generation: u64,
    /// All but its targets and its duration.
    pub(crate) spec: v1::TraceSpec,
    pub(crate) targets: Vec<v1::Target>,
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

/// What is known of a trace on a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) generation: u64,
    pub(crate) progress: Progress,
    /// Its books, as they were last told.
    pub(crate) account: v1::Account,
    /// Those of the same trace before its agent was started anew: what came between is not known.
    pub(crate) before: Vec<v1::Account>,
    /// Its last table.
    pub(crate) table: Option<Batch>,
    /// Targets that could not be selected: the newest, as the agent reports them.
    pub(crate) target_failures: Vec<v1::TargetFailure>,
    /// The number of these, with those that are not in the list.
    pub(crate) targets_failed: u64,
    /// The targets that the agent was sent.
    targets: Vec<v1::Target>,
    /// Of the newest update.
    version: u64,
    /// When targets that failed are sent again.
    retry: Retry,
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

/// All nodes' agents.
#[derive(Debug)]
pub(crate) struct Fleet {
    nodes: Mutex<HashMap<Arc<str>, Arc<Node>>>,
    connector: Connector,
    /// Uids of traces of which something new is known.
    heard: mpsc::UnboundedSender<String>,
    at_once: Arc<Semaphore>,
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
    address: Option<SocketAddr>,
    wanted: BTreeMap<String, Wanted>,
    reports: BTreeMap<String, Report>,
    /// Traces of ours that the agent runs, wanted or not.
    running: BTreeSet<String>,
    /// Whether somebody looks after it.
    tended: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked left a state that is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fleet {
    pub(crate) fn new(
        connector: Connector,
        heard: mpsc::UnboundedSender<String>,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        Arc::new(Self {
            nodes: Mutex::default(),
            connector,
            heard,
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            counters,
        })
    }

    /// Where the agents are now.
    pub(crate) fn addresses(self: &Arc<Self>, addresses: &BTreeMap<Arc<str>, SocketAddr>) {
        let known: Vec<Arc<Node>> = lock(&self.nodes).values().cloned().collect();
        for node in known {
            let address = addresses.get(&node.name).copied();
            let mut state = lock(&node.state);
            if state.address != address {
                state.address = address;
                node.wake.notify_one();
            }
        }
        for (name, address) in addresses {
            let node = self.node(name);
            lock(&node.state).address = Some(*address);
        }
    }

    /// What a job should run, on these nodes and no others.
    pub(crate) fn want(self: &Arc<Self>, uid: &str, wanted: BTreeMap<Arc<str>, Wanted>) {
        let known: Vec<Arc<Node>> = lock(&self.nodes).values().cloned().collect();
        for node in known {
            if !wanted.contains_key(&node.name) && lock(&node.state).wanted.remove(uid).is_some() {
                node.wake.notify_one();
            }
        }
        for (name, wanted) in wanted {
            let node = self.node(&name);
            let mut state = lock(&node.state);
            if state.wanted.get(uid) != Some(&wanted) {
                state.wanted.insert(uid.to_owned(), wanted);
                node.wake.notify_one();
                if !std::mem::replace(&mut state.tended, true) {
                    tokio::spawn(link::tend(Arc::clone(self), Arc::clone(&node)));
                }
            }
        }
    }

    /// Ends a job's traces, and forgets what is known of them.
    pub(crate) fn forget(self: &Arc<Self>, uid: &str) {
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

    /// Whether an agent that is there runs a job's trace still.
    pub(crate) fn is_running(&self, uid: &str) -> bool {
        let nodes = lock(&self.nodes);
        let runs = |node: &Arc<Node>| {
            let state = lock(&node.state);
            state.tended && state.running.contains(uid)
        };
        nodes.values().any(runs)
    }

    /// The nodes on which a job is wanted or known.
    pub(crate) fn nodes_of(&self, uid: &str) -> BTreeSet<Arc<str>> {
        let nodes = lock(&self.nodes);
        let has = |node: &&Arc<Node>| {
            let state = lock(&node.state);
            state.wanted.contains_key(uid) || state.reports.contains_key(uid)
        };
        let nodes = nodes.values().filter(has);
        nodes.map(|node| Arc::clone(&node.name)).collect()
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

    fn heard_of(&self, uid: &str) {
        // At the end nobody listens.
        let _ = self.heard.send(uid.to_owned());
    }
}
