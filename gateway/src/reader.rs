//! One reader of a job: its place in the job's log, what it has missed, and what it is told. How that is written is for others.

use crate::{
    hub::{Columns, Next, Reading},
    merge::{Entry, Origin, Source},
    position,
    table::View,
};
use proto::v1;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tracers::{Batch, Column, Table};

/// How often a reader is told of losses and of nodes, and where it is.
const TELL: Duration = Duration::from_millis(500);
/// How often a table is told where nobody says.
const INTERVAL: Duration = Duration::from_secs(1);
/// A table is not told more often.
pub(crate) const SHORTEST: Duration = Duration::from_millis(100);
/// One that does not wait for more has all that there is when nothing has come for so long.
const QUIET: Duration = Duration::from_secs(1);
/// And after so long in any case: rows may come all the time.
const NOW: Duration = Duration::from_secs(5);
/// Messages that a slow reader has not taken: it is behind in the log then, which is bounded.
const MESSAGES: usize = 2;

/// What a reader wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    /// None is all.
    pub(crate) nodes: BTreeSet<String>,
    pub(crate) interval: Option<Duration>,
    /// Rows of events, or of each table; 0 is no bound.
    pub(crate) limit: u64,
    pub(crate) by: Vec<String>,
    pub(crate) resume: Vec<u8>,
    pub(crate) follow: Follow,
}

/// How long a reader stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Follow {
    /// Until the job's end.
    #[default]
    Job,
    /// Until the job's end or this time, whichever comes first.
    For(Duration),
    /// Until it has what is there.
    Now,
}

/// What it is told.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// First of all; with the columns of the first dataset, and of each further one with its name.
    Schema(v1::Schema, Vec<Column>, Vec<(String, Vec<Column>)>),
    Rows(Arc<Batch>),
    /// All of it, so long after this reader began.
    Table(Arc<Batch>, Duration),
    /// The last table of a further dataset.
    Further(Arc<Batch>),
    Lost(v1::Lost),
    /// Rows that this reader does not get.
    Gap(u64),
    Nodes(Vec<v1::NodeAccount>),
    /// Where it goes on if it is cut off now.
    Resume(Vec<u8>),
    /// Last of all.
    Account(Box<v1::Account>),
}

/// Why a reader cannot have what it wants.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Position(#[from] position::Error),
    #[error("{0}")]
    By(String),
}

/// Reads until the end, or until nobody listens.
///
/// # Errors
/// Where what is asked for cannot be.
pub(crate) async fn read(reading: Arc<Reading>, ask: Ask) -> Result<mpsc::Receiver<Said>, Error> {
    let hub = &reading.hub;
    let resumed = position::read(&hub.uid, &ask.resume)?;
    let columns = hub.columns().await;
    let view = View::new(&columns.first, &ask.by).map_err(Error::By)?;
    if !ask.by.is_empty() && !hub.table {
        return Err(Error::By(
            "rows of events are not merged: `by` is for tracers that count".to_owned(),
        ));
    }
    let (to, said) = mpsc::channel(MESSAGES);
    let reader = Reader {
        seen: HashMap::new(),
        resumed,
        columns,
        view,
        ask,
        place: 0,
        rows: 0,
        missed: 0,
        late: 0,
        changes: 0,
        told: HashMap::new(),
        moved: false,
        to,
        reading,
    };
    tokio::spawn(async move {
        // A reader that has gone needs no last words.
        let _ = reader.run().await;
    });
    Ok(said)
}

/// Nobody listens.
struct Gone;

/// What a reader has been told of a node.
#[derive(Default)]
struct Told {
    state: i32,
    reason: String,
    lost: HashMap<String, u64>,
    missed_runs: u64,
}

impl Told {
    /// Adds what a node has lost since.
    fn losses(&mut self, node: &v1::NodeAccount, lost: &mut v1::Lost) {
        let Some(account) = &node.account else { return };
        let runs = account.missed_runs.saturating_sub(self.missed_runs);
        lost.missed_runs = lost.missed_runs.saturating_add(runs);
        self.missed_runs = self.missed_runs.max(account.missed_runs);
        for v1::Stage { name, events } in &account.lost {
            let before = self.lost.entry(name.clone()).or_default();
            let more = events.saturating_sub(*before);
            *before = (*before).max(*events);
            if more == 0 {
                continue;
            }
            match lost.stages.iter_mut().find(|stage| stage.name == *name) {
                Some(stage) => stage.events = stage.events.saturating_add(more),
                None => lost.stages.push(v1::Stage {
                    name: name.clone(),
                    events: more,
                }),
            }
        }
    }
}

