//! The agents: on each node what is wanted is made so, again and again, and what is heard of it is kept.
//!
//! A connection is there while something is wanted of its node. Everything that is sent may be sent again: a start names a uid and a
//! generation, an update all targets.
//!
//! An agent that may run a trace of a job that is gone is asked, although nothing is wanted of it: each one when it is first known or
//! has moved, and each one that a trace is taken from. So a job may be deleted while there is no controller.

mod link;

use crate::counters::Counters;
pub(crate) use fleet::OURS;
use fleet::{Addresses, Connector};
use proto::v1;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use tokio::sync::{Notify, Semaphore, mpsc};
use tracers::Batch;

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
    /// The targets that the agent has.
    targets: Vec<v1::Target>,
    /// Of the newest update.
    version: u64,
}

impl Report {
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
    surveyed_at_once: Arc<Semaphore>,
    /// Jobs that ran when this controller began and have not been looked at yet: what agents run of them goes on.
    undecided: Mutex<BTreeSet<String>>,
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
    /// Whether its agent may run a trace of ours that nobody wants.
    suspect: bool,
    /// Whether a task tends it.
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
            surveyed_at_once: Arc::new(Semaphore::new(SURVEYED_AT_ONCE)),
            undecided: Mutex::default(),
            counters,
        })
    }

    /// Jobs that run already, before any agent is asked. What agents run of other jobs is stopped.
    pub(crate) fn expect(&self, uids: impl IntoIterator<Item = String>) {
        lock(&self.undecided).extend(uids);
    }

    /// Where the agents are now.
    pub(crate) fn addresses(self: &Arc<Self>, addresses: &BTreeMap<Arc<str>, Addresses>) {
        let known: Vec<Arc<Node>> = lock(&self.nodes).values().cloned().collect();
        for node in known {
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

    /// What a job should run, on these nodes and no others.
    pub(crate) fn want(self: &Arc<Self>, uid: &str, wanted: BTreeMap<Arc<str>, Wanted>) {
        lock(&self.undecided).remove(uid);
        let known: Vec<Arc<Node>> = lock(&self.nodes).values().cloned().collect();
        for node in known {
            if wanted.contains_key(&node.name) {
                continue;
            }
            let mut state = lock(&node.state);
            if state.wanted.remove(uid).is_some() || state.running.contains(uid) {
                self.suspect(&node, &mut state);
            }
        }
        for (name, wanted) in wanted {
            let node = self.node(&name);
            let mut state = lock(&node.state);
            if state.wanted.get(uid) != Some(&wanted) {
                state.wanted.insert(uid.to_owned(), wanted);
                self.tend(&node, &mut state);
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
