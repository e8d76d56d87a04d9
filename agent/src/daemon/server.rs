//! The API over its socket.

use super::{
    audit::Audit,
    authorize::Authorize,
    config::{Config, Source},
    connection::{Listeners, Peer},
    counters::Counters,
    job::Job,
    jobs::Jobs,
    loader::Loader,
    log::Next,
    metrics,
    refuse::Refusal,
    reload,
    tls::Identity,
    wire::Violation,
};
use ::metrics::Served;
use agent::{Kernel, Support, fault::keepalive};
use anyhow::{Context, Result};
use proto::v1::{
    self, StreamEventsResponse,
    agent_server::{Agent, AgentServer},
    stream_events_response::Item,
    trace_request,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};
use tower::util::MapResponseLayer;
use tracers::ALL;

/// The largest request: a spec with thousands of targets.
const REQUEST_BYTES: usize = 1 << 20;
/// The most of a request's headers.
const HEADER_BYTES: u32 = 16 << 10;
/// Calls that one connection may have open.
const CALLS: u32 = 200;
/// When a client that says nothing is asked whether it is there, and how long it may think about it.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// How long clients may take to read what is left when the agent ends.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Serves until it is told to end; then every trace ends too.
///
/// # Errors
/// Where it cannot listen.
pub(crate) async fn serve(
    config: Config,
    source: &Source,
    kernel: Kernel,
    loader: Loader,
    end: impl Future<Output = ()>,
) -> Result<()> {
    let began_with = config.clone();
    let hangup = reload::hangup()?;
    let identity = config.tls.map(Identity::read).transpose()?.map(Arc::new);
    let listeners = Listeners::bind(&config.listen)?;
    let counters = Counters::new();
    let audit = Audit::open(config.audit, Arc::clone(&counters))?;
    let jobs = Jobs::new(kernel, config.policy, loader, Arc::clone(&counters), audit);
    let service = AgentServer::new(Api(Arc::clone(&jobs))).max_decoding_message_size(REQUEST_BYTES);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<AgentServer<Api>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::AGENT_DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // What errors carry.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("a bug: the API's descriptors cannot be read")?;
    let stopping = Arc::clone(&jobs);
    let (stopped, all_stopped) = tokio::sync::oneshot::channel();
    let answering = Arc::clone(&counters);
    let connections = listeners.accept(
        identity.clone(),
        config.roles,
        config.max_connections,
        &counters,
    );
    let served = Server::builder()
        .layer(MapResponseLayer::new(move |response| {
            answering.answered(&response);
            response
        }))
        .layer(Authorize)
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
            tell_systemd(sd_notify::NotifyState::Stopping);
            // Their readers' calls end with them, and with these the server.
            stopping.stop_all().await;
            // Nobody waits where serving has failed.
            let _ = stopped.send(());
        });
    let patience = async {
        // Not sent: serving has failed, which is told by itself.
        let _ = all_stopped.await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    let serve_http = |http, served| metrics::serve(http, served, Arc::clone(&counters));
    let measured = serve_http(config.metrics.as_ref(), Served::Metrics);
    let probed = serve_http(config.health.as_ref(), Served::Health);
    let followed = async {
        match &identity {
            Some(identity) => identity.follow().await,
            None => std::future::pending().await,
        }
    };
    counters.set_ready(true);
    tell_systemd(sd_notify::NotifyState::Ready);
    tokio::select! {
        served = served => served.context("serving failed"),
        () = patience => {
            tracing::warn!("a client did not take its last messages in time");
            Ok(())
        }
        failed = measured => failed,
        failed = probed => failed,
        () = followed => Ok(()),
        () = reload::follow(source, began_with, hangup, &jobs) => Ok(()),
        () = jobs.forget_old_ones() => Ok(()),
    }
}

/// Where systemd started this, it waits for it: sd_notify(3).
fn tell_systemd(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("systemd could not be told: {error}");
    }
}

struct Api(Arc<Jobs>);

/// Who calls, for the audit.
fn who<T>(request: &Request<T>) -> String {
    let peer = request.extensions().get::<Peer>();
    peer.map_or_else(|| "unknown".to_owned(), ToString::to_string)
}

type Events = ReceiverStream<Result<StreamEventsResponse, Status>>;

#[tonic::async_trait]
impl Agent for Api {
    async fn get_capabilities(
        &self,
        _: Request<v1::GetCapabilitiesRequest>,
    ) -> Result<Response<v1::GetCapabilitiesResponse>, Status> {
        let jobs = Arc::clone(&self.0);
        // Hooks are tried out, which takes milliseconds each.
        let look = move || (capabilities(&jobs), jobs.kernel().checks());
        let (tracers, checks) = self
            .0
            .loader()
            .run(look)
            .await
            .map_err(|panicked| Status::internal(panicked.to_string()))?;
        Ok(Response::new(v1::GetCapabilitiesResponse {
            kernel_release: self.0.kernel().release().to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            tracers,
            checks: checks.into_iter().map(super::wire::check).collect(),
        }))
    }

    async fn start_trace(
        &self,
        request: Request<v1::StartTraceRequest>,
    ) -> Result<Response<v1::StartTraceResponse>, Status> {
        let who = who(&request);
        let v1::StartTraceRequest {
            uid,
            generation,
            spec,
        } = request.into_inner();
        let job = self.0.start(uid, generation, spec, &who).await?;
        Ok(Response::new(v1::StartTraceResponse {
            status: Some(job.status()),
        }))
    }

