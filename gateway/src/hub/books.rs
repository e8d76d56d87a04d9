//! What is known of a job on one node: its traces there, one after the other, and their accounts.

use super::{Hub, State};
use crate::merge::Origin;
use proto::v1::{self, NodeState};
use std::{collections::BTreeMap, sync::Arc, time::Instant};
use tracers::Batch;

/// Reasons of what is not traced, of all nodes together.
const UNTRACED_MAX: usize = 8;

/// A node.
pub(super) struct Node {
    pub(super) name: Arc<str>,
    pub(super) traces: Vec<Trace>,
    link: Link,
    /// Which columns of its agent are in no row, for people; empty is none.
    pub(super) left_out: String,
    /// Counts with the hub's changes.
    pub(super) version: u64,
}

/// How its agent is.
enum Link {
    /// It has not answered yet.
    New,
    /// It has; whether it has a trace of the job that is not over.
    Heard,
    /// It does not answer, and why.
    Broken(String),
}

/// A trace on a node, from its start to its account. A node whose agent is started anew has another.
pub(super) struct Trace {
    /// What the agent calls it.
    pub(super) instance: u64,
    /// Rows of it that have come, or are known to be missing.
    pub(super) rows: u64,
    /// The number of the next message.
    pub(super) next: u64,
    /// As last told.
    told: v1::Account,
    lost: BTreeMap<String, u64>,
    missed_runs: u64,
    /// Why it failed: a reason, and what happened.
    failed: Option<(String, String)>,
    /// Its last word.
    ended: Option<v1::Account>,
    /// The newest table of each dataset that is one.
    tables: BTreeMap<usize, Arc<Batch>>,
}

impl Node {
    pub(super) fn is_running(&self) -> bool {
        matches!(self.link, Link::Heard) && self.traces.last().is_some_and(|trace| !trace.is_over())
    }

    /// Whether there is anything to say of it.
    pub(super) fn is_known(&self) -> bool {
        !self.traces.is_empty()
    }

    /// Whether nothing more is to be expected of its newest trace.
    pub(super) fn is_over(&self) -> bool {
        self.traces.last().is_some_and(Trace::is_over)
    }

    /// Whether it has said all that it will, of a job that is over.
    pub(super) fn is_settled(&self) -> bool {
        match self.link {
            Link::New => false,
            Link::Heard => self.traces.last().is_none_or(Trace::is_over),
            Link::Broken(_) => self.is_over(),
        }
    }

    /// What is to be said of its agent's version: a reason and a message, empty where there is nothing.
    fn version_note(&self) -> (String, String) {
        match self.left_out.as_str() {
            "" => Default::default(),
            note => ("OtherVersion".to_owned(), note.to_owned()),
        }
    }

    pub(super) fn tables(&self, dataset: usize) -> impl Iterator<Item = Arc<Batch>> {
        let tables = self
            .traces
            .iter()
            .map(move |trace| trace.tables.get(&dataset));
        tables.flatten().cloned()
    }

    /// Its traces' accounts together, and how it is.
    pub(super) fn account(&self, table: bool) -> v1::NodeAccount {
        let mut sum = v1::Account {
            complete: true,
            ..v1::Account::default()
        };
        for trace in &self.traces {
            add(&mut sum, &trace.account(table));
        }
        // Of a job that runs its trace has no account yet, which is as it should be.
        let unfinished = self
            .traces
            .iter()
            .filter(|trace| trace.ended.is_none())
            .count();
        let failed = self
            .traces
            .iter()
            .rev()
            .find_map(|trace| trace.failed.clone());
        let running = self.is_running();
        let (state, (reason, message)) = match (&self.link, failed) {
            (_, Some(why)) => (NodeState::Left, why),
            (Link::Broken(why), _) if unfinished > 0 => (
                NodeState::Left,
                ("AgentUnreachable".to_owned(), why.clone()),
            ),
            _ if unfinished > usize::from(running) => (
                NodeState::Left,
                (
                    "AgentRestarted".to_owned(),
                    "the agent restarted: events that it had not sent are unknown".to_owned(),
                ),
            ),
            _ if running => (NodeState::Running, self.version_note()),
            _ => (NodeState::Ended, self.version_note()),
        };
        // One that runs again says so; that something is missing its account says.
        let state = if running { NodeState::Running } else { state };
        sum.complete &= unfinished == 0;
        v1::NodeAccount {
            node: self.name.to_string(),
            state: state.into(),
            account: Some(sum),
            reason,
            message,
        }
    }
}

