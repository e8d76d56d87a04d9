//! Agents of thousands of nodes in one process: each sends the recorded messages of a real agent.
//!
//! What a node's kernel does is left out, and all that the controller sees of an agent is here: its certificate, its calls, its traces'
//! lives and accounts, its last tables.

use prost_types::Duration as ProtoDuration;
use proto::v1::{
    self,
    agent_client::AgentClient,
    agent_server::{Agent, AgentServer},
    stream_events_response::Item,
};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tests::{ControlPlane, Workload};
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt as _, wrappers::WatchStream};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{
        Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig,
        server::TcpIncoming,
    },
};

/// Labels that the controller requests as columns of a table.
const LABELS: [&str; 4] = ["node", "namespace", "pod", "container"];
/// Calls of the workload that the real agent counted, and its name for them.
pub(crate) const CALLS: (&str, u64) = ("getppid", 700);

/// A column that agents of another version have.
pub(crate) const MORE: &str = "newer";

/// Messages of a real agent about one trace.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    schema: v1::Schema,
    /// Of events the largest.
    batch: v1::Batch,
    /// The last tables of further datasets.
    further: Vec<v1::Further>,
    /// Number of times that each node sends the batch.
    times: u64,
    pub(crate) account: v1::Account,
}

impl Recorded {
    /// Returns the messages of a node with this number of further events.
    pub(crate) fn of_events(mut self, events: u64) -> Self {
        let rows = u64::from(self.batch.rows);
        self.times = events.div_ceil(rows);
        (self.account.produced, self.account.delivered) = (self.times * rows, self.times * rows);
        self
    }

    /// Returns the messages of an agent of another version: its rows have one more column between the others, of an unknown kind.
    pub(crate) fn of_another_version(mut self) -> Self {
        add_column(self.schema.table, &mut self.schema.columns, &mut self.batch);
        for sent in &mut self.further {
            let dataset = &mut self.schema.further[sent.dataset as usize];
            let batch = sent.batch.as_mut().unwrap();
            add_column(dataset.table, &mut dataset.columns, batch);
        }
        self
    }

    /// Names of the columns.
    pub(crate) fn columns(&self) -> Vec<&str> {
        let columns = self.schema.columns.iter();
        columns.map(|column| column.name.as_str()).collect()
    }
}

