//! `tracejob --agent` with an agent of an earlier version, which a test plays.

use proto::v1::{
    self,
    agent_server::{Agent, AgentServer},
    stream_events_response::Item,
};
use std::fs;
use tests::{Trace, folder};
use tokio_stream::{Stream, StreamExt as _, wrappers::UnixListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// An agent that ignores fields that its version lacks: the filter of a request.
struct WithoutFilters;

type Messages =
    std::pin::Pin<Box<dyn Stream<Item = Result<v1::StreamEventsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Agent for WithoutFilters {
    async fn get_capabilities(
        &self,
        _: Request<v1::GetCapabilitiesRequest>,
    ) -> Result<Response<v1::GetCapabilitiesResponse>, Status> {
        Err(Status::unimplemented("this test requests none"))
    }

    async fn start_trace(
        &self,
        _: Request<v1::StartTraceRequest>,
    ) -> Result<Response<v1::StartTraceResponse>, Status> {
        Err(Status::unimplemented("this test starts traces by Trace"))
    }

    async fn update_targets(
        &self,
        _: Request<Streaming<v1::UpdateTargetsRequest>>,
    ) -> Result<Response<v1::UpdateTargetsResponse>, Status> {
        Err(Status::unimplemented("this test changes no targets"))
    }

    async fn stop_trace(
        &self,
        _: Request<v1::StopTraceRequest>,
    ) -> Result<Response<v1::StopTraceResponse>, Status> {
        Err(Status::unimplemented("this test ends traces by their call"))
    }

    type WatchTracesStream = tokio_stream::Empty<Result<v1::WatchTracesResponse, Status>>;

    async fn watch_traces(
        &self,
        _: Request<v1::WatchTracesRequest>,
    ) -> Result<Response<Self::WatchTracesStream>, Status> {
        Err(Status::unimplemented("this test watches no traces"))
    }

    type StreamEventsStream = Messages;

    async fn stream_events(
        &self,
        _: Request<v1::StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        Err(Status::unimplemented("this test reads the stream of Trace"))
    }

    type TraceStream = Messages;

    /// Starts a trace without the filter: the schema repeats none. Rows would follow.
    async fn trace(
        &self,
        request: Request<Streaming<v1::TraceRequest>>,
    ) -> Result<Response<Self::TraceStream>, Status> {
        let started = request.into_inner().message().await?;
        let Some(v1::trace_request::Request::Start(spec)) = started.and_then(|one| one.request)
        else {
            return Err(Status::invalid_argument("the first message is no start"));
        };
        assert!(!spec.filter.is_empty(), "{spec:?}");
        let schema = v1::Schema {
            instance: 1,
            ..v1::Schema::default()
        };
        let first = v1::StreamEventsResponse {
            item: Some(Item::Schema(schema)),
            ..v1::StreamEventsResponse::default()
        };
        let messages: Messages =
            Box::pin(tokio_stream::once(Ok(first)).chain(tokio_stream::pending()));
        Ok(Response::new(messages))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_ignores_the_filter_is_an_error_and_no_row_is_shown() {
    let folder = folder();
    let socket = folder.join("agent.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let server = Server::builder().add_service(AgentServer::new(WithoutFilters));
    let served = tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
    let url = format!("unix://{}", socket.display());
    let pid = std::process::id().to_string();
    let trace = Trace::of("open").with(&["--agent", &url, "--pid", &pid]);
    let trace = trace.with(&["--where", "result < 0"]);
    let outcome = tokio::task::block_in_place(|| trace.run());
    assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
    assert!(!outcome.started(), "{}", outcome.stderr);
    assert!(outcome.rows.is_empty(), "{:?}", outcome.rows);
    let wanted = format!("the agent at {url} does not apply --where: its version is older");
    assert!(outcome.stderr.contains(&wanted), "{}", outcome.stderr);
    served.abort();
    fs::remove_dir_all(folder).unwrap();
}
