//! The rows of one job: received from all nodes while the job has readers, merged once, and kept in a bounded log that all readers share. A
//! reader is a position in the log: memory does not grow with readers, and a slow reader does not delay others.

mod accounts;
mod follow;
mod schemas;

use crate::{
    job::{self, Job, Seen},
    merge::{Entry, Merge, Origin, Source},
    pool::Pool,
};
use accounts::Node;
pub(crate) use accounts::add;
use crd::name::JobName;
use futures::StreamExt;
use proto::v1;
pub(crate) use schemas::Columns;
use schemas::Schemas;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    mem::Discriminant,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
};
use tracers::{Batch, Data, Erased};

/// Maximum number of received batches that are not merged yet. Further batches wait in their streams.
const UNMERGED: usize = 256;
/// Interval at which waiting rows are merged.
const TICK: Duration = Duration::from_millis(25);
/// Time without messages after the end of a job, after which its nodes are considered finished.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// A job with readers.
pub(crate) struct Hub {
    pub(crate) uid: String,
    pub(crate) tracer: &'static dyn Erased,
    /// Whether the tracer produces tables.
    pub(crate) table: bool,
    state: Mutex<State>,
    changed: watch::Sender<()>,
    unmerged: mpsc::Sender<(Source, Arc<Batch>, Instant)>,
}

struct State {
    job: Job,
    schemas: Schemas,
    nodes: Vec<Node>,
    by_name: HashMap<Arc<str>, u32>,
    /// Storage of each column's values, as in the first rows of each dataset.
    sorts: BTreeMap<usize, Vec<Discriminant<Data>>>,
    entries: VecDeque<(Arc<Entry>, usize)>,
    bytes: usize,
    /// Maximum bytes of the log: a limit on the delay of readers, and on the memory of a job.
    log_bytes: usize,
    /// Number of entries that were dropped.
    forgotten: u64,
    /// Number of changes of tables.
    tables: u64,
    /// Number of changes of nodes.
    changes: u64,
    /// Time of the last message of any node.
    last_message: Instant,
    /// Set at the end: the reason word, or empty for the regular end of the job.
    closed: Option<&'static str>,
}

impl State {
    /// Drops the oldest entries until the rest fits. The newest entry is kept.
    fn shrink(&mut self) {
        while self.bytes > self.log_bytes && self.entries.len() > 1 {
            if let Some((_, bytes)) = self.entries.pop_front() {
                self.bytes -= bytes;
                self.forgotten += 1;
            }
        }
    }
}

