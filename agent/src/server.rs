//! The gRPC API.

use super::{
    audit::Audit,
    authorize::Authorize,
    caller::{self, Caller},
    capabilities::Capabilities,
    config::{Config, Source},
    connection::{self, Listeners, Peer},
    counters::Counters,
    limits::{
        CALLS, FINAL_MESSAGES, HEADER_BYTES, ID_BYTES, KEEPALIVE, REQUEST_BYTES, WATCH_OF_ALL,
        WATCHES,
    },
    loader::Loader,
    log::Next,
    metrics,
    refuse::Refusal,
    reload,
    trace::Trace,
    traces::Traces,
    wire::Violation,
};
use ::metrics::Served;
use anyhow::{Context, Result};
use engine::{Kernel, fault::keepalive};
use proto::v1::{
    self, StreamEventsResponse,
    agent_server::{Agent, AgentServer},
    stream_events_response::Item,
    trace_request,
};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};
use tower::util::MapResponseLayer;

/// Serves the API until the end is requested; then it ends all traces.
///
/// # Errors
/// If it cannot listen.
pub(crate) async fn serve(
    config: Config,
    source: &Source,
    kernel: Kernel,
    loader: Loader,
    end: impl Future<Output = ()>,
) -> Result<()> {
    let began_with = config.clone();
    let hangup = reload::hangup()?;
    let acceptor = config.tls.map(connection::acceptor).transpose()?;
    let acceptor = acceptor.map(Arc::new);
    let listeners = Listeners::bind(&config.listen)?;
    let counters = Counters::new();
    let audit = Audit::open(config.audit, Arc::clone(&counters))?;
    let traces = Traces::new(kernel, config.policy, loader, Arc::clone(&counters), audit);
    let api = Api {
        traces: Arc::clone(&traces),
        capabilities: Capabilities::new(Arc::clone(&traces)),
    };
    let service = AgentServer::new(api).max_decoding_message_size(REQUEST_BYTES);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<AgentServer<Api>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::AGENT_DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // What errors carry.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("a bug: the API's descriptors cannot be read")?;
    let stopping = Arc::clone(&traces);
    let (stopped, all_stopped) = tokio::sync::oneshot::channel();
    let answering = Arc::clone(&counters);
    let connections = listeners.accept(
        acceptor.clone(),
        config.roles,
        config.max_connections,
        &counters,
    );
    let served = Server::builder()
        .layer(MapResponseLayer::new(move |response| {
            answering.answered(&response);
            response
        }))
        .layer(Authorize::new())
        .concurrency_limit_per_connection(CALLS as usize)
        .max_concurrent_streams(CALLS)
        .http2_keepalive_interval(Some(keepalive(KEEPALIVE.0)))
        .http2_keepalive_timeout(Some(keepalive(KEEPALIVE.1)))
        .http2_max_header_list_size(Some(HEADER_BYTES))
        .add_service(service)
        .add_service(health_service)
        .add_service(reflection)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), async move {
            end.await;
            tracing::info!("ending all traces");
            stopping.counters.set_ready(false);
            notify_systemd(sd_notify::NotifyState::Stopping);
            // The calls of readers end with the traces, and the server ends with these calls.
            stopping.stop_all().await;
            // Fails only if serving has failed.
            let _ = stopped.send(());
        });
    let timeout = async {
        // Not sent if serving has failed, which is reported separately.
        let _ = all_stopped.await;
        tokio::time::sleep(FINAL_MESSAGES).await;
    };
    let serve_http = |http, served| metrics::serve(http, served, Arc::clone(&counters));
    let measured = serve_http(config.metrics.as_ref(), Served::Metrics);
    let probed = serve_http(config.health.as_ref(), Served::Health);
    let followed = async {
        match &acceptor {
            Some(acceptor) => acceptor.follow().await,
            None => std::future::pending().await,
        }
    };
    counters.set_ready(true);
    notify_systemd(sd_notify::NotifyState::Ready);
    tokio::select! {
        served = served => served.context("serving failed"),
        () = timeout => {
            tracing::warn!("a client did not receive its last messages in time");
            Ok(())
        }
        failed = measured => failed,
        failed = probed => failed,
        () = followed => Ok(()),
        () = reload::follow(source, began_with, hangup, &traces) => Ok(()),
        () = traces.expire() => Ok(()),
    }
}