struct Reader {
    reading: Arc<Reading>,
    ask: Ask,
    /// Of the job's rows; the view has some of them.
    columns: Arc<Columns>,
    view: View,
    /// Where it was when it was cut off, by node.
    resumed: HashMap<String, position::Node>,
    /// Rows of each trace that it has passed.
    seen: HashMap<Origin, u64>,
    /// In the log.
    place: u64,
    rows: u64,
    missed: u64,
    late: u64,
    /// Which changes of the hub's nodes it has looked at.
    changes: u64,
    /// What it has been told of each node.
    told: HashMap<String, Told>,
    /// Whether it has moved since it was told where it is.
    moved: bool,
    to: mpsc::Sender<Said>,
}

impl Reader {
    async fn run(mut self) -> Result<(), Gone> {
        let hub = Arc::clone(&self.reading.hub);
        let mut changes = hub.changes();
        let columns = self.view.columns(&self.columns.first);
        let mut schema = client::schema(hub.tracer, &columns);
        let further = self.columns.further.iter();
        schema.further = { further.clone() }
            .map(|one| client::further(&one.name, "", true, &one.columns))
            .collect();
        let further = further.map(|one| (one.name.clone(), one.columns.clone()));
        let further = further.collect();
        self.say(Said::Schema(schema, columns, further)).await?;
        let began = Instant::now();
        let interval = self.ask.interval.unwrap_or(INTERVAL).max(SHORTEST);
        let (mut tell, mut due) = (began + TELL, began + interval);
        let mut last_news = began;
        let mut table = 0;
        let ended = loop {
            changes.mark_unchanged();
            match hub.next(&mut self.place) {
                Next::Entry(entry) => {
                    last_news = Instant::now();
                    if self.entry(&entry).await? {
                        break "limit";
                    }
                    // What is due must not wait for a flood to end.
                    if Instant::now() < tell {
                        continue;
                    }
                }
                Next::Wait => {}
                Next::End(why) => {
                    self.rest().await?;
                    break why;
                }
            }
            let now = Instant::now();
            if now >= tell {
                tell = now + TELL;
                self.tell().await?;
            }
            if hub.table && now >= due {
                due = now + interval;
                if self.table(&mut table, began).await? {
                    last_news = now;
                }
            }
            match self.ask.follow {
                Follow::For(time) if began.elapsed() >= time => break "time_over",
                Follow::Now if last_news.elapsed() >= QUIET || began.elapsed() >= NOW => {
                    break "no_follow";
                }
                Follow::Job | Follow::For(_) | Follow::Now => {}
            }
            let next = if hub.table { tell.min(due) } else { tell };
            tokio::select! {
                () = self.to.closed() => return Err(Gone),
                _ = changes.changed() => {
                    // A flood of small changes is looked at together.
                    if hub.table {
                        tokio::time::sleep_until(next.into()).await;
                    }
                }
                () = tokio::time::sleep_until(next.into()) => {}
            }
        };
        if hub.table {
            table = 0;
            self.table(&mut table, began).await?;
        }
        self.further().await?;
        self.tell().await?;
        let account = self.account(ended);
        self.say(Said::Account(Box::new(account))).await
    }

    async fn say(&self, said: Said) -> Result<(), Gone> {
        self.to.send(said).await.map_err(|_| Gone)
    }

    fn wants(&self, node: &str) -> bool {
        self.ask.nodes.is_empty() || self.ask.nodes.contains(node)
    }

    /// Rows of a trace that this reader has passed already.
    fn passed(&mut self, origin: Origin) -> Option<u64> {
        if let Some(seen) = self.seen.get(&origin) {
            return Some(*seen);
        }
        let hub = &self.reading.hub;
        let (node, instance) = hub.origin(origin);
        if !self.wants(&node) {
            return None;
        }
        let resumed = self.resumed.get(&*node);
        let passed = resumed.map_or(0, |at| match hub.find(&node, at.instance) {
            _ if at.instance == instance => at.rows,
            // It has seen rows of a later one.
            Some(later) if later.trace > origin.trace => u64::MAX,
            _ => 0,
        });
        self.seen.insert(origin, passed);
        Some(passed)
    }

