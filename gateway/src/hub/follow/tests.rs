//! The follower of a node, with a simulated agent.

use super::*;
use crate::job::Job;
use proto::v1::agent_server::{Agent, AgentServer};
use std::sync::Mutex;
use tokio::sync::mpsc;
use tonic::{Request, Response, transport::Channel};
use tracers::{Batch, Data, Erased, Form, Store, Value};

type Messages = Vec<Result<StreamEventsResponse, Status>>;
type Stream<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

/// A simulated agent with one trace, whose streams are given by a list.
struct Played {
    streams: Mutex<std::collections::VecDeque<Messages>>,
    /// Requested position of each stream: instance and sequence.
    requested: Arc<Mutex<Vec<(u64, u64)>>>,
}

#[tonic::async_trait]
impl Agent for Played {
    async fn get_capabilities(
        &self,
        _: Request<v1::GetCapabilitiesRequest>,
    ) -> Result<Response<v1::GetCapabilitiesResponse>, Status> {
        Err(Status::unimplemented("not part of a stream"))
    }

    async fn start_trace(
        &self,
        _: Request<v1::StartTraceRequest>,
    ) -> Result<Response<v1::StartTraceResponse>, Status> {
        Err(Status::unimplemented("a gateway starts no trace"))
    }

    async fn update_targets(
        &self,
        _: Request<Streaming<v1::UpdateTargetsRequest>>,
    ) -> Result<Response<v1::UpdateTargetsResponse>, Status> {
        Err(Status::unimplemented("a gateway changes no trace"))
    }

    async fn stop_trace(
        &self,
        _: Request<v1::StopTraceRequest>,
    ) -> Result<Response<v1::StopTraceResponse>, Status> {
        Err(Status::unimplemented("a gateway stops no trace"))
    }

    type WatchTracesStream =
        futures::stream::BoxStream<'static, Result<v1::WatchTracesResponse, Status>>;

    /// Lists the trace, and once more while its stream is read.
    async fn watch_traces(
        &self,
        request: Request<v1::WatchTracesRequest>,
    ) -> Result<Response<Self::WatchTracesStream>, Status> {
        use futures::StreamExt as _;
        let listed = v1::WatchTracesResponse {
            traces: vec![v1::TraceStatus {
                uid: request.into_inner().uid,
                state: Phase::Running.into(),
                generation: 1,
                ..v1::TraceStatus::default()
            }],
        };
        let list = futures::stream::once(async { Ok(listed) });
        Ok(Response::new(
            list.chain(futures::stream::pending()).boxed(),
        ))
    }

    type StreamEventsStream = Stream<StreamEventsResponse>;

    async fn stream_events(
        &self,
        request: Request<v1::StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let v1::StreamEventsRequest {
            instance,
            from_sequence,
            ..
        } = request.into_inner();
        self.requested
            .lock()
            .unwrap()
            .push((instance, from_sequence));
        let messages = self.streams.lock().unwrap().pop_front();
        let messages = messages.ok_or_else(|| Status::unavailable("the agent is gone"))?;
        Ok(Response::new(tokio_stream::iter(messages)))
    }

    type TraceStream = Stream<v1::StreamEventsResponse>;

    async fn trace(
        &self,
        _: Request<Streaming<v1::TraceRequest>>,
    ) -> Result<Response<Self::TraceStream>, Status> {
        Err(Status::unimplemented("not part of a stream"))
    }
}

/// Returns a tracer of events.
fn tracer() -> &'static dyn Erased {
    let mut all = tracers::ALL.iter();
    *all.find(|tracer| tracer.source().form() == Form::Events && tracer.datasets().len() == 1)
        .unwrap()
}

fn message(sequence: u64, rows_before: u64, item: Item) -> Result<StreamEventsResponse, Status> {
    Ok(StreamEventsResponse {
        sequence,
        rows_before,
        item: Some(item),
        ..StreamEventsResponse::default()
    })
}

fn schema(instance: u64) -> Result<StreamEventsResponse, Status> {
    let tracer = tracer();
    let schema = v1::Schema {
        instance,
        ..client::schemas(tracer, &tracer.datasets())
    };
    message(0, 0, Item::Schema(schema))
}