fn add_column(table: bool, columns: &mut Vec<v1::Column>, batch: &mut v1::Batch) {
    let more = v1::Column {
        name: MORE.to_owned(),
        kind: 9999,
        role: match table {
            true => v1::Role::Sum.into(),
            false => v1::Role::Unspecified.into(),
        },
        ..v1::Column::default()
    };
    let values = v1::Values {
        values: Some(v1::values::Values::Unsigned(v1::Unsigned {
            values: vec![7; batch.rows as usize],
        })),
    };
    // Labels come first.
    columns.insert(LABELS.len() + 1, more);
    batch.columns.insert(LABELS.len() + 1, values);
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Agents {
    recorded: Recorded,
    /// Messages of the agents that differ.
    others: HashMap<IpAddr, Recorded>,
    nodes: Mutex<HashMap<IpAddr, Arc<Node>>>,
    load: Mutex<Load>,
}

type Traces = BTreeMap<String, v1::TraceStatus>;

#[derive(Debug)]
struct Node {
    traces: watch::Sender<Traces>,
    /// The labels of each trace's first target.
    labels: Mutex<HashMap<String, v1::Labels>>,
}

/// How many jobs ran at once: the most, of all and of one namespace.
#[derive(Debug, Default)]
pub(crate) struct Load {
    now: HashMap<String, (String, usize)>,
    pub(crate) most: usize,
    pub(crate) most_of_one: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Traces a workload by the real agent at this address, as the controller would have it traced.
pub(crate) fn record(plane: &ControlPlane, address: &str, tracer: &str, work: &[&str]) -> Recorded {
    let file = |name: &str| std::fs::read_to_string(plane.pki().file(name)).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(file("ca.crt")))
        .identity(Identity::from_pem(file("tls.crt"), file("tls.key")))
        .domain_name("tracejob-agent");
    let endpoint = Endpoint::from_shared(format!("https://{address}:4040")).unwrap();
    let endpoint = endpoint.tls_config(tls).unwrap();
    let mut workload = Workload::behind_gate(work);
    let spec = v1::TraceSpec {
        tracer: tracer.to_owned(),
        targets: vec![v1::Target {
            target: Some(v1::target::Target::Process(workload.pid())),
            labels: Some(v1::Labels {
                node: "node".to_owned(),
                namespace: "namespace".to_owned(),
                pod: "pod".to_owned(),
                container: "container".to_owned(),
            }),
            ..v1::Target::default()
        }],
        label_columns: LABELS.map(str::to_owned).to_vec(),
        duration: Some(ProtoDuration {
            seconds: 60,
            nanos: 0,
        }),
        ..v1::TraceSpec::default()
    };
    in_network(plane, async move {
        let mut client = loop {
            match endpoint.connect().await {
                Ok(channel) => break AgentClient::new(channel),
                // It starts.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let (send, requests) = tokio::sync::mpsc::unbounded_channel();
        let request = |request| v1::TraceRequest {
            request: Some(request),
        };
        send.send(request(v1::trace_request::Request::Start(spec)))
            .unwrap();
        let requests = tokio_stream::wrappers::UnboundedReceiverStream::new(requests);
        let mut rows = client.trace(requests).await.unwrap().into_inner();
        let (mut schema, mut batch) = (None::<v1::Schema>, v1::Batch::default());
        let mut further: Vec<v1::Further> = Vec::new();
        while let Some(message) = rows.message().await.unwrap() {
            match message.item {
                Some(Item::Schema(sent)) => {
                    schema = Some(sent);
                    // It is attached. The trace ends with its only target.
                    workload.finish();
                }
                Some(Item::Batch(sent)) => {
                    let is_table = schema.as_ref().is_some_and(|schema| schema.table);
                    if is_table || sent.rows > batch.rows {
                        batch = sent;
                    }
                }
                Some(Item::Further(sent)) => {
                    further.retain(|one| one.dataset != sent.dataset);
                    further.push(sent);
                }
                Some(Item::Account(account)) => {
                    return Recorded {
                        schema: schema.unwrap(),
                        batch,
                        further,
                        times: 1,
                        account,
                    };
                }
                _ => {}
            }
        }
        panic!("the agent sent no account");
    })
}

/// Runs something in the network of the control plane.
fn in_network<T: Send>(plane: &ControlPlane, what: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            plane.net().enter();
            let runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(what)
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

impl Agents {
    /// Serves on every address of the network until the test's process ends. The agents at the addresses of `others` send other messages.
    pub(crate) fn serve_with(
        plane: &ControlPlane,
        recorded: Recorded,
        others: HashMap<IpAddr, Recorded>,
    ) -> Arc<Self> {
        let agents = Arc::new(Self {
            recorded,
            others,
            nodes: Mutex::default(),
            load: Mutex::default(),
        });
        let file = |name: &str| std::fs::read_to_string(plane.pki().file(name)).unwrap();
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(file("agent.crt"), file("agent.key")))
            .client_ca_root(Certificate::from_pem(file("ca.crt")));
        let service = AgentServer::new(Service(Arc::clone(&agents)));
        let name = plane.net().name().to_owned();
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            tests::enter_net(&name);
            let runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(async {
                let incoming = TcpIncoming::bind("0.0.0.0:4040".parse().unwrap()).unwrap();
                ready.send(()).unwrap();
                let mut server = Server::builder().tls_config(tls).unwrap();
                let server = server.add_service(service);
                server.serve_with_incoming(incoming).await.unwrap();
            });
        });
        is_ready.recv().unwrap();
        agents
    }

    /// How many jobs have run at once.
    pub(crate) fn load(&self) -> MutexGuard<'_, Load> {
        lock(&self.load)
    }

    fn node<T>(&self, request: &Request<T>) -> Result<Arc<Node>, Status> {
        let address = request.local_addr();
        let address = address.ok_or_else(|| Status::internal("which node?"))?.ip();
        let mut nodes = lock(&self.nodes);
        let node = nodes.entry(address).or_insert_with(|| {
            Arc::new(Node {
                traces: watch::Sender::default(),
                labels: Mutex::default(),
            })
        });
        Ok(Arc::clone(node))
    }

    fn began(&self, uid: &str, namespace: &str) {
        let mut load = lock(&self.load);
        let job = load.now.entry(uid.to_owned());
        job.or_insert_with(|| (namespace.to_owned(), 0)).1 += 1;
        let of_one = load.now.values().filter(|(of, _)| of == namespace).count();
        load.most = load.most.max(load.now.len());
        load.most_of_one = load.most_of_one.max(of_one);
    }

    fn ended(&self, node: &Node, uid: &str) {
        let ended = node.traces.send_if_modified(|traces| {
            let running = traces.get_mut(uid);
            let Some(trace) = running.filter(|trace| trace.state() == v1::State::Running) else {
                return false;
            };
            trace.set_state(v1::State::Ended);
            trace.account = Some(v1::Account {
                ended: "duration".to_owned(),
                ..self.recorded.account.clone()
            });
            true
        });
        if !ended {
            return;
        }
        let mut load = lock(&self.load);
        let over = load.now.get_mut(uid).is_some_and(|(_, nodes)| {
            *nodes -= 1;
            *nodes == 0
        });
        if over {
            load.now.remove(uid);
        }
    }
}