impl Trace {
    /// Whether nothing more is to be expected of it.
    fn is_over(&self) -> bool {
        self.ended.is_some() || self.failed.is_some()
    }

    /// Its account, or what is known of it.
    fn account(&self, table: bool) -> v1::Account {
        if let Some(account) = &self.ended {
            return account.clone();
        }
        let mut known = self.told.clone();
        known.complete = false;
        let lost = self.lost.iter().map(|(name, events)| v1::Stage {
            name: name.clone(),
            events: *events,
        });
        known.lost = lost.collect();
        known.missed_runs = self.missed_runs;
        if !table {
            // What has come, whatever the agent counts by now.
            known.delivered = self.rows;
        }
        let lost: u64 = self.lost.values().sum();
        known.produced = [known.filtered, known.beyond_limit, known.sampled, lost]
            .iter()
            .fold(known.delivered, |sum, events| sum.saturating_add(*events));
        known
    }
}

/// Adds an account to others.
pub(crate) fn add(sum: &mut v1::Account, account: &v1::Account) {
    let v1::Account {
        produced,
        delivered,
        filtered,
        beyond_limit,
        lost,
        missed_runs,
        stacks_missing,
        stacks_truncated,
        complete,
        elapsed,
        cost,
        ended,
        sampled,
        nodes: _,
        missed_rows: _,
        late_rows: _,
        untraced,
        untraced_count,
    } = account;
    for (sum, number) in [
        (&mut sum.produced, produced),
        (&mut sum.delivered, delivered),
        (&mut sum.filtered, filtered),
        (&mut sum.beyond_limit, beyond_limit),
        (&mut sum.missed_runs, missed_runs),
        (&mut sum.stacks_missing, stacks_missing),
        (&mut sum.stacks_truncated, stacks_truncated),
        (&mut sum.sampled, sampled),
        (&mut sum.untraced_count, untraced_count),
    ] {
        *sum = sum.saturating_add(*number);
    }
    for stage in lost {
        match sum.lost.iter_mut().find(|known| known.name == stage.name) {
            Some(known) => known.events = known.events.saturating_add(stage.events),
            None => sum.lost.push(stage.clone()),
        }
    }
    let room = UNTRACED_MAX.saturating_sub(sum.untraced.len());
    sum.untraced.extend(untraced.iter().take(room).cloned());
    sum.complete &= complete;
    // Of several at the same time it is the longest.
    let key = |time: &Option<prost_types::Duration>| {
        time.as_ref()
            .map_or((0, 0), |time| (time.seconds, time.nanos))
    };
    if key(elapsed) > key(&sum.elapsed) {
        sum.elapsed = *elapsed;
    }
    sum.ended.clone_from(ended);
    if let Some(cost) = cost {
        let into = sum.cost.get_or_insert_default();
        into.bpf = longer(into.bpf, cost.bpf);
        into.reader = longer(into.reader, cost.reader);
        into.kernel_bytes = into.kernel_bytes.saturating_add(cost.kernel_bytes);
        // By their runs: what has none was measured as well as the others.
        let runs = into.bpf_runs.saturating_add(cost.bpf_runs);
        if runs > 0 {
            into.bpf_measured = (into.bpf_measured * into.bpf_runs as f64
                + cost.bpf_measured * cost.bpf_runs as f64)
                / runs as f64;
        }
        into.bpf_runs = runs;
    }
}

fn longer(
    a: Option<prost_types::Duration>,
    b: Option<prost_types::Duration>,
) -> Option<prost_types::Duration> {
    let (Some(a), Some(b)) = (a, b) else {
        return a.or(b);
    };
    let mut sum = prost_types::Duration {
        seconds: a.seconds.saturating_add(b.seconds),
        nanos: a.nanos.saturating_add(b.nanos),
    };
    sum.normalize();
    Some(sum)
}

/// What followers tell.
impl Hub {
    /// The number of a node.
    pub(super) fn node(&self, name: &Arc<str>) -> u32 {
        let mut state = self.state();
        if let Some(known) = state.by_name.get(name) {
            return *known;
        }
        let number = state.nodes.len() as u32;
        state.by_name.insert(Arc::clone(name), number);
        state.nodes.push(Node {
            name: Arc::clone(name),
            traces: Vec::new(),
            link: Link::New,
            left_out: String::new(),
            version: 0,
        });
        number
    }