/// A running hub, which stops with its last user.
pub(crate) struct Reading {
    pub(crate) hub: Arc<Hub>,
    work: AbortHandle,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// The entry at a reader's position.
pub(crate) enum Next {
    Entry(Arc<Entry>),
    /// There is no entry yet.
    Wait,
    /// There are no further entries, for this reason.
    End(&'static str),
}

/// Starts to read a job.
pub(crate) fn read(
    client: &kube::Client,
    name: &JobName,
    job: Job,
    log_bytes: usize,
    pool: Arc<Pool>,
    agents: watch::Receiver<fleet::Agents>,
) -> Reading {
    let (unmerged, received) = mpsc::channel(UNMERGED);
    let watch = job::watch(client, name);
    let hub = Arc::new(Hub::new(job, log_bytes, unmerged));
    let work = tokio::spawn(work(Arc::clone(&hub), watch, pool, agents, received));
    Reading {
        hub,
        work: work.abort_handle(),
    }
}

/// Runs until the job has ended and its nodes have sent their accounts.
async fn work(
    hub: Arc<Hub>,
    mut watch: impl futures::Stream<Item = Seen> + Unpin,
    pool: Arc<Pool>,
    mut agents: watch::Receiver<fleet::Agents>,
    mut received: mpsc::Receiver<(Source, Arc<Batch>, Instant)>,
) {
    // Rows arrive after the columns are decided.
    let mut merge: Option<Merge> = None;
    let mut followers = JoinSet::new();
    let mut followed = BTreeMap::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut since_over: Option<Instant> = None;
    let (mut gone, mut due, mut moved) = (false, false, true);
    loop {
        // Not for each batch, because there may be thousands of nodes.
        if std::mem::take(&mut moved) {
            let known: Vec<Arc<str>> = agents.borrow_and_update().keys().cloned().collect();
            for node in &known {
                followed.entry(Arc::clone(node)).or_insert_with(|| {
                    let (hub, pool) = (Arc::clone(&hub), Arc::clone(&pool));
                    let (node, agents) = (Arc::clone(node), agents.clone());
                    followers.spawn(follow::follow(hub, node, pool, agents))
                });
            }
        }
        tokio::select! {
            seen = watch.next() => match seen {
                Some(Seen::Job(job)) if job.uid == hub.uid => hub.job(*job),
                // The name belongs to another job now, or to none.
                Some(_) | None => gone = true,
            },
            // Without a watch of the agents, the known agents are all.
            Ok(()) = agents.changed() => moved = true,
            Some((source, batch, arrived)) = received.recv() => {
                let merge = merge.get_or_insert_with(|| Merge::new(hub.time_column()));
                merge.add(source, batch, arrived);
                if hub.is_alone() {
                    hub.push(merge.take_all());
                }
            }
            _ = tick.tick() => {
                hub.decide();
                due = true;
            }
        }
        // Not for each batch, because this examines all waiting rows.
        if std::mem::take(&mut due)
            && let Some(merge) = merge.as_mut().filter(|merge| !merge.is_empty())
        {
            let window = crate::merge::WINDOW;
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let until = now.unwrap_or_default().saturating_sub(window).as_nanos() as u64;
            hub.push(merge.take(Instant::now(), until));
        }
        if gone || hub.is_over() {
            let since = *since_over.get_or_insert_with(Instant::now);
            let quiet = since.max(hub.last_message_at()).elapsed();
            if hub.is_settled(followed.len()) || quiet > END_TIMEOUT {
                break;
            }
        } else {
            since_over = None;
        }
    }
    while let Ok((source, batch, arrived)) = received.try_recv() {
        let merge = merge.get_or_insert_with(|| Merge::new(hub.time_column()));
        merge.add(source, batch, arrived);
    }
    if let Some(mut merge) = merge {
        hub.push(merge.take_all());
    }
    let is_deleted = gone || hub.seen().deleted;
    hub.close(if is_deleted { "deleted" } else { "" });
}

impl Hub {
    fn new(
        job: Job,
        log_bytes: usize,
        unmerged: mpsc::Sender<(Source, Arc<Batch>, Instant)>,
    ) -> Self {
        Self {
            uid: job.uid.clone(),
            tracer: job.tracer,
            table: job.tracer.source().form() == tracers::Form::Table,
            state: Mutex::new(State {
                log_bytes,
                job,
                schemas: Schemas::new(Instant::now()),
                nodes: Vec::new(),
                by_name: HashMap::new(),
                sorts: BTreeMap::new(),
                entries: VecDeque::new(),
                bytes: 0,
                forgotten: 0,
                tables: 0,
                changes: 0,
                last_message: Instant::now(),
                closed: None,
            }),
            changed: watch::Sender::new(()),
            unmerged,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change is incomplete at a point that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a receiver that is notified of every change.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn notify(&self) {
        self.changed.send_replace(());
    }

    fn job(&self, job: Job) {
        let mut state = self.state();
        state.job = job;
        state.changes += 1;
        drop(state);
        self.decide();
        self.notify();
    }

    fn is_over(&self) -> bool {
        let state = self.state();
        state.job.over || state.job.deleted
    }

    /// Returns whether only one node sends rows, which do not wait for other nodes then.
    fn is_alone(&self) -> bool {
        let state = self.state();
        let running = state.nodes.iter().filter(|node| node.is_running());
        state.job.status.nodes.desired <= 1 && running.count() <= 1
    }

    fn last_message_at(&self) -> Instant {
        self.state().last_message
    }

    /// Returns whether no further message is expected from any followed node.
    fn is_settled(&self, followed: usize) -> bool {
        let state = self.state();
        let desired = usize::try_from(state.job.status.nodes.desired).unwrap_or(0);
        let known = || state.nodes.iter().filter(|node| node.is_known());
        // All desired nodes are known; other nodes that do not respond have not run the job.
        if desired > 0 && known().count() >= desired {
            return known().all(Node::is_over);
        }
        let settled = state.nodes.iter().filter(|node| node.is_settled());
        settled.count() >= followed
    }

    /// Returns whether the log has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed.is_some()
    }

    fn close(&self, why: &'static str) {
        self.state().closed = Some(why);
        self.decide();
        self.notify();
    }

    fn push(&self, entry: Option<Entry>) {
        let Some(entry) = entry else { return };
        let bytes = size(&entry.batch) + 4 * entry.of.len();
        let mut state = self.state();
        state.bytes += bytes;
        state.entries.push_back((Arc::new(entry), bytes));
        state.shrink();
        drop(state);
        self.notify();
    }

    /// Sets the maximum bytes of the log.
    pub(crate) fn keep(&self, log_bytes: usize) {
        let mut state = self.state();
        state.log_bytes = log_bytes;
        state.shrink();
    }

    /// Returns the entry at a reader's position, and advances the position. A reader detects missed rows by the counts of earlier rows in
    /// the entries.
    pub(crate) fn next(&self, place: &mut u64) -> Next {
        let state = self.state();
        *place = (*place).max(state.forgotten);
        let at = usize::try_from(*place - state.forgotten).unwrap_or(usize::MAX);
        match (state.entries.get(at), state.closed) {
            (Some((entry, _)), _) => {
                *place += 1;
                Next::Entry(Arc::clone(entry))
            }
            (None, Some(why)) => Next::End(why),
            (None, None) => Next::Wait,
        }
    }

    /// Returns the newest table of a dataset of each trace on these nodes, and the number of changes of tables.
    pub(crate) fn tables(
        &self,
        dataset: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> (u64, Vec<Arc<Batch>>) {
        let state = self.state();
        let nodes = state.nodes.iter().filter(|node| wanted(&node.name));
        let tables = nodes.flat_map(|node| node.tables(dataset));
        (state.tables, tables.collect())
    }

    /// Returns the accounts of those of these nodes that have changed since; 0 returns all.
    pub(crate) fn nodes(
        &self,
        since: &mut u64,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<v1::NodeAccount> {
        let state = self.state();
        let before = std::mem::replace(since, state.changes);
        let nodes = state.nodes.iter().filter(|node| node.version > before);
        let nodes = nodes.filter(|node| node.is_known() && wanted(&node.name));
        nodes.map(|node| node.account(self.table)).collect()
    }

    /// Returns the node of a trace, and the trace's instance.
    pub(crate) fn origin(&self, origin: Origin) -> (Arc<str>, u64) {
        let state = self.state();
        let node = &state.nodes[origin.node as usize];
        let trace = &node.traces[origin.trace as usize];
        (Arc::clone(&node.name), trace.instance)
    }

    /// Returns the trace of a node with this instance.
    pub(crate) fn find(&self, node: &str, instance: u64) -> Option<Origin> {
        let state = self.state();
        let node = *state.by_name.get(node)?;
        let traces = &state.nodes[node as usize].traces;
        let trace = traces.iter().position(|trace| trace.instance == instance)? as u32;
        Some(Origin { node, trace })
    }

    /// Returns all traces of the job, with the number of rows of each.
    pub(crate) fn traces(&self) -> Vec<(Origin, u64)> {
        let state = self.state();
        let nodes = (0..).zip(&state.nodes);
        let traces = nodes.flat_map(|(node, of)| {
            let traces = (0..).zip(&of.traces);
            traces.map(move |(trace, of)| (Origin { node, trace }, of.rows))
        });
        traces.collect()
    }

    /// Returns the newest state of the job.
    pub(crate) fn seen(&self) -> Job {
        self.state().job.clone()
    }

    /// Checks that the rows of a dataset have the storage of the first rows.
    fn check(&self, dataset: usize, batch: &Batch) -> Result<(), String> {
        let sorts = batch.columns.iter().map(std::mem::discriminant);
        let sorts: Vec<_> = sorts.collect();
        let mut state = self.state();
        match state.sorts.entry(dataset).or_insert_with(|| sorts.clone()) == &sorts {
            true => Ok(()),
            false => Err("its rows are stored otherwise than those of other nodes".to_owned()),
        }
    }
}

/// Returns the bytes of rows in memory.
fn size(batch: &Batch) -> usize {
    /// Overhead of an allocation in bytes.
    const ALLOCATION: usize = 16;
    /// Bytes of an entry without its rows: counts, place in the log, sources.
    const ENTRY: usize = 384;
    let columns = batch.columns.iter().map(|data| match data {
        Data::Unsigned(values) => 8 * values.capacity(),
        Data::Signed(values) => 8 * values.capacity(),
        Data::Bytes { ends, data, cut } => 4 * (ends.capacity() + cut.capacity()) + data.capacity(),
        Data::List { ends, values } => 4 * ends.capacity() + 8 * values.capacity(),
        Data::Frames { ends, ids } => 4 * (ends.capacity() + ids.capacity()),
    });
    let columns = columns.map(|bytes| bytes + size_of::<Data>() + 3 * ALLOCATION);
    // An upper bound, because the texts of frames are shared.
    let frames = batch.frames.iter();
    let frames = frames.map(|frame| frame.name.len() + frame.module.len() + frame.file.len() + 112);
    let targets = 4 * batch.targets.capacity();
    columns.sum::<usize>() + frames.sum::<usize>() + targets + ENTRY
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::Update;
    use tracers::{Column, Kind, Store, Value};

    /// Returns a table with these columns and one row, in which every number is `n`, as an agent sends it.
    fn one_row(columns: &[Column], n: u64) -> Arc<Batch> {
        let data = columns.iter().map(|column| {
            let is_text = column.kind.is_named() || matches!(column.kind.store(), Store::Bytes);
            let (mut data, value) = match is_text {
                true => (Data::of(Kind::Text), Value::Bytes(b"x", false)),
                false => (Data::of(Kind::Unsigned), Value::Unsigned(n)),
            };
            assert!(data.push(value));
            data
        });
        Arc::new(Batch::from_columns(data.collect(), Vec::new()))
    }

    #[tokio::test]
    async fn readers_get_the_tables_of_further_datasets_of_all_nodes_before_the_account() {
        let has_more = |tracer: &&&'static dyn Erased| tracer.datasets().len() > 1;
        let tracer = *tracers::ALL.iter().find(has_more).unwrap();
        let datasets = tracer.datasets();
        let job = Job {
            uid: "uid".to_owned(),
            tracer,
            filter: String::new(),
            over: true,
            failed: false,
            deleted: false,
            status: crd::TraceJobStatus::default(),
        };
        let (unmerged, _received) = mpsc::channel(1);
        let hub = Arc::new(Hub::new(job, 1 << 20, unmerged));
        let columns = &datasets[1].columns;
        let count = { columns.iter() }.position(|one| one.role == tracers::Role::Count);
        for (name, n) in [("a", 3), ("b", 3)] {
            let node = hub.node(&name.into());
            hub.answered(node);
            let schemas = client::schemas(tracer, &datasets);
            hub.adopt(node, schemas).await.unwrap();
            let at = hub.began(node, 1);
            hub.table(at, 1, one_row(columns, n + 4));
            // A newer table replaces the table.
            hub.table(at, 1, one_row(columns, n));
            hub.ended(at, v1::Account::default());
        }
        hub.close("");
        let reading = Arc::new(Reading {
            hub,
            work: tokio::spawn(async {}).abort_handle(),
        });
        let mut updates = crate::reader::read(reading, Default::default())
            .await
            .unwrap();
        let mut order = Vec::new();
        while let Some(one) = updates.recv().await {
            match one {
                Update::Schema(schema, _, further) => {
                    assert_eq!(schema.further.len(), 1);
                    assert_eq!(further[0].0, datasets[1].name);
                    order.push("schema");
                }
                Update::Further(table) => {
                    assert_eq!(
                        (table.dataset, table.rows()),
                        (1, 1),
                        "their keys are the same"
                    );
                    assert_eq!(table.value(count.unwrap(), 0), Value::Unsigned(6));
                    order.push("further");
                }
                Update::Account(_) => order.push("account"),
                Update::Rows(_) | Update::Table(..) | Update::Gap(_) | Update::Lost(_) => {
                    panic!("{one:?}")
                }
                Update::Nodes(_) | Update::Resume(_) => {}
            }
        }
        assert_eq!(order, ["schema", "further", "account"]);
    }

    #[test]
    fn a_log_with_a_smaller_share_drops_its_oldest_rows_at_once() {
        let tracer = tracers::ALL[0];
        let job = Job {
            uid: String::new(),
            tracer,
            filter: String::new(),
            over: false,
            failed: false,
            deleted: false,
            status: crd::TraceJobStatus::default(),
        };
        let (unmerged, _received) = mpsc::channel(1);
        let hub = Hub::new(job, 1 << 20, unmerged);
        let entry = || Entry {
            batch: Arc::new(Batch::from_columns(
                vec![Data::Unsigned(vec![0; 1000])],
                Vec::new(),
            )),
            sources: Vec::new(),
            of: Vec::new(),
            late: 0,
        };
        for _ in 0..1000 {
            hub.push(Some(entry()));
            assert!(hub.state().bytes <= 1 << 20);
        }
        hub.keep(100_000);
        let state = hub.state();
        assert!(state.bytes <= 100_000 && state.entries.len() > 5);
        assert_eq!(state.forgotten + state.entries.len() as u64, 1000);
    }
}