#[derive(Clone, Debug)]
struct Service(Arc<Agents>);

#[tonic::async_trait]
impl Agent for Service {
    async fn get_capabilities(
        &self,
        _: Request<v1::GetCapabilitiesRequest>,
    ) -> Result<Response<v1::GetCapabilitiesResponse>, Status> {
        Err(Status::unimplemented("no test calls it"))
    }

    async fn start_trace(
        &self,
        request: Request<v1::StartTraceRequest>,
    ) -> Result<Response<v1::StartTraceResponse>, Status> {
        let node = self.0.node(&request)?;
        let v1::StartTraceRequest {
            uid,
            generation,
            spec,
        } = request.into_inner();
        let spec = spec.ok_or_else(|| Status::invalid_argument("spec"))?;
        let labels = spec.targets.first().and_then(|first| first.labels.clone());
        let labels = labels.unwrap_or_default();
        let mut status = v1::TraceStatus {
            uid: uid.clone(),
            generation,
            tracer: spec.tracer,
            targets_version: 1,
            account: Some(v1::Account::default()),
            ..v1::TraceStatus::default()
        };
        status.set_state(v1::State::Running);
        let is_new = node.traces.send_if_modified(|traces| {
            let is_new = !traces.contains_key(&uid);
            traces.entry(uid.clone()).or_insert(status.clone());
            is_new
        });
        if is_new {
            self.0.began(&uid, &labels.namespace);
            lock(&node.labels).insert(uid.clone(), labels);
            let left = Duration::try_from(spec.duration.unwrap_or_default()).unwrap_or_default();
            let agents = Arc::clone(&self.0);
            tokio::spawn(async move {
                tokio::time::sleep(left).await;
                agents.ended(&node, &uid);
            });
        }
        Ok(Response::new(v1::StartTraceResponse {
            status: Some(status),
        }))
    }

    async fn update_targets(
        &self,
        request: Request<Streaming<v1::UpdateTargetsRequest>>,
    ) -> Result<Response<v1::UpdateTargetsResponse>, Status> {
        let node = self.0.node(&request)?;
        let mut updates = request.into_inner();
        while let Some(update) = updates.message().await? {
            let version = update.update.unwrap_or_default().version;
            node.traces.send_modify(|traces| {
                if let Some(trace) = traces.get_mut(&update.uid) {
                    trace.targets_version = version;
                }
            });
        }
        Ok(Response::new(v1::UpdateTargetsResponse {}))
    }