    pub(super) fn change<T>(&self, node: u32, change: impl FnOnce(&mut Node) -> T) -> T {
        let mut state = self.state();
        let State {
            nodes,
            changes,
            heard,
            ..
        } = &mut *state;
        *heard = Instant::now();
        let node = &mut nodes[node as usize];
        let answer = change(node);
        *changes += 1;
        node.version = *changes;
        // Nobody is woken for it: with many nodes something changes all the time, and readers look now and then.
        answer
    }

    fn change_trace(&self, at: Origin, change: impl FnOnce(&mut Trace)) {
        self.change(at.node, |node| change(&mut node.traces[at.trace as usize]));
    }

    /// Its agent has answered.
    pub(super) fn heard(&self, node: u32) {
        self.change(node, |node| node.link = Link::Heard);
    }

    /// It does not, or not any more.
    pub(super) fn broken(&self, node: u32, why: &str) {
        self.change(node, |node| node.link = Link::Broken(why.to_owned()));
    }

    /// The trace that a node's agent told of last: what it calls it, the number of its next message, and whether it is over.
    pub(super) fn newest(&self, node: u32) -> Option<(u64, u64, bool)> {
        let state = self.state();
        let trace = state.nodes[node as usize].traces.last()?;
        Some((trace.instance, trace.next, trace.is_over()))
    }

    /// Its agent has this trace.
    pub(super) fn began(&self, node: u32, instance: u64) -> Origin {
        let trace = self.change(node, |node| {
            if node
                .traces
                .last()
                .is_none_or(|trace| trace.instance != instance)
            {
                node.traces.push(Trace {
                    instance,
                    rows: 0,
                    next: 1,
                    told: v1::Account::default(),
                    lost: BTreeMap::new(),
                    missed_runs: 0,
                    failed: None,
                    ended: None,
                    tables: BTreeMap::new(),
                });
            }
            node.traces.len() as u32 - 1
        });
        Origin { node, trace }
    }

    /// Something of a trace that its node's books do not show.
    fn note(&self, at: Origin, note: impl FnOnce(&mut Trace)) {
        let mut state = self.state();
        state.heard = Instant::now();
        note(&mut state.nodes[at.node as usize].traces[at.trace as usize]);
    }

    /// A message of so many rows has come, of events.
    pub(super) fn came(&self, at: Origin, sequence: u64, before: u64, rows: u32) {
        self.note(at, |trace| {
            trace.rows = before + u64::from(rows);
            trace.next = sequence + 1;
        });
    }

    /// Another message has come.
    pub(super) fn passed(&self, at: Origin, sequence: u64) {
        self.note(at, |trace| trace.next = sequence + 1);
    }

    /// The newest table of a dataset of a trace.
    pub(super) fn table(&self, at: Origin, dataset: usize, batch: Arc<Batch>) {
        self.note(at, |trace| {
            trace.tables.insert(dataset, batch);
        });
        self.state().tables += 1;
        self.tell();
    }

    /// What was lost since.
    pub(super) fn lost(&self, at: Origin, lost: v1::Lost) {
        self.change_trace(at, |trace| {
            trace.missed_runs = trace.missed_runs.saturating_add(lost.missed_runs);
            for stage in lost.stages {
                // An agent's words; ours has a handful of them.
                if trace.lost.len() < 64 || trace.lost.contains_key(&stage.name) {
                    let sum = trace.lost.entry(stage.name).or_default();
                    *sum = sum.saturating_add(stage.events);
                }
            }
        });
    }

    /// Its books, as an agent tells them now and then.
    pub(super) fn told(&self, at: Origin, account: v1::Account) {
        self.change_trace(at, |trace| {
            trace.told = account;
        });
    }

    /// Its last word.
    pub(super) fn ended(&self, at: Origin, account: v1::Account) {
        self.change_trace(at, |trace| trace.ended = Some(account));
    }

    /// It has failed, and nothing more is to be expected of it.
    pub(super) fn failed(&self, at: Origin, reason: &str, message: &str) {
        self.change_trace(at, |trace| {
            trace.failed = Some((reason.to_owned(), message.to_owned()));
        });
    }
}