    async fn update_targets(
        &self,
        request: Request<Streaming<v1::UpdateTargetsRequest>>,
    ) -> Result<Response<v1::UpdateTargetsResponse>, Status> {
        let who = who(&request);
        let mut requests = request.into_inner();
        while let Some(v1::UpdateTargetsRequest {
            uid,
            generation,
            update,
        }) = requests.message().await?
        {
            self.0
                .update(&uid, generation, update.unwrap_or_default(), &who)
                .await?;
        }
        Ok(Response::new(v1::UpdateTargetsResponse {}))
    }

    async fn stop_trace(
        &self,
        request: Request<v1::StopTraceRequest>,
    ) -> Result<Response<v1::StopTraceResponse>, Status> {
        let who = who(&request);
        let job = self.0.get(&request.into_inner().uid).ok();
        if let Some(job) = &job {
            self.0.audit.stopped(job, &who);
            job.stop();
        }
        Ok(Response::new(v1::StopTraceResponse {
            status: job.map(|job| job.status()),
        }))
    }

    type WatchTracesStream = ReceiverStream<Result<v1::WatchTracesResponse, Status>>;

    async fn watch_traces(
        &self,
        request: Request<v1::WatchTracesRequest>,
    ) -> Result<Response<Self::WatchTracesStream>, Status> {
        let uid = request.into_inner().uid;
        let jobs = Arc::clone(&self.0);
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut changes = jobs.changes();
            let mut seen = 0;
            let mut first = true;
            loop {
                changes.mark_unchanged();
                let (traces, newest) = jobs.changed_since(seen, &uid);
                seen = newest;
                let told = std::mem::take(&mut first) || !traces.is_empty();
                let message = v1::WatchTracesResponse { traces };
                if told && sender.send(Ok(message)).await.is_err() {
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
        let job = self.0.get(&uid)?;
        let from_sequence = match instance == 0 || instance == job.schema.instance {
            true => from_sequence,
            // A number of a trace that was there before: nothing of this one has been read.
            false => 1,
        };
        let counters = Arc::clone(&self.0.counters);
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            // A reader that has gone needs no last words.
            let _ = follow(&job, from_sequence, &sender, &counters).await;
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type TraceStream = Events;

    async fn trace(
        &self,
        request: Request<Streaming<v1::TraceRequest>>,
    ) -> Result<Response<Events>, Status> {
        let who = who(&request);
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|first| first.request);
        let Some(trace_request::Request::Start(spec)) = first else {
            return Err(Refusal::Invalid(Violation {
                field: "start",
                why: "the first message says what to trace".to_owned(),
            })
            .into());
        };
        let call = self.0.start_call(spec, &who).await?;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let job = &call.job;
            let listen = async {
                // A client may close its side and go on reading.
                while let Ok(Some(message)) = requests.message().await {
                    match message.request {
                        Some(trace_request::Request::Stop(_)) => job.stop(),
                        Some(trace_request::Request::Update(update)) => {
                            call.jobs.update_job(job, update, &who).await?;
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
                _ = follow(job, 0, &sender, &call.jobs.counters) => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// The reader is gone.
struct Gone;

/// Sends the schema, then what the log has and gets, until its end.
async fn follow(
    job: &Job,
    from: u64,
    to: &mpsc::Sender<Result<StreamEventsResponse, Status>>,
    counters: &Counters,
) -> Result<(), Gone> {
    let _reading = counters.reader();
    let send = async |message| to.send(message).await.map_err(|_| Gone);
    let mut changes = job.log.changes();
    let mut cursor = job.log.cursor(from);
    send(Ok(StreamEventsResponse {
        item: Some(Item::Schema(job.schema.clone())),
        ..StreamEventsResponse::default()
    }))
    .await?;
    loop {
        changes.mark_unchanged();
        match job.log.read(&mut cursor) {
            Next::Message(message) => {
                if let Some(Item::Gap(gap)) = &message.item {
                    counters.gap(gap.rows);
                }
                send(Ok(StreamEventsResponse::clone(&message))).await?;
            }
            Next::Wait => tokio::select! {
                () = to.closed() => return Err(Gone),
                // The log is there as long as the job.
                _ = changes.changed() => {}
            },
            Next::End => break,
        }
    }
    match job.failure() {
        Some(status) => send(Err(status)).await,
        None => Ok(()),
    }
}

/// What can be traced here.
fn capabilities(jobs: &Jobs) -> Vec<v1::Tracer> {
    let tracer = |tracer: &&'static dyn tracers::Erased| {
        let (hooks, unsupported, remedy) = match jobs.kernel().support(*tracer) {
            Support::Yes { hooks } => (hooks, String::new(), None),
            Support::No { reason, remedy } => (&[][..], reason, remedy),
        };
        let denied = jobs.policy().tracer(tracer.name()).err();
        v1::Tracer {
            name: tracer.name().to_owned(),
            about: tracer.about().to_owned(),
            unsupported: match denied {
                Some(denied) => format!("{} ({} of its configuration)", denied.why, denied.line),
                None => unsupported,
            },
            hooks: hooks
                .iter()
                .map(|hook| format!("{} {}", hook.kind.word(), hook.target))
                .collect(),
            options: tracer
                .options()
                .iter()
                .map(|option| v1::Option {
                    name: option.key.to_owned(),
                    about: option.about.to_owned(),
                })
                .collect(),
            needs: tracers::needs(*tracer).to_owned(),
            schema: Some(client::schema(*tracer, &tracer.columns())),
            remedy: remedy.unwrap_or_default(),
        }
    };
    ALL.iter().map(tracer).collect()
}