    async fn stop_trace(
        &self,
        request: Request<v1::StopTraceRequest>,
    ) -> Result<Response<v1::StopTraceResponse>, Status> {
        let node = self.0.node(&request)?;
        self.0.ended(&node, &request.get_ref().uid);
        Ok(Response::new(v1::StopTraceResponse::default()))
    }

    type WatchTracesStream = Rows<v1::WatchTracesResponse>;

    async fn watch_traces(
        &self,
        request: Request<v1::WatchTracesRequest>,
    ) -> Result<Response<Self::WatchTracesStream>, Status> {
        let node = self.0.node(&request)?;
        let states = WatchStream::new(node.traces.subscribe()).map(|traces| {
            Ok(v1::WatchTracesResponse {
                traces: traces.into_values().collect(),
            })
        });
        Ok(Response::new(Box::pin(states)))
    }

    type StreamEventsStream = Rows<v1::StreamEventsResponse>;

    async fn stream_events(
        &self,
        request: Request<v1::StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let node = self.0.node(&request)?;
        let labels = lock(&node.labels).get(&request.get_ref().uid).cloned();
        let labels = labels.ok_or_else(|| Status::not_found("the trace"))?;
        let address = request.local_addr().map(|address| address.ip());
        let other = address.and_then(|address| self.0.others.get(&address));
        let recorded = other.unwrap_or(&self.0.recorded).clone();
        let mut batch = recorded.batch.clone();
        label(&recorded.schema.columns, &mut batch, &labels);
        let mut further = recorded.further;
        for sent in &mut further {
            let columns = &recorded.schema.further[sent.dataset as usize].columns;
            label(columns, sent.batch.as_mut().unwrap(), &labels);
        }
        let schema = v1::StreamEventsResponse {
            item: Some(Item::Schema(v1::Schema {
                instance: 1,
                ..recorded.schema
            })),
            ..v1::StreamEventsResponse::default()
        };
        let batches = (1..=recorded.times).map(move |sequence| v1::StreamEventsResponse {
            sequence,
            rows_before: (sequence - 1) * u64::from(batch.rows),
            item: Some(Item::Batch(batch.clone())),
            ..v1::StreamEventsResponse::default()
        });
        let last = recorded.times + 1 + further.len() as u64;
        let further = (recorded.times + 1..).zip(further);
        let further = further.map(|(sequence, sent)| v1::StreamEventsResponse {
            sequence,
            item: Some(Item::Further(sent)),
            ..v1::StreamEventsResponse::default()
        });
        let account = v1::StreamEventsResponse {
            sequence: last,
            item: Some(Item::Account(recorded.account)),
            ..v1::StreamEventsResponse::default()
        };
        let messages = std::iter::once(schema).chain(batches);
        let messages = messages.chain(further).chain([account]);
        Ok(Response::new(Box::pin(tokio_stream::iter(
            messages.map(Ok),
        ))))
    }

    type TraceStream = Rows<v1::StreamEventsResponse>;

    async fn trace(
        &self,
        _: Request<Streaming<v1::TraceRequest>>,
    ) -> Result<Response<Self::TraceStream>, Status> {
        Err(Status::unimplemented("no test calls it"))
    }
}

type Rows<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Puts a node's labels into a batch's columns of them.
fn label(columns: &[v1::Column], batch: &mut v1::Batch, labels: &v1::Labels) {
    for (column, values) in columns.iter().zip(&mut batch.columns) {
        let text = match column.name.as_str() {
            "node" => &labels.node,
            "namespace" => &labels.namespace,
            "pod" => &labels.pod,
            "container" => &labels.container,
            _ => continue,
        };
        *values = repeated(text, batch.rows);
    }
}

/// Returns a column with the same value in each row.
fn repeated(text: &str, rows: u32) -> v1::Values {
    let length = text.len() as u32;
    v1::Values {
        values: Some(v1::values::Values::Bytes(v1::Bytes {
            ends: (1..=rows).map(|row| row * length).collect(),
            data: text.repeat(rows as usize).into_bytes().into(),
            cut: Vec::new(),
        })),
    }
}
