//! Authorization of calls by their path, before a request is read, and the limits of its body.

use super::{
    arriving::Arriving,
    caller::{Identity, Shares},
    connection::Peer,
    limits::ARRIVING_BYTES,
    refuse::Refusal,
    role::Role,
};
use http_body_util::BodyExt;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
};
use tower::Layer;

/// Calls of the role `read`. All other calls change something.
const READING: [&str; 5] = [
    "/tracejob.v1.Agent/GetCapabilities",
    "/tracejob.v1.Agent/WatchTraces",
    "/tracejob.v1.Agent/StreamEvents",
    "/grpc.health.v1.Health/",
    "/grpc.reflection.",
];

fn check(peer: Option<&Peer>, path: &str) -> Result<(), Refusal> {
    let role = peer.map_or(Role::None, |peer| peer.role);
    let reading = READING.iter().any(|one| match one.ends_with(['/', '.']) {
        true => path.starts_with(one),
        false => path == *one,
    });
    match role {
        Role::Control => Ok(()),
        Role::Read if reading => Ok(()),
        Role::Read | Role::None => Err(Refusal::NotAllowed {
            who: peer.map_or_else(|| "unknown".to_owned(), ToString::to_string),
            role,
        }),
    }
}

/// Wraps all services.
#[derive(Clone)]
pub(crate) struct Authorize {
    /// Bytes of each caller's requests that are on their way.
    arriving: Arc<Shares>,
}

impl Authorize {
    pub(crate) fn new() -> Self {
        Self {
            arriving: Shares::new(ARRIVING_BYTES),
        }
    }
}

impl<S> Layer<S> for Authorize {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Authorized<S> {
        Authorized {
            inner,
            arriving: Arc::clone(&self.arriving),
        }
    }
}

/// All services, for callers with a role.
#[derive(Clone)]
pub(crate) struct Authorized<S> {
    inner: S,
    arriving: Arc<Shares>,
}

impl<S> Service<http::Request<Body>> for Authorized<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<Peer>();
        match check(peer, request.uri().path()) {
            Ok(()) => {
                let call = peer.and_then(Peer::call);
                let identity = peer.map_or(Identity::Unknown, |peer| peer.caller().identity);
                let share = self.arriving.of(identity);
                let (parts, body) = request.into_parts();
                let body = Body::new(Arriving::new(body, &parts.uri, share));
                let answer = self.inner.call(http::Request::from_parts(parts, body));
                Box::pin(async move {
                    // The call is open until its response has been sent or the client is gone.
                    let answer = answer.await?;
                    Ok(answer.map(|body| {
                        Body::new(body.map_frame(move |frame| {
                            let _open = &call;
                            frame
                        }))
                    }))
                })
            }
            Err(refusal) => {
                let status: Status = refusal.into();
                Box::pin(async move { Ok(status.into_http()) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::FileDescriptorSet;
    use proto::AGENT_DESCRIPTORS;

    #[test]
    fn whoever_may_only_read_calls_nothing_that_changes_anything() {
        let reads = |path: &str| READING.iter().any(|one| path.starts_with(one));
        let set: FileDescriptorSet = prost::Message::decode(AGENT_DESCRIPTORS).unwrap();
        let services = set.file.iter().flat_map(|file| &file.service);
        let agent = services
            .into_iter()
            .find(|service| service.name() == "Agent");
        let methods = agent.unwrap().method.iter();
        let reading: Vec<_> = methods
            .map(prost_types::MethodDescriptorProto::name)
            .filter(|name| reads(&format!("/tracejob.v1.Agent/{name}")))
            .collect();
        assert_eq!(reading, ["GetCapabilities", "WatchTraces", "StreamEvents"]);
    }

    #[test]
    fn who_is_not_known_calls_nothing() {
        assert!(check(None, READING[0]).is_err());
    }
}