/// Returns a batch of events in which every number is 0 and every text is `x`.
fn events(rows: usize) -> Item {
    let columns = tracer().columns();
    let data = columns.iter().map(|column| {
        let mut data = Data::of(column.kind);
        for _ in 0..rows {
            let value = match column.kind.store() {
                Store::Unsigned => Value::Unsigned(0),
                Store::Signed => Value::Signed(0),
                Store::Bytes => Value::Bytes(b"x", false),
                other => panic!("an event with {other:?}"),
            };
            assert!(data.push(value));
        }
        data
    });
    let batch = Batch::from_columns(data.collect(), Vec::new());
    Item::Batch(client::parts(&batch, true, |_, data| client::wire_values(data)).swap_remove(0))
}

fn account(produced: u64) -> Item {
    Item::Account(v1::Account {
        produced,
        delivered: produced,
        complete: true,
        ..v1::Account::default()
    })
}

/// A hub and a simulated agent.
struct Scene {
    hub: Arc<Hub>,
    node: u32,
    client: proto::v1::agent_client::AgentClient<Channel>,
    requested: Arc<Mutex<Vec<(u64, u64)>>>,
    received: mpsc::Receiver<(Source, Arc<Batch>, Instant)>,
}

impl Scene {
    async fn of(streams: Vec<Messages>) -> Self {
        Self::of_filtered("", streams).await
    }

    /// The scene of a job with a filter, `spec.output.where`.
    async fn of_filtered(filter: &str, streams: Vec<Messages>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requested = Arc::default();
        let agent = AgentServer::new(Played {
            streams: Mutex::new(streams.into()),
            requested: Arc::clone(&requested),
        });
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(agent);
        tokio::spawn(server.serve_with_incoming(incoming));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap();
        let (unmerged, received) = mpsc::channel(16);
        let job = Job {
            uid: "uid".to_owned(),
            tracer: tracer(),
            filter: filter.to_owned(),
            // Columns are decided at once.
            over: true,
            failed: false,
            deleted: false,
            status: crd::TraceJobStatus::default(),
        };
        let hub = Arc::new(Hub::new(job, 1 << 20, unmerged));
        let node = hub.node(&"node-0".into());
        Self {
            hub,
            node,
            client: proto::v1::agent_client::AgentClient::new(channel.connect_lazy()),
            requested,
            received,
        }
    }

    /// Follows the agent over one connection, until it breaks or is idle.
    async fn attend(&self) -> Option<String> {
        let attended = follow_by(&self.hub, self.node, self.client.clone());
        let attended = tokio::time::timeout(Duration::from_secs(1), attended).await;
        match attended {
            Ok(Ok(never)) => match never {},
            Ok(Err(why)) => Some(why),
            Err(_) => None,
        }
    }

    /// Returns the received batches: the number of earlier rows, and of rows.
    fn batches(&mut self) -> Vec<(u64, u32)> {
        let mut batches = Vec::new();
        while let Ok((source, batch, _)) = self.received.try_recv() {
            assert_eq!(batch.rows(), source.rows as usize);
            batches.push((source.before, source.rows));
        }
        batches
    }

    fn account(&self) -> v1::NodeAccount {
        self.hub.change(self.node, |node| node.account(false))
    }
}

#[tokio::test]
async fn rows_and_the_account_of_a_trace_reach_its_hub() {
    let stream = vec![
        schema(9),
        message(1, 0, events(3)),
        message(2, 3, events(2)),
        message(3, 5, account(5)),
    ];
    let mut scene = Scene::of(vec![stream]).await;
    assert_eq!(scene.attend().await, None, "the connection stays");
    assert_eq!(scene.batches(), [(0, 3), (3, 2)]);
    let node = scene.account();
    assert_eq!(node.state(), v1::NodeState::Ended);
    assert!(node.account.unwrap().complete);
    assert_eq!(*scene.requested.lock().unwrap(), [(0, 1)]);
}