/// Notifies systemd, if it started the agent and waits for it: sd_notify(3).
fn notify_systemd(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("cannot notify systemd: {error}");
    }
}

struct Api {
    traces: Arc<Traces>,
    capabilities: Arc<Capabilities>,
}

/// Returns the caller of a request.
fn caller<T>(request: &Request<T>) -> Caller {
    let unknown = || Caller {
        who: "unknown".to_owned(),
        identity: caller::Identity::Unknown,
        is_admin: false,
    };
    let peer = request.extensions().get::<Peer>();
    peer.map_or_else(unknown, Peer::caller)
}

type Events = ReceiverStream<Result<StreamEventsResponse, Status>>;

#[tonic::async_trait]
impl Agent for Api {
    async fn get_capabilities(
        &self,
        _: Request<v1::GetCapabilitiesRequest>,
    ) -> Result<Response<v1::GetCapabilitiesResponse>, Status> {
        Ok(Response::new(self.capabilities.answer().await?))
    }

    async fn start_trace(
        &self,
        request: Request<v1::StartTraceRequest>,
    ) -> Result<Response<v1::StartTraceResponse>, Status> {
        let caller = caller(&request);
        let v1::StartTraceRequest {
            uid,
            generation,
            spec,
        } = request.into_inner();
        let trace = self.traces.start(uid, generation, spec, &caller).await?;
        Ok(Response::new(v1::StartTraceResponse {
            status: Some(trace.status()),
        }))
    }

    async fn update_targets(
        &self,
        request: Request<Streaming<v1::UpdateTargetsRequest>>,
    ) -> Result<Response<v1::UpdateTargetsResponse>, Status> {
        let caller = caller(&request);
        let mut requests = request.into_inner();
        while let Some(v1::UpdateTargetsRequest {
            uid,
            generation,
            update,
        }) = requests.message().await?
        {
            self.traces
                .update(&uid, generation, update.unwrap_or_default(), &caller)
                .await?;
        }
        Ok(Response::new(v1::UpdateTargetsResponse {}))
    }

    async fn stop_trace(
        &self,
        request: Request<v1::StopTraceRequest>,
    ) -> Result<Response<v1::StopTraceResponse>, Status> {
        let caller = caller(&request);
        let trace = self.traces.stop(&request.into_inner().uid, &caller)?;
        Ok(Response::new(v1::StopTraceResponse {
            status: trace.map(|trace| trace.status()),
        }))
    }

    type WatchTracesStream = ReceiverStream<Result<v1::WatchTracesResponse, Status>>;

