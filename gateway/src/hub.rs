//! One job's rows: followed on all nodes for as long as somebody reads them, put together once, and kept in one bounded log that all
//! readers share. A reader is a place in it: memory does not grow with readers, and a slow one holds up nobody.

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

/// Batches that have come and are not yet put together: agents wait beyond that.
const COMING: usize = 256;
/// How often rows that have waited long enough are looked for.
const TICK: Duration = Duration::from_millis(25);
/// How long after the end of a job its nodes may say nothing before they are taken to have nothing more to say.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A job that is read.
pub(crate) struct Hub {
    pub(crate) uid: String,
    pub(crate) tracer: &'static dyn Erased,
    /// Whether its rows are tables.
    pub(crate) table: bool,
    state: Mutex<State>,
    changed: watch::Sender<()>,
    coming: mpsc::Sender<(Source, Arc<Batch>, Instant)>,
}

struct State {
    job: Job,
    schemas: Schemas,
    nodes: Vec<Node>,
    by_name: HashMap<Arc<str>, u32>,
    /// What each column's values are stored as, by the first rows of each dataset that came.
    sorts: BTreeMap<usize, Vec<Discriminant<Data>>>,
    entries: VecDeque<(Arc<Entry>, usize)>,
    bytes: usize,
    /// What its log keeps: it bounds how far behind a reader may be, and what a job costs a replica.
    log_bytes: usize,
    /// Entries that are no longer kept.
    forgotten: u64,
    /// Counts changes of tables.
    tables: u64,
    /// Counts changes of nodes.
    changes: u64,
    /// When a node has last said anything.
    heard: Instant,
    /// Why nothing follows, in a word of its own where it is not the job's end.
    closed: Option<&'static str>,
}

impl State {
    /// Forgets the oldest entries, down to the newest, until the rest fits.
    fn shrink(&mut self) {
        while self.bytes > self.log_bytes && self.entries.len() > 1 {
            if let Some((_, bytes)) = self.entries.pop_front() {
                self.bytes -= bytes;
                self.forgotten += 1;
            }
        }
    }
}