#[tokio::test]
async fn rows_of_an_agent_that_ignores_the_filter_of_the_job_are_refused() {
    let stream = vec![
        schema(9),
        message(1, 0, events(3)),
        message(2, 3, account(3)),
    ];
    let mut scene = Scene::of_filtered("result < 0", vec![stream]).await;
    let why = scene.attend().await.unwrap();
    let wanted = "its agent does not apply spec.output.where";
    assert!(why.contains(wanted), "{why}");
    assert_eq!(scene.batches(), [], "unfiltered rows are in no stream");
}

#[tokio::test]
async fn rows_of_an_agent_that_repeats_the_filter_of_the_job_reach_its_hub() {
    let Ok(StreamEventsResponse {
        item: Some(Item::Schema(mut repeated)),
        ..
    }) = schema(9)
    else {
        panic!("no schema");
    };
    repeated.filter = "result < 0".to_owned();
    let stream = vec![
        message(0, 0, Item::Schema(repeated)),
        message(1, 0, events(3)),
        message(2, 3, account(3)),
    ];
    let mut scene = Scene::of_filtered("result < 0", vec![stream]).await;
    assert_eq!(scene.attend().await, None, "the connection stays");
    assert_eq!(scene.batches(), [(0, 3)]);
}

#[tokio::test]
async fn after_a_break_the_stream_goes_on_where_it_was() {
    let broken = vec![
        schema(9),
        message(1, 0, events(3)),
        Err(Status::unavailable("reset by peer")),
    ];
    let rest = vec![
        schema(9),
        message(2, 3, events(1)),
        message(3, 4, account(4)),
    ];
    let mut scene = Scene::of(vec![broken, rest]).await;
    let why = scene.attend().await.unwrap();
    assert!(why.contains("reset by peer"), "{why}");
    assert!(!scene.account().account.unwrap().complete);
    assert_eq!(scene.attend().await, None);
    assert_eq!(*scene.requested.lock().unwrap(), [(0, 1), (9, 2)]);
    assert_eq!(scene.batches(), [(0, 3), (3, 1)]);
    let node = scene.account().account.unwrap();
    assert_eq!((node.produced, node.complete), (4, true));
}

#[tokio::test]
async fn a_restarted_agent_has_a_second_trace_and_the_sum_is_not_complete() {
    let before = vec![
        schema(9),
        message(1, 0, events(3)),
        Err(Status::unavailable("gone")),
    ];
    let after = vec![schema(10), message(1, 0, account(0))];
    let scene = Scene::of(vec![before, after]).await;
    assert!(scene.attend().await.is_some());
    assert_eq!(scene.attend().await, None);
    let node = scene.account();
    assert_eq!(node.state(), v1::NodeState::Left);
    assert_eq!(node.reason, "AgentRestarted");
    let sum = node.account.unwrap();
    assert_eq!((sum.delivered, sum.complete), (3, false));
}

#[tokio::test]
async fn a_reason_of_the_agent_fails_the_trace_and_not_the_connection() {
    let details = tonic_types::ErrorDetails::with_error_info(
        "KernelRefused",
        "tracejob.dev",
        std::collections::HashMap::new(),
    );
    use tonic_types::StatusExt as _;
    let failed = Status::with_error_details(tonic::Code::Internal, "no memory", details);
    let scene = Scene::of(vec![vec![schema(9), Err(failed)]]).await;
    assert_eq!(scene.attend().await, None);
    let node = scene.account();
    assert_eq!(node.state(), v1::NodeState::Left);
    assert_eq!(
        (node.reason.as_str(), node.message.as_str()),
        ("KernelRefused", "no memory")
    );
}

#[tokio::test]
async fn an_invalid_stream_ends_the_connection_with_an_error() {
    let huge = message(u64::MAX, 0, events(1));
    let unknown = v1::Further {
        dataset: 7,
        ..v1::Further::default()
    };
    for (stream, expected) in [
        (vec![message(1, 0, events(1))], "without a schema"),
        (Vec::new(), "without a schema"),
        (vec![schema(9), huge], "more rows than the limit"),
        (
            vec![schema(9), message(1, 0, Item::Further(unknown))],
            "a dataset that is not in the schema",
        ),
    ] {
        let scene = Scene::of(vec![stream]).await;
        let why = scene.attend().await.unwrap();
        assert!(why.contains(expected), "{why}");
    }
}