    async fn watch_traces(
        &self,
        request: Request<v1::WatchTracesRequest>,
    ) -> Result<Response<Self::WatchTracesStream>, Status> {
        let mut watch = self.traces.watches.of(caller(&request).identity);
        let weight = match request.get_ref().uid.is_empty() {
            true => WATCH_OF_ALL,
            false => 1,
        };
        if !watch.take(weight) {
            let why = format!(
                "this caller has reached its limit of watches: {WATCHES} of one trace each, or {} of all traces",
                WATCHES / WATCH_OF_ALL
            );
            return Err(Refusal::TooMuchAtOnce {
                what: "watches",
                why,
            }
            .into());
        }
        let uid = request.into_inner().uid;
        if uid.len() > ID_BYTES {
            // The uid is kept while the watch is open.
            return Err(Refusal::UnknownTrace(uid).into());
        }
        let traces = Arc::clone(&self.traces);
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let _watch = watch;
            let mut changes = traces.changes();
            let mut seen = 0;
            let mut first = true;
            loop {
                changes.mark_unchanged();
                let (traces, newest) = traces.changed_since(seen, &uid);
                seen = newest;
                let is_due = std::mem::take(&mut first) || !traces.is_empty();
                let message = v1::WatchTracesResponse { traces };
                if is_due && sender.send(Ok(message)).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = sender.closed() => return,
                    changed = changes.changed() => if changed.is_err() { return },
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type StreamEventsStream = Events;

    async fn stream_events(
        &self,
        request: Request<v1::StreamEventsRequest>,
    ) -> Result<Response<Events>, Status> {
        let v1::StreamEventsRequest {
            uid,
            from_sequence,
            instance,
        } = request.into_inner();
        let trace = self.traces.get(&uid)?;
        let from_sequence = match instance == 0 || instance == trace.schema.instance {
            true => from_sequence,
            // The sequence number belongs to a previous trace: nothing of this one has been read.
            false => 1,
        };
        let counters = Arc::clone(&self.traces.counters);
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            // A reader that has disconnected needs no final message.
            let _ = follow(&trace, from_sequence, &sender, &counters).await;
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type TraceStream = Events;

    async fn trace(
        &self,
        request: Request<Streaming<v1::TraceRequest>>,
    ) -> Result<Response<Events>, Status> {
        let caller = caller(&request);
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|first| first.request);
        let Some(trace_request::Request::Start(spec)) = first else {
            return Err(Refusal::Invalid(Violation {
                field: "start",
                why: "the first message must be `start`".to_owned(),
            })
            .into());
        };
        let call = self.traces.start_call(spec, &caller).await?;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let trace = &call.trace;
            let listen = async {
                // A client may close its side and go on reading.
                while let Ok(Some(message)) = requests.message().await {
                    match message.request {
                        Some(trace_request::Request::Stop(_)) => trace.stop(),
                        Some(trace_request::Request::Update(update)) => {
                            call.traces.update_trace(trace, update, &caller).await?;
                        }
                        Some(trace_request::Request::Start(_)) => {
                            return Err(Refusal::Invalid(Violation {
                                field: "start",
                                why: "it has started already".to_owned(),
                            })
                            .into());
                        }
                        None => {}
                    }
                }
                std::future::pending::<Result<(), Status>>().await
            };
            tokio::select! {
                wrong = listen => if let Err(status) = wrong {
                    // A client that has gone needs no reason.
                    let _ = sender.send(Err(status)).await;
                },
                () = sender.closed() => {}
                _ = follow(trace, 0, &sender, &call.traces.counters) => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// The reader is gone.
struct Gone;

/// Sends the schema, then what the log has and gets, until its end.
async fn follow(
    trace: &Trace,
    from: u64,
    to: &mpsc::Sender<Result<StreamEventsResponse, Status>>,
    counters: &Counters,
) -> Result<(), Gone> {
    let _reading = counters.reader();
    let send = async |message| to.send(message).await.map_err(|_| Gone);
    let mut changes = trace.log.changes();
    let mut cursor = trace.log.cursor(from);
    send(Ok(StreamEventsResponse {
        item: Some(Item::Schema(trace.schema.clone())),
        ..StreamEventsResponse::default()
    }))
    .await?;
    loop {
        changes.mark_unchanged();
        match trace.log.read(&mut cursor) {
            Next::Message(message) => {
                if let Some(Item::Gap(gap)) = &message.item {
                    counters.gap(gap.rows);
                }
                send(Ok(StreamEventsResponse::clone(&message))).await?;
            }
            Next::Wait => tokio::select! {
                () = to.closed() => return Err(Gone),
                // The log is there as long as the trace.
                _ = changes.changed() => {}
            },
            Next::End => break,
        }
    }
    match trace.failure() {
        Some(status) => send(Err(status)).await,
        None => Ok(()),
    }
}
