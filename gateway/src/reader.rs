//! One reader of a job: its position in the job's log, its missed rows, and its updates. `encode` writes the updates.

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

/// Interval of updates with losses, states of nodes and the resume token.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// Default interval of tables.
const INTERVAL: Duration = Duration::from_secs(1);
/// Minimum interval of tables.
pub(crate) const SHORTEST: Duration = Duration::from_millis(100);
/// Time without updates, after which a reader of the existing rows has all of them.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum time of a reader of the existing rows, because rows may arrive continuously.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of updates that wait for a slow reader. Further rows wait in the log, which is bounded.
const MESSAGES: usize = 2;

/// Options of a reader.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Names of nodes; empty for all nodes.
    pub(crate) nodes: BTreeSet<String>,
    pub(crate) interval: Option<Duration>,
    /// Maximum number of events, or of rows in each table; 0 for no limit.
    pub(crate) limit: u64,
    pub(crate) by: Vec<String>,
    pub(crate) resume: Vec<u8>,
    pub(crate) follow: Follow,
}

/// Duration of a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Follow {
    /// Until the job's end.
    #[default]
    Job,
    /// Until the job's end or this time, whichever comes first.
    For(Duration),
    /// Until all existing rows are sent.
    Now,
}

/// An update for a reader.
#[derive(Clone, Debug)]
pub(crate) enum Update {
    /// The first update, with the columns of the first dataset, and the name and columns of each further one.
    Schema(v1::Schema, Vec<Column>, Vec<(String, Vec<Column>)>),
    Rows(Arc<Batch>),
    /// The whole table, and the time since the start of this reader.
    Table(Arc<Batch>, Duration),
    /// The last table of a further dataset.
    Further(Arc<Batch>),
    Lost(v1::Lost),
    /// Number of rows that this reader missed.
    Gap(u64),
    Nodes(Vec<v1::NodeAccount>),
    /// Resume token of the current position.
    Resume(Vec<u8>),
    /// The last update.
    Account(Box<v1::Account>),
}

/// Error of a reader's options.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Position(#[from] position::Error),
    #[error("{0}")]
    By(String),
}

/// Starts a reader. It ends with the job's rows, or when the receiver is dropped.
///
/// # Errors
/// If the options do not fit the job.
pub(crate) async fn read(
    reading: Arc<Reading>,
    options: Options,
) -> Result<mpsc::Receiver<Update>, Error> {
    let hub = &reading.hub;
    let resumed = position::read(&hub.uid, &options.resume)?;
    let columns = hub.columns().await;
    let view = View::new(&columns.first, &options.by).map_err(Error::By)?;
    if !options.by.is_empty() && !hub.table {
        return Err(Error::By(
            "rows of events are not merged: `by` applies to tracers with tables".to_owned(),
        ));
    }
    let (to, updates) = mpsc::channel(MESSAGES);
    let reader = Reader {
        seen: HashMap::new(),
        resumed,
        columns,
        view,
        options,
        place: 0,
        rows: 0,
        missed: 0,
        late: 0,
        changes: 0,
        reported: HashMap::new(),
        moved: false,
        to,
        reading,
    };
    tokio::spawn(async move {
        // A disconnected reader needs no last update.
        let _ = reader.run().await;
    });
    Ok(updates)
}

/// The receiver was dropped.
struct Gone;

/// State of a node in the last updates.
#[derive(Default)]
struct Reported {
    state: i32,
    reason: String,
    lost: HashMap<String, u64>,
    missed_runs: u64,
}