    /// Rows of the log, as far as this reader wants them and has not had them; whether it has as many as it wants.
    async fn entry(&mut self, entry: &Entry) -> Result<bool, Gone> {
        // Of each source: how many of its rows are not for this reader.
        let mut skip = Vec::with_capacity(entry.sources.len());
        let mut missed = 0;
        // Of one origin there are several where its agent left something out.
        let mut until: HashMap<Origin, u64> = HashMap::new();
        for Source {
            origin,
            before,
            rows,
        } in &entry.sources
        {
            let Some(passed) = self.passed(*origin) else {
                skip.push(*rows);
                continue;
            };
            let passed = until.get(origin).copied().unwrap_or(passed);
            until.insert(*origin, passed.max(before + u64::from(*rows)));
            missed += before.saturating_sub(passed);
            skip.push(passed.saturating_sub(*before).min((*rows).into()) as u32);
        }
        if missed > 0 {
            self.missed += missed;
            self.say(Said::Gap(missed)).await?;
        }
        let left = match self.ask.limit {
            0 => u64::MAX,
            limit => limit.saturating_sub(self.rows),
        };
        let skipped: u32 = skip.iter().sum();
        let all = entry.batch.rows() as u64;
        let batch = if skipped == 0 && all <= left {
            self.pass(entry, entry.sources.iter().map(|source| source.rows));
            Some(Arc::clone(&entry.batch))
        } else {
            self.some_of(entry, &skip, left)
        };
        if let Some(batch) = batch {
            self.rows += batch.rows() as u64;
            self.late += entry.late.min(batch.rows() as u64);
            self.moved = true;
            self.say(Said::Rows(batch)).await?;
        }
        Ok(self.ask.limit > 0 && self.rows >= self.ask.limit)
    }

    /// What was forgotten and nothing of the same trace came after, by which it would have been seen.
    async fn rest(&mut self) -> Result<(), Gone> {
        if self.reading.hub.table {
            return Ok(());
        }
        let mut missed = 0;
        for (origin, rows) in self.reading.hub.traces() {
            if let Some(passed) = self.passed(origin) {
                missed += rows.saturating_sub(passed);
                self.seen.insert(origin, passed.max(rows));
            }
        }
        if missed > 0 {
            self.missed += missed;
            self.say(Said::Gap(missed)).await?;
        }
        Ok(())
    }

    /// So many rows of each source are behind this reader now.
    fn pass(&mut self, entry: &Entry, rows: impl Iterator<Item = u32>) {
        for (source, rows) in entry.sources.iter().zip(rows) {
            if let Some(seen) = self.seen.get_mut(&source.origin) {
                *seen = (*seen).max(source.before + u64::from(rows));
            }
        }
    }

    fn some_of(&mut self, entry: &Entry, skip: &[u32], left: u64) -> Option<Arc<Batch>> {
        let mut at = vec![0; entry.sources.len()];
        let mut rows = Vec::new();
        for row in 0..entry.batch.rows() as u32 {
            let source = entry.of.get(row as usize).copied().unwrap_or(0) as usize;
            if rows.len() as u64 == left {
                break;
            }
            at[source] += 1;
            if at[source] > skip[source] {
                rows.push((0, row));
            }
        }
        self.pass(entry, at.into_iter());
        if rows.is_empty() {
            return None;
        }
        Some(Arc::new(Batch::gather(&[&entry.batch], &rows)?))
    }

    /// The table of all nodes, if it is another than before; whether it was.
    async fn table(&mut self, version: &mut u64, began: Instant) -> Result<bool, Gone> {
        let hub = &self.reading.hub;
        let (newest, tables) = hub.tables(0, |node| self.wants(node));
        if newest == *version {
            return Ok(false);
        }
        *version = newest;
        let most = match self.ask.limit {
            0 => usize::MAX,
            limit => limit as usize,
        };
        let merged = Arc::new(self.view.merge(&self.columns.first, &tables, most));
        self.rows = merged.rows() as u64;
        self.say(Said::Table(merged, began.elapsed())).await?;
        Ok(true)
    }

    /// The last tables of further datasets, of all nodes: what they are while rows come is not told.
    async fn further(&self) -> Result<(), Gone> {
        for (at, one) in self.columns.further.iter().enumerate() {
            let dataset = at + 1;
            let (_, tables) = self.reading.hub.tables(dataset, |node| self.wants(node));
            let mut merged = Table::new(&one.columns);
            tables.iter().for_each(|table| merged.add(table));
            let mut merged = merged.batch();
            merged.dataset = dataset;
            self.say(Said::Further(Arc::new(merged))).await?;
        }
        Ok(())
    }

    /// Losses, nodes and where it is, where anything of it is new.
    async fn tell(&mut self) -> Result<(), Gone> {
        let hub = Arc::clone(&self.reading.hub);
        let mut changes = self.changes;
        let nodes = hub.nodes(&mut changes, |node| self.wants(node));
        self.changes = changes;
        let mut lost = v1::Lost::default();
        let mut news = Vec::new();
        for node in nodes {
            let told = self.told.entry(node.node.clone()).or_default();
            told.losses(&node, &mut lost);
            // Counts change all the time: they are in the account.
            if told.state != node.state || told.reason != node.reason {
                told.state = node.state;
                told.reason.clone_from(&node.reason);
                news.push(node);
            }
        }
        if !lost.stages.is_empty() || lost.missed_runs > 0 {
            self.say(Said::Lost(lost)).await?;
        }
        if !news.is_empty() {
            self.say(Said::Nodes(news)).await?;
        }
        if std::mem::take(&mut self.moved) {
            let position = self.position();
            self.say(Said::Resume(position)).await?;
        }
        Ok(())
    }