/// A hub at work; it stops with the last who has it.
pub(crate) struct Reading {
    pub(crate) hub: Arc<Hub>,
    work: AbortHandle,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// What a reader finds at its place.
pub(crate) enum Next {
    Entry(Arc<Entry>),
    /// Nothing yet.
    Wait,
    /// Nothing any more, and why.
    End(&'static str),
}

/// Follows a job.
pub(crate) fn read(
    client: &kube::Client,
    name: &JobName,
    job: Job,
    log_bytes: usize,
    pool: Arc<Pool>,
    agents: watch::Receiver<fleet::Agents>,
) -> Reading {
    let (coming, comes) = mpsc::channel(COMING);
    let watch = job::watch(client, name);
    let hub = Arc::new(Hub::new(job, log_bytes, coming));
    let work = tokio::spawn(work(Arc::clone(&hub), watch, pool, agents, comes));
    Reading {
        hub,
        work: work.abort_handle(),
    }
}

/// Until the job is over and its nodes have said so.
async fn work(
    hub: Arc<Hub>,
    mut watch: impl futures::Stream<Item = Seen> + Unpin,
    pool: Arc<Pool>,
    mut agents: watch::Receiver<fleet::Agents>,
    mut comes: mpsc::Receiver<(Source, Arc<Batch>, Instant)>,
) {
    // Rows come after the columns are known.
    let mut merge: Option<Merge> = None;
    let mut followers = JoinSet::new();
    let mut followed = BTreeMap::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut since_over: Option<Instant> = None;
    let (mut gone, mut due, mut moved) = (false, false, true);
    loop {
        // Not with each batch: there may be thousands.
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
                // Another one has its name by now, or nobody.
                Some(_) | None => gone = true,
            },
            // Where nobody tells of agents any more, those that are known are all.
            Ok(()) = agents.changed() => moved = true,
            Some((source, batch, arrived)) = comes.recv() => {
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
        // Not with each batch: whatever waits is looked at each time.
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
            let quiet = since.max(hub.heard_at()).elapsed();
            if hub.is_settled(followed.len()) || quiet > LAST_WORDS {
                break;
            }
        } else {
            since_over = None;
        }
    }
    while let Ok((source, batch, arrived)) = comes.try_recv() {
        let merge = merge.get_or_insert_with(|| Merge::new(hub.time_column()));
        merge.add(source, batch, arrived);
    }
    if let Some(mut merge) = merge {
        hub.push(merge.take_all());
    }
    let deleted = gone || hub.seen().going;
    hub.close(if deleted { "deleted" } else { "" });
}

impl Hub {
    fn new(
        job: Job,
        log_bytes: usize,
        coming: mpsc::Sender<(Source, Arc<Batch>, Instant)>,
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
                heard: Instant::now(),
                closed: None,
            }),
            changed: watch::Sender::new(()),
            coming,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked left a state that is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of every change.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_replace(());
    }

    fn job(&self, job: Job) {
        let mut state = self.state();
        state.job = job;
        state.changes += 1;
        drop(state);
        self.decide();
        self.tell();
    }

    fn is_over(&self) -> bool {
        let state = self.state();
        state.job.over || state.job.going
    }

    /// Whether the rows of one node alone come: they wait for nobody's.
    fn is_alone(&self) -> bool {
        let state = self.state();
        let running = state.nodes.iter().filter(|node| node.is_running());
        state.job.status.nodes.desired <= 1 && running.count() <= 1
    }

    fn heard_at(&self) -> Instant {
        self.state().heard
    }

    /// Whether all nodes that are followed have said all that they will.
    fn is_settled(&self, followed: usize) -> bool {
        let state = self.state();
        let desired = usize::try_from(state.job.status.nodes.desired).unwrap_or(0);
        let known = || state.nodes.iter().filter(|node| node.is_known());
        // As many as should have run it: whoever else does not answer has nothing to say of it.
        if desired > 0 && known().count() >= desired {
            return known().all(Node::is_over);
        }
        let settled = state.nodes.iter().filter(|node| node.is_settled());
        settled.count() >= followed
    }

    /// Whether nothing follows.
    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed.is_some()
    }

    fn close(&self, why: &'static str) {
        self.state().closed = Some(why);
        self.decide();
        self.tell();
    }

    fn push(&self, entry: Option<Entry>) {
        let Some(entry) = entry else { return };
        let bytes = size(&entry.batch) + 4 * entry.of.len();
        let mut state = self.state();
        state.bytes += bytes;
        state.entries.push_back((Arc::new(entry), bytes));
        state.shrink();
        drop(state);
        self.tell();
    }

    /// Keeps no more than this from now on.
    pub(crate) fn keep(&self, log_bytes: usize) {
        let mut state = self.state();
        state.log_bytes = log_bytes;
        state.shrink();
    }

    /// What is at a reader's place, which moves on. What it has missed shows in the entries: they say how many rows are before theirs.
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

    /// The newest table of a dataset of each trace of these nodes, and how often tables have changed.
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

    /// What is known of those of these nodes of which anything has changed since; after 0 it is all of them.
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

    /// How the agent calls a trace of a node, and the node's name.
    pub(crate) fn origin(&self, origin: Origin) -> (Arc<str>, u64) {
        let state = self.state();
        let node = &state.nodes[origin.node as usize];
        let trace = &node.traces[origin.trace as usize];
        (Arc::clone(&node.name), trace.instance)
    }

    /// A node's trace by what the agent calls it.
    pub(crate) fn find(&self, node: &str, instance: u64) -> Option<Origin> {
        let state = self.state();
        let node = *state.by_name.get(node)?;
        let traces = &state.nodes[node as usize].traces;
        let trace = traces.iter().position(|trace| trace.instance == instance)? as u32;
        Some(Origin { node, trace })
    }

    /// All traces of a job, and how many rows of each there were.
    pub(crate) fn traces(&self) -> Vec<(Origin, u64)> {
        let state = self.state();
        let nodes = (0..).zip(&state.nodes);
        let traces = nodes.flat_map(|(node, of)| {
            let traces = (0..).zip(&of.traces);
            traces.map(move |(trace, of)| (Origin { node, trace }, of.rows))
        });
        traces.collect()
    }

    /// The job, as it was last seen.
    pub(crate) fn seen(&self) -> Job {
        self.state().job.clone()
    }

    /// Holds rows of a dataset to be stored as all others are.
    fn check(&self, dataset: usize, batch: &Batch) -> Result<(), String> {
        let sorts = batch.columns.iter().map(std::mem::discriminant);
        let sorts: Vec<_> = sorts.collect();
        let mut state = self.state();
        match state.sorts.entry(dataset).or_insert_with(|| sorts.clone()) == &sorts {
            true => Ok(()),
            false => Err("its rows are of other sorts than those of other nodes".to_owned()),
        }
    }
}