impl Reported {
    /// Adds the losses of a node since the last update.
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
    options: Options,
    /// Columns of the job's rows. The view contains some of them.
    columns: Arc<Columns>,
    view: View,
    /// Positions of the resume token, by node.
    resumed: HashMap<String, position::Node>,
    /// Number of rows read of each trace.
    seen: HashMap<Origin, u64>,
    /// Position in the log.
    place: u64,
    rows: u64,
    missed: u64,
    late: u64,
    /// Number of the newest change of nodes that was read.
    changes: u64,
    /// State of each node in the last updates.
    reported: HashMap<String, Reported>,
    /// Whether the position has changed since the last resume token.
    moved: bool,
    to: mpsc::Sender<Update>,
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
        self.send(Update::Schema(schema, columns, further)).await?;
        let began = Instant::now();
        let interval = self.options.interval.unwrap_or(INTERVAL).max(SHORTEST);
        let (mut report_at, mut table_at) = (began + REPORT_INTERVAL, began + interval);
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
                    // Due updates do not wait for the end of a flood of rows.
                    if Instant::now() < report_at {
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
            if now >= report_at {
                report_at = now + REPORT_INTERVAL;
                self.report().await?;
            }
            if hub.table && now >= table_at {
                table_at = now + interval;
                if self.table(&mut table, began).await? {
                    last_news = now;
                }
            }
            match self.options.follow {
                Follow::For(time) if began.elapsed() >= time => break "time_over",
                Follow::Now
                    if last_news.elapsed() >= IDLE_TIMEOUT
                        || began.elapsed() >= SNAPSHOT_TIMEOUT =>
                {
                    break "no_follow";
                }
                Follow::Job | Follow::For(_) | Follow::Now => {}
            }
            let next = if hub.table {
                report_at.min(table_at)
            } else {
                report_at
            };
            tokio::select! {
                () = self.to.closed() => return Err(Gone),
                _ = changes.changed() => {
                    // A flood of small changes becomes one table.
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
        self.report().await?;
        let account = self.account(ended);
        self.send(Update::Account(Box::new(account))).await
    }

    async fn send(&self, update: Update) -> Result<(), Gone> {
        self.to.send(update).await.map_err(|_| Gone)
    }

    fn wants(&self, node: &str) -> bool {
        self.options.nodes.is_empty() || self.options.nodes.contains(node)
    }

    /// Returns the number of rows read of a trace; `None` for a node that is not read.
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
            // The reader has rows of a later trace.
            Some(later) if later.trace > origin.trace => u64::MAX,
            _ => 0,
        });
        self.seen.insert(origin, passed);
        Some(passed)
    }

    /// Sends the rows of an entry that this reader wants and has not read. Returns whether its limit is reached.
    async fn entry(&mut self, entry: &Entry) -> Result<bool, Gone> {
        // Number of each source's rows to skip.
        let mut skip = Vec::with_capacity(entry.sources.len());
        let mut missed = 0;
        // An origin with a gap has several sources.
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
            self.send(Update::Gap(missed)).await?;
        }
        let left = match self.options.limit {
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
            self.send(Update::Rows(batch)).await?;
        }
        Ok(self.options.limit > 0 && self.rows >= self.options.limit)
    }

    /// Reports missed rows at the end of a trace, after which no further row shows the gap.
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
            self.send(Update::Gap(missed)).await?;
        }
        Ok(())
    }

    /// Advances the number of rows read of each source.
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

    /// Sends the merged table if it has changed. Returns whether it has.
    async fn table(&mut self, version: &mut u64, began: Instant) -> Result<bool, Gone> {
        let hub = &self.reading.hub;
        let (newest, tables) = hub.tables(0, |node| self.wants(node));
        if newest == *version {
            return Ok(false);
        }
        *version = newest;
        let most = match self.options.limit {
            0 => usize::MAX,
            limit => limit as usize,
        };
        let merged = Arc::new(self.view.merge(&self.columns.first, &tables, most));
        self.rows = merged.rows() as u64;
        self.send(Update::Table(merged, began.elapsed())).await?;
        Ok(true)
    }

    /// Sends the last tables of further datasets, which are sent only at the end.
    async fn further(&self) -> Result<(), Gone> {
        for (at, one) in self.columns.further.iter().enumerate() {
            let dataset = at + 1;
            let (_, tables) = self.reading.hub.tables(dataset, |node| self.wants(node));
            let mut merged = Table::new(&one.columns);
            tables.iter().for_each(|table| merged.add(table));
            let mut merged = merged.batch();
            merged.dataset = dataset;
            self.send(Update::Further(Arc::new(merged))).await?;
        }
        Ok(())
    }

    /// Sends new losses, changed nodes and a changed resume token.
    async fn report(&mut self) -> Result<(), Gone> {
        let hub = Arc::clone(&self.reading.hub);
        let mut changes = self.changes;
        let nodes = hub.nodes(&mut changes, |node| self.wants(node));
        self.changes = changes;
        let mut lost = v1::Lost::default();
        let mut news = Vec::new();
        for node in nodes {
            let reported = self.reported.entry(node.node.clone()).or_default();
            reported.losses(&node, &mut lost);
            // Counts change continuously, and are in the account.
            if reported.state != node.state || reported.reason != node.reason {
                reported.state = node.state;
                reported.reason.clone_from(&node.reason);
                news.push(node);
            }
        }
        if !lost.stages.is_empty() || lost.missed_runs > 0 {
            self.send(Update::Lost(lost)).await?;
        }
        if !news.is_empty() {
            self.send(Update::Nodes(news)).await?;
        }
        if std::mem::take(&mut self.moved) {
            let position = self.position();
            self.send(Update::Resume(position)).await?;
        }
        Ok(())
    }

    fn position(&self) -> Vec<u8> {
        let hub = &self.reading.hub;
        // Nodes without rows since the resume keep their position.
        let mut nodes = self.resumed.clone();
        let mut newest: BTreeMap<u32, Origin> = BTreeMap::new();
        for origin in self.seen.keys() {
            let known = newest.entry(origin.node).or_insert(*origin);
            *known = (*known).max(*origin);
        }
        for origin in newest.values() {
            let (node, instance) = hub.origin(*origin);
            let rows = self.seen[origin];
            // Not a trace of which another replica has read more rows.
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

    /// Returns the account of the job for this reader.
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
        // Failed nodes without a message to this replica.
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
        let enough =
            !self.options.nodes.is_empty() || nodes.len() as i64 >= job.status.nodes.desired;
        sum.complete &= all_ended && enough && !job.failed && self.missed == 0 && ended != "limit";
        sum.complete &= job.status.untraced_targets == 0;
        if !ended.is_empty() {
            ended.clone_into(&mut sum.ended);
        } else if nodes.iter().any(running) {
            // The job has ended, but some nodes still report it as running.
            sum.complete = false;
        }
        sum.missed_rows = self.missed;
        sum.late_rows = self.late;
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        sum.nodes = nodes;
        sum
    }
}

/// Names the first untraced pod or container of each node, unless the node has another problem.
fn untraced(status: &crd::TraceJobStatus, nodes: &mut [v1::NodeAccount]) {
    // Targets with missing events come first in the list.
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
    fn the_node_of_an_untraced_container_names_it() {
        let failure = |node: &str, container: &str| {
            json!({
                "node": node, "namespace": "shop", "pod": "web-0", "container": container,
                "reason": "TargetNotFound", "message": "it is gone",
            })
        };
        let status = serde_json::from_value(json!({
            "untracedTargets": 2,
            // The events of the last container are traced, only without its name.
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