    fn position(&self) -> Vec<u8> {
        let hub = &self.reading.hub;
        // Nodes of which nothing has come since it was cut off are where they were.
        let mut nodes = self.resumed.clone();
        let mut newest: BTreeMap<u32, Origin> = BTreeMap::new();
        for origin in self.seen.keys() {
            let known = newest.entry(origin.node).or_insert(*origin);
            *known = (*known).max(*origin);
        }
        for origin in newest.values() {
            let (node, instance) = hub.origin(*origin);
            let rows = self.seen[origin];
            // Rows of a trace that another replica has seen more of.
            if rows < u64::MAX {
                let node = node.to_string();
                nodes.insert(
                    node.clone(),
                    position::Node {
                        node,
                        instance,
                        rows,
                    },
                );
            }
        }
        position::write(&hub.uid, nodes.into_values().collect())
    }

    /// The job's books as this reader has seen them.
    fn account(&self, ended: &str) -> v1::Account {
        let hub = &self.reading.hub;
        let job = hub.seen();
        let mut all = 0;
        let mut nodes = hub.nodes(&mut all, |node| self.wants(node));
        let mut sum = v1::Account {
            complete: true,
            ..v1::Account::default()
        };
        for account in nodes.iter().filter_map(|node| node.account.as_ref()) {
            crate::hub::add(&mut sum, account);
        }
        // Nodes that failed, and were never heard of here.
        for failure in &job.status.failures {
            let known = nodes.iter().any(|node| node.node == failure.node);
            if !known && self.wants(&failure.node) {
                nodes.push(v1::NodeAccount {
                    node: failure.node.clone(),
                    state: v1::NodeState::Unreached.into(),
                    account: None,
                    reason: failure.reason.clone(),
                    message: failure.message.clone(),
                });
            }
        }
        untraced(&job.status, &mut nodes);
        let running = |node: &v1::NodeAccount| node.state() == v1::NodeState::Running;
        let all_ended = nodes
            .iter()
            .all(|node| node.state() == v1::NodeState::Ended);
        let enough = !self.ask.nodes.is_empty() || nodes.len() as i64 >= job.status.nodes.desired;
        sum.complete &= all_ended && enough && !job.failed && self.missed == 0 && ended != "limit";
        sum.complete &= job.status.untraced_targets == 0;
        if !ended.is_empty() {
            ended.clone_into(&mut sum.ended);
        } else if nodes.iter().any(running) {
            // It is over, and its nodes do not say so.
            sum.complete = false;
        }
        sum.missed_rows = self.missed;
        sum.late_rows = self.late;
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        sum.nodes = nodes;
        sum
    }
}

/// Names the first pod or container of each node whose events are missing, where nothing else is wrong with the node.
fn untraced(status: &crd::TraceJobStatus, nodes: &mut [v1::NodeAccount]) {
    // These come first in the list.
    let count = usize::try_from(status.untraced_targets).unwrap_or(0);
    for failure in status.target_failures.iter().take(count) {
        let fine =
            |node: &&mut v1::NodeAccount| node.node == failure.node && node.reason.is_empty();
        let Some(node) = nodes.iter_mut().find(fine) else {
            continue;
        };
        let parts = [&failure.namespace, &failure.pod, &failure.container];
        let parts = parts.map(String::as_str).into_iter();
        let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        node.reason.clone_from(&failure.reason);
        node.message = format!("{} was not traced: {}", parts.join("/"), failure.message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_node_of_a_container_that_was_not_traced_says_so() {
        let failure = |node: &str, container: &str| {
            json!({
                "node": node, "namespace": "shop", "pod": "web-0", "container": container,
                "reason": "TargetNotFound", "message": "it is gone",
            })
        };
        let status = serde_json::from_value(json!({
            "untracedTargets": 2,
            // The last one lacks its name, and no events.
            "targetFailures": [failure("a", "app"), failure("b", "app"), failure("c", "app")],
        }));
        let mut nodes = ["a", "b", "c"].map(|node| v1::NodeAccount {
            node: node.to_owned(),
            ..v1::NodeAccount::default()
        });
        nodes[1].reason = "AgentUnreachable".to_owned();
        untraced(&status.unwrap(), &mut nodes);
        let reasons = nodes.each_ref().map(|node| node.reason.as_str());
        assert_eq!(reasons, ["TargetNotFound", "AgentUnreachable", ""]);
        assert_eq!(
            nodes[0].message,
            "shop/web-0/app was not traced: it is gone"
        );
    }
}
