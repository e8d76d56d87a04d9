//! The state of a job on one node: its traces there, one after the other, and their accounts.

#[cfg(test)]
mod tests;

use super::{Hub, State};
use crate::merge::Origin;
use client::duration::{self, duration};
use proto::v1::{self, NodeState};
use std::{collections::BTreeMap, sync::Arc, time::Instant};
use tracers::Batch;

/// Reasons of missing targets, of all nodes together.
const UNTRACED_MAX: usize = 8;
/// Stages of loss of one trace.
const LOST_MAX: usize = 64;

/// A node.
pub(super) struct Node {
    pub(super) name: Arc<str>,
    pub(super) traces: Vec<Trace>,
    link: Link,
    /// Message about columns of the agent that are in no row; empty without any.
    pub(super) left_out: String,
    /// Number of the hub's change that changed the node last.
    pub(super) version: u64,
}

/// The state of the connection to its agent.
enum Link {
    /// The agent has not answered yet.
    New,
    /// The agent has listed its traces.
    Answered,
    /// The agent does not answer, for this reason.
    Broken(String),
}

/// A trace on a node, from its start to its account. A restarted agent has a new trace.
pub(super) struct Trace {
    /// Instance of the trace; the agent assigns it.
    pub(super) instance: u64,
    /// Number of rows that arrived or are known to be missing.
    pub(super) rows: u64,
    /// The number of the next message.
    pub(super) next: u64,
    /// The newest account that the agent reported.
    reported: v1::Account,
    lost: BTreeMap<String, u64>,
    missed_runs: u64,
    /// The reason and the message of its failure.
    failed: Option<(String, String)>,
    /// Its final account.
    ended: Option<v1::Account>,
    /// Newest table of each dataset with tables.
    tables: BTreeMap<usize, Arc<Batch>>,
}

impl Node {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            traces: Vec::new(),
            link: Link::New,
            left_out: String::new(),
            version: 0,
        }
    }

    /// Adds this trace, unless it is the newest one already. Returns its index.
    fn begin(&mut self, instance: u64) -> u32 {
        let newest = self.traces.last();
        if newest.is_none_or(|trace| trace.instance != instance) {
            self.traces.push(Trace::new(instance));
        }
        self.traces.len() as u32 - 1
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.link, Link::Answered)
            && self.traces.last().is_some_and(|trace| !trace.is_over())
    }

    /// Returns whether the agent has reported a trace of the job.
    pub(super) fn is_known(&self) -> bool {
        !self.traces.is_empty()
    }

    /// Returns whether the newest trace has ended or failed.
    pub(super) fn is_over(&self) -> bool {
        self.traces.last().is_some_and(Trace::is_over)
    }

    /// Returns whether no further message is expected of the node after the end of the job.
    pub(super) fn is_settled(&self) -> bool {
        match self.link {
            Link::New => false,
            Link::Answered => self.traces.last().is_none_or(Trace::is_over),
            Link::Broken(_) => self.is_over(),
        }
    }

    /// Returns a reason and a message about the version of its agent; both are empty for one that has all columns.
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

    /// Returns the sum of its traces' accounts, with its state.
    pub(super) fn account(&self, table: bool) -> v1::NodeAccount {
        let mut sum = v1::Account {
            complete: true,
            ..v1::Account::default()
        };
        for trace in &self.traces {
            add(&mut sum, &trace.account(table));
        }
        // A running trace has no account yet, which is not a problem.
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
        // A node with a new running trace is running. Its account is incomplete because of the old one.
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
    fn new(instance: u64) -> Self {
        Self {
            instance,
            rows: 0,
            next: 1,
            reported: v1::Account::default(),
            lost: BTreeMap::new(),
            missed_runs: 0,
            failed: None,
            ended: None,
            tables: BTreeMap::new(),
        }
    }

    /// Records the arrival of a batch of `rows` events, after `before` others.
    fn arrived(&mut self, sequence: u64, before: u64, rows: u32) {
        self.rows = before + u64::from(rows);
        self.next = sequence + 1;
    }

    /// Adds losses that the agent reported.
    fn add_lost(&mut self, lost: v1::Lost) {
        self.missed_runs = self.missed_runs.saturating_add(lost.missed_runs);
        for stage in lost.stages {
            // The names come from the agent. A TraceJob agent has fewer than ten.
            if self.lost.len() < LOST_MAX || self.lost.contains_key(&stage.name) {
                let sum = self.lost.entry(stage.name).or_default();
                *sum = sum.saturating_add(stage.events);
            }
        }
    }

    /// Returns whether the trace has ended or failed.
    fn is_over(&self) -> bool {
        self.ended.is_some() || self.failed.is_some()
    }

    /// Returns the account of the trace; before the end, the known sums.
    fn account(&self, table: bool) -> v1::Account {
        if let Some(account) = &self.ended {
            return account.clone();
        }
        let mut known = self.reported.clone();
        known.complete = false;
        let lost = self.lost.iter().map(|(name, events)| v1::Stage {
            name: name.clone(),
            events: *events,
        });
        known.lost = lost.collect();
        known.missed_runs = self.missed_runs;
        if !table {
            // The received rows. The agent may count more rows by now.
            known.delivered = self.rows;
        }
        let lost: u64 = self.lost.values().sum();
        known.produced = [known.filtered, known.beyond_limit, known.sampled, lost]
            .iter()
            .fold(known.delivered, |sum, events| sum.saturating_add(*events));
        known
    }
}

