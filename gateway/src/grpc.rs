//! The stream of a job over gRPC, for programs in the cluster: `tracejob.v1.Jobs`.

use crate::{
    app::{App, CallError, Stream},
    caller::Verb,
    encode::messages,
    peer::Peer,
    reader::{self, Follow, Options},
    refused::Refused,
};
use crd::name::JobName;
use proto::v1::{
    StreamEventsResponse, StreamJobEventsRequest,
    jobs_server::{Jobs, JobsServer},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, service::Routes};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Domain of the reasons of errors.
const DOMAIN: &str = "tracejob.dev";
/// Maximum number of names in a request.
const NAMES: usize = 5000;
/// Maximum bytes of a request.
const REQUEST_BYTES: usize = 1 << 20;

struct Api(Arc<App>);

/// Returns the service, with health and reflection.
///
/// # Errors
/// If the descriptors cannot be read, which is a bug.
pub(crate) async fn routes(app: Arc<App>) -> anyhow::Result<Routes> {
    let service = JobsServer::new(Api(app)).max_decoding_message_size(REQUEST_BYTES);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<JobsServer<Api>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::JOBS_DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        // The descriptors include the agent's service, which the gateway does not serve.
        .with_service_name("tracejob.v1.Jobs")
        .with_service_name("grpc.health.v1.Health")
        .build_v1()?;
    Ok(Routes::new(service)
        .add_service(health_service)
        .add_service(reflection))
}

#[tonic::async_trait]
impl Jobs for Api {
    type StreamEventsStream = ReceiverStream<Result<StreamEventsResponse, Status>>;

    async fn stream_events(
        &self,
        request: Request<StreamJobEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let headers = request.metadata().clone().into_headers();
        let (name, options) = options(request.into_inner())?;
        let verb = match options.follow {
            Follow::Now => Verb::Get,
            Follow::Job | Follow::For(_) => Verb::Watch,
        };
        let opened = self
            .0
            .open(headers, peer.unwrap_or_default(), verb, name, options)
            .await;
        let mut stream = opened?;
        let (to, messages_out) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let mut reviews = Stream::reviews();
            loop {
                let next = match stream.next(&mut reviews).await {
                    Ok(Some(update)) => messages(update).into_iter().map(Ok).collect(),
                    Ok(None) => return,
                    Err(error) => vec![Err(error.into())],
                };
                for message in next {
                    if to.send(message).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(messages_out)))
    }
}

fn options(request: StreamJobEventsRequest) -> Result<(JobName, Options), CallError> {
    let StreamJobEventsRequest {
        namespace,
        name,
        nodes,
        interval,
        limit,
        resume,
        by,
        no_follow,
    } = request;
    let invalid = |field, why: &str| CallError::Invalid {
        field,
        why: why.to_owned(),
    };
    if nodes.len() > NAMES {
        return Err(invalid("nodes", "at most 5000 names"));
    }
    let interval = interval.map(Duration::try_from).transpose();
    let interval = interval
        .ok()
        .filter(|time| time.is_none_or(|time| time >= reader::SHORTEST));
    let interval = interval.ok_or_else(|| invalid("interval", "at least 100 ms"))?;
    let name = JobName::new((!namespace.is_empty()).then_some(namespace), name)?;
    let options = Options {
        nodes: nodes.into_iter().collect(),
        interval,
        limit,
        by,
        resume,
        follow: if no_follow { Follow::Now } else { Follow::Job },
    };
    Ok((name, options))
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        use tonic::Code;
        let (code, reason) = match &error {
            CallError::Refused(Refused::Unauthenticated(_)) => {
                (Code::Unauthenticated, "Unauthenticated")
            }
            CallError::Refused(Refused::Forbidden(_)) => (Code::PermissionDenied, "NotAllowed"),
            CallError::NotFound(_) => (Code::NotFound, "UnknownJob"),
            CallError::Invalid { .. } => (Code::InvalidArgument, "InvalidRequest"),
            CallError::Full(_) | CallError::Refused(Refused::Busy(_)) => {
                (Code::ResourceExhausted, "ResourceExhausted")
            }
            CallError::Refused(Refused::Unknown(_)) | CallError::Away(_) => {
                (Code::Unavailable, "ApiServerAway")
            }
        };
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
        if let CallError::Invalid { field, why } = &error {
            details.add_bad_request_violation(*field, why);
        }
        Self::with_error_details(code, error.to_string(), details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_path_separators_are_refused_before_any_request() {
        for (namespace, name, field) in [
            ("a", "../../b/tracejobs/y", "name"),
            ("a/../b", "y", "namespace"),
            ("..", "y", "namespace"),
            ("", "../namespaces/b/tracejobs/y", "name"),
            ("a", "", "name"),
        ] {
            let request = StreamJobEventsRequest {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                ..StreamJobEventsRequest::default()
            };
            match options(request).map(drop) {
                Err(CallError::Invalid { field: wrong, .. }) => assert_eq!(wrong, field, "{name}"),
                other => panic!("{namespace} {name}: {other:?}"),
            }
        }
    }
}