/// Bytes that rows take in memory.
fn size(batch: &Batch) -> usize {
    /// Bytes that an allocation takes besides what it is asked for.
    const ALLOCATION: usize = 16;
    /// Bytes of an entry besides its rows: its counts, the batch's, its place in the log, its sources.
    const ENTRY: usize = 384;
    let columns = batch.columns.iter().map(|data| match data {
        Data::Unsigned(values) => 8 * values.capacity(),
        Data::Signed(values) => 8 * values.capacity(),
        Data::Bytes { ends, data, cut } => 4 * (ends.capacity() + cut.capacity()) + data.capacity(),
        Data::List { ends, values } => 4 * ends.capacity() + 8 * values.capacity(),
        Data::Frames { ends, ids } => 4 * (ends.capacity() + ids.capacity()),
    });
    let columns = columns.map(|bytes| bytes + size_of::<Data>() + 3 * ALLOCATION);
    // Frames' texts are shared: this is more than they take.
    let frames = batch.frames.iter();
    let frames = frames.map(|frame| frame.name.len() + frame.module.len() + frame.file.len() + 112);
    let targets = 4 * batch.targets.capacity();
    columns.sum::<usize>() + frames.sum::<usize>() + targets + ENTRY
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::Said;
    use tracers::{Column, Kind, Store, Value};

    /// A table of these columns with one row, in which every number is `n`, as an agent sends it.
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
            going: false,
            status: crd::TraceJobStatus::default(),
        };
        let (coming, _comes) = mpsc::channel(1);
        let hub = Arc::new(Hub::new(job, 1 << 20, coming));
        let columns = &datasets[1].columns;
        let count = { columns.iter() }.position(|one| one.role == tracers::Role::Count);
        for (name, n) in [("a", 3), ("b", 3)] {
            let node = hub.node(&name.into());
            hub.heard(node);
            let told = client::schemas(tracer, &datasets);
            hub.adopt(node, told).await.unwrap();
            let at = hub.began(node, 1);
            hub.table(at, 1, one_row(columns, n + 4));
            // A newer one replaces it.
            hub.table(at, 1, one_row(columns, n));
            hub.ended(at, v1::Account::default());
        }
        hub.close("");
        let reading = Arc::new(Reading {
            hub,
            work: tokio::spawn(async {}).abort_handle(),
        });
        let mut said = crate::reader::read(reading, Default::default())
            .await
            .unwrap();
        let mut order = Vec::new();
        while let Some(one) = said.recv().await {
            match one {
                Said::Schema(schema, _, further) => {
                    assert_eq!(schema.further.len(), 1);
                    assert_eq!(further[0].0, datasets[1].name);
                    order.push("schema");
                }
                Said::Further(table) => {
                    assert_eq!(
                        (table.dataset, table.rows()),
                        (1, 1),
                        "their keys are the same"
                    );
                    assert_eq!(table.value(count.unwrap(), 0), Value::Unsigned(6));
                    order.push("further");
                }
                Said::Account(_) => order.push("account"),
                Said::Rows(_) | Said::Table(..) | Said::Gap(_) | Said::Lost(_) => panic!("{one:?}"),
                Said::Nodes(_) | Said::Resume(_) => {}
            }
        }
        assert_eq!(order, ["schema", "further", "account"]);
    }

    #[test]
    fn a_log_whose_share_becomes_smaller_forgets_its_oldest_rows_at_once() {
        let tracer = tracers::ALL[0];
        let job = Job {
            uid: String::new(),
            tracer,
            filter: String::new(),
            over: false,
            failed: false,
            going: false,
            status: crd::TraceJobStatus::default(),
        };
        let (coming, _comes) = mpsc::channel(1);
        let hub = Hub::new(job, 1 << 20, coming);
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