/// Adds an account to the sum of others.
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
        stacks_not_unwound,
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
        user_stacks,
    } = account;
    for (sum, number) in [
        (&mut sum.produced, produced),
        (&mut sum.delivered, delivered),
        (&mut sum.filtered, filtered),
        (&mut sum.beyond_limit, beyond_limit),
        (&mut sum.missed_runs, missed_runs),
        (&mut sum.stacks_missing, stacks_missing),
        (&mut sum.stacks_truncated, stacks_truncated),
        (&mut sum.stacks_not_unwound, stacks_not_unwound),
        (&mut sum.sampled, sampled),
        (&mut sum.untraced_count, untraced_count),
    ] {
        *sum = sum.saturating_add(*number);
    }
    if let Some(stacks) = user_stacks {
        let v1::UserStacks {
            delivered,
            truncated,
            empty,
            short,
        } = stacks;
        let into = sum.user_stacks.get_or_insert_default();
        for (sum, number) in [
            (&mut into.delivered, delivered),
            (&mut into.truncated, truncated),
            (&mut into.empty, empty),
            (&mut into.short, short),
        ] {
            *sum = sum.saturating_add(*number);
        }
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
    // The traces run at the same time.
    if duration(*elapsed) > duration(sum.elapsed) {
        sum.elapsed = *elapsed;
    }
    sum.ended.clone_from(ended);
    if let Some(cost) = cost {
        let into = sum.cost.get_or_insert_default();
        into.bpf = duration::sum(into.bpf, cost.bpf);
        into.reader = duration::sum(into.reader, cost.reader);
        into.kernel_bytes = into.kernel_bytes.saturating_add(cost.kernel_bytes);
        // The mean, weighted by runs.
        let runs = into.bpf_runs.saturating_add(cost.bpf_runs);
        if runs > 0 {
            into.bpf_measured = (into.bpf_measured * into.bpf_runs as f64
                + cost.bpf_measured * cost.bpf_runs as f64)
                / runs as f64;
        }
        into.bpf_runs = runs;
    }
}

/// Updates from the followers of nodes.
impl Hub {
    /// Returns the number of a node.
    pub(super) fn node(&self, name: &Arc<str>) -> u32 {
        let mut state = self.state();
        if let Some(known) = state.by_name.get(name) {
            return *known;
        }
        let number = state.nodes.len() as u32;
        state.by_name.insert(Arc::clone(name), number);
        state.nodes.push(Node::new(Arc::clone(name)));
        number
    }

    pub(super) fn change<T>(&self, node: u32, change: impl FnOnce(&mut Node) -> T) -> T {
        let mut state = self.state();
        let State {
            nodes,
            changes,
            last_message,
            ..
        } = &mut *state;
        *last_message = Instant::now();
        let node = &mut nodes[node as usize];
        let answer = change(node);
        *changes += 1;
        node.version = *changes;
        // Readers are not notified, because with many nodes there are changes all the time. They read the changes periodically.
        answer
    }

    fn change_trace(&self, at: Origin, change: impl FnOnce(&mut Trace)) {
        self.change(at.node, |node| change(&mut node.traces[at.trace as usize]));
    }

    /// Records a response of the agent.
    pub(super) fn answered(&self, node: u32) {
        self.change(node, |node| node.link = Link::Answered);
    }

    /// Records that the agent does not respond.
    pub(super) fn broken(&self, node: u32, why: &str) {
        self.change(node, |node| node.link = Link::Broken(why.to_owned()));
    }

    /// Returns the newest trace of a node: its instance, the number of its next message, and whether it is over.
    pub(super) fn newest(&self, node: u32) -> Option<(u64, u64, bool)> {
        let state = self.state();
        let trace = state.nodes[node as usize].traces.last()?;
        Some((trace.instance, trace.next, trace.is_over()))
    }

    /// Records a trace of the agent.
    pub(super) fn began(&self, node: u32, instance: u64) -> Origin {
        let trace = self.change(node, |node| node.begin(instance));
        Origin { node, trace }
    }

    /// Changes a trace without a change of its node's account.
    fn note(&self, at: Origin, note: impl FnOnce(&mut Trace)) {
        let mut state = self.state();
        state.last_message = Instant::now();
        note(&mut state.nodes[at.node as usize].traces[at.trace as usize]);
    }

    /// Records the arrival of a batch of events.
    pub(super) fn batch_arrived(&self, at: Origin, sequence: u64, before: u64, rows: u32) {
        self.note(at, |trace| trace.arrived(sequence, before, rows));
    }

    /// Records the arrival of another message.
    pub(super) fn message_arrived(&self, at: Origin, sequence: u64) {
        self.note(at, |trace| trace.next = sequence + 1);
    }

    /// Replaces the table of a dataset.
    pub(super) fn table(&self, at: Origin, dataset: usize, batch: Arc<Batch>) {
        self.note(at, |trace| {
            trace.tables.insert(dataset, batch);
        });
        self.state().tables += 1;
        self.notify();
    }

    /// Adds losses of a trace.
    pub(super) fn lost(&self, at: Origin, lost: v1::Lost) {
        self.change_trace(at, |trace| trace.add_lost(lost));
    }

    /// Records the account that an agent reports while the trace runs.
    pub(super) fn reported(&self, at: Origin, account: v1::Account) {
        self.change_trace(at, |trace| trace.reported = account);
    }

    /// Records the final account.
    pub(super) fn ended(&self, at: Origin, account: v1::Account) {
        self.change_trace(at, |trace| trace.ended = Some(account));
    }

    /// Records the failure of a trace, which ends it.
    pub(super) fn failed(&self, at: Origin, reason: &str, message: &str) {
        self.change_trace(at, |trace| {
            trace.failed = Some((reason.to_owned(), message.to_owned()));
        });
    }
}
