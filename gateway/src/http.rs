//! The aggregated API: discovery for the API server, and the events of jobs.
//!
//! The API server ends a request after a minute, except a request with the verb `watch`, whose path is `…/watch/namespaces/…`. So a `get`
//! ends before that, with a resume token.

use crate::{
    app::{App, CallError, Stream},
    caller::{GROUP, VERSION, Verb},
    encode::{Encoder, Format},
    peer::Peer,
    reader::{self, Follow, Options},
    refused::Refused,
};
use axum::{
    Extension, Json, Router,
    body::{Body, Bytes},
    extract::{Path, RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use crd::name::JobName;
use serde_json::{Value, json};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio_stream::wrappers::ReceiverStream;

/// Duration of a response to `get`: the default limit of the API server is 60 s (--request-timeout).
const GET: Duration = Duration::from_secs(50);
/// Maximum number of names in `nodes` or `by`.
const NAMES: usize = 5000;

/// Returns the router of all paths.
pub(crate) fn router(app: Arc<App>) -> Router {
    let base = format!("/apis/{GROUP}/{VERSION}");
    let mut router = Router::new()
        .route(&format!("/apis/{GROUP}"), get(async || Json(group())))
        .route(&base, get(async || Json(resources())))
        .route("/openapi/v2", get(async || Json(openapi_v2())))
        .route("/openapi/v3", get(async || Json(openapi_v3_index())))
        .route(
            &format!("/openapi/v3{base}"),
            get(async || Json(openapi_v3())),
        );
    let tracers = async |State(app): State<Arc<App>>,
                         Extension(peer): Extension<Peer>,
                         headers: HeaderMap| {
        match app.survey(&headers, &peer).await {
            Ok(all) => Json(Value::clone(&all)).into_response(),
            Err(error) => error.into_response(),
        }
    };
    router = router.route(&format!("{base}/tracers"), get(tracers));
    for path in ["/healthz", "/livez", "/readyz"] {
        router = router.route(path, get(async || "ok"));
    }
    for (prefix, verb) in [("", Verb::Get), ("/watch", Verb::Watch)] {
        let of = async move |State(app): State<Arc<App>>,
                             Extension(peer): Extension<Peer>,
                             Path((namespace, name)): Path<(String, String)>,
                             RawQuery(query): RawQuery,
                             headers: HeaderMap| {
            let name = JobName::new(Some(namespace), name);
            events(app, peer, name, query, headers, verb).await
        };
        let of_cluster = async move |State(app): State<Arc<App>>,
                                     Extension(peer): Extension<Peer>,
                                     Path(name): Path<String>,
                                     RawQuery(query): RawQuery,
                                     headers: HeaderMap| {
            let name = JobName::new(None, name);
            events(app, peer, name, query, headers, verb).await
        };
        router = router
            .route(
                &format!("{base}{prefix}/namespaces/{{namespace}}/tracejobs/{{name}}/events"),
                get(of),
            )
            .route(
                &format!("{base}{prefix}/clustertracejobs/{{name}}/events"),
                get(of_cluster),
            );
    }
    router
        .fallback(async || {
            status(
                StatusCode::NOT_FOUND,
                "NotFound",
                "the server could not find the requested resource",
            )
        })
        .with_state(app)
}

async fn events(
    app: Arc<App>,
    peer: Peer,
    name: Result<JobName, crd::name::Invalid>,
    query: Option<String>,
    headers: HeaderMap,
    verb: Verb,
) -> Response {
    let longest = match verb {
        Verb::Get => Follow::For(GET),
        Verb::Watch => Follow::Job,
    };
    let parsed = options(query.as_deref().unwrap_or_default(), &headers, longest);
    let opened = match name
        .map_err(CallError::from)
        .and_then(|name| Ok((name, parsed?)))
    {
        Ok((name, (options, format))) => {
            let intervals = options.interval.is_some();
            let opened = app.open(headers, peer, verb, name, options).await;
            opened.map(|stream| (stream, format, intervals))
        }
        Err(error) => Err(error),
    };
    match opened {
        Ok((stream, format, intervals)) => {
            let (to, bytes) = tokio::sync::mpsc::channel(1);
            tokio::spawn(send(stream, Encoder::new(format, intervals), to));
            let body = Body::from_stream(ReceiverStream::new(bytes));
            let kind = HeaderValue::from_static(format.media_type());
            ([(header::CONTENT_TYPE, kind)], body).into_response()
        }
        Err(error) => error.into_response(),
    }
}

/// Sends a stream until its end, or until the client disconnects.
async fn send(
    mut stream: Stream,
    mut encoder: Encoder,
    to: tokio::sync::mpsc::Sender<Result<Bytes, Infallible>>,
) {
    let mut reviews = Stream::reviews();
    loop {
        match stream.next(&mut reviews).await {
            Ok(Some(update)) => encoder.add(update),
            Ok(None) => return,
            Err(error) => encoder.add_error(error.reason(), &error.to_string()),
        }
        while let Some(bytes) = encoder.next() {
            if to.send(Ok(bytes.into())).await.is_err() {
                return;
            }
        }
    }
}

/// Reads the options and the format of a query.
fn options(
    query: &str,
    headers: &HeaderMap,
    longest: Follow,
) -> Result<(Options, Format), CallError> {
    let mut options = Options {
        follow: longest,
        ..Options::default()
    };
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let mut format = Format::accepted(accept.unwrap_or_default());
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let invalid = |field, why: &str| CallError::Invalid {
            field,
            why: why.to_owned(),
        };
        let names = |field| {
            let names: Vec<String> = value.split(',').map(str::to_owned).collect();
            match names.len() <= NAMES && names.iter().all(|name| (1..=253).contains(&name.len())) {
                true => Ok(names),
                false => Err(invalid(
                    field,
                    "names with commas between them, such as a,b",
                )),
            }
        };
        match &*key {
            "format" => {
                let named = Format::named(&value);
                format = Some(named.ok_or_else(|| invalid("format", "json, csv or protobuf"))?);
            }
            "follow" => match &*value {
                "true" => {}
                "false" => options.follow = Follow::Now,
                _ => return Err(invalid("follow", "true or false")),
            },
            "interval" => {
                let time = duration(&value).filter(|time| *time >= reader::SHORTEST);
                let time = time.ok_or_else(|| {
                    invalid("interval", "a duration of at least 100ms, such as 5s")
                })?;
                options.interval = Some(time);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| *limit > 0);
                options.limit =
                    limit.ok_or_else(|| invalid("limit", "a number of rows, from 1"))?;
            }
            "nodes" => options.nodes = names("nodes")?.into_iter().collect(),
            "by" => options.by = names("by")?,
            "resume" => {
                let place = BASE64_URL_SAFE_NO_PAD.decode(value.as_bytes());
                options.resume =
                    place.map_err(|_| invalid("resume", "a token from a line {\"resume\":…}"))?;
            }
            // Parameters of the API server itself.
            "pretty" | "timeout" | "timeoutSeconds" => {}
            other => {
                let other: String = other.chars().take(64).collect();
                return Err(CallError::Invalid {
                    field: "query",
                    why: format!(
                        "unknown parameter {other:?}; known are by, follow, format, interval, limit, nodes and resume"
                    ),
                });
            }
        }
    }
    let format = format.ok_or_else(|| CallError::Invalid {
        field: "accept",
        why: "application/x-ndjson, text/csv or application/vnd.tracejob.v1+protobuf".to_owned(),
    })?;
    Ok((options, format))
}

/// Reads a duration: `500ms`, `5s`, `2m`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let milliseconds = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(milliseconds)?))
}

impl CallError {
    /// Returns the reason word of Kubernetes for the error.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Refused(Refused::Unauthenticated(_)) => "Unauthorized",
            Self::Refused(Refused::Forbidden(_)) => "Forbidden",
            Self::NotFound(_) => "NotFound",
            Self::Invalid { .. } => "BadRequest",
            Self::Full(_) | Self::Refused(Refused::Busy(_)) => "TooManyRequests",
            Self::Refused(Refused::Unknown(_)) | Self::Away(_) => "ServiceUnavailable",
        }
    }
}

impl IntoResponse for CallError {
    fn into_response(self) -> Response {
        let code = match self {
            Self::Refused(Refused::Unauthenticated(_)) => StatusCode::UNAUTHORIZED,
            Self::Refused(Refused::Forbidden(_)) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::Full(_) | Self::Refused(Refused::Busy(_)) => StatusCode::TOO_MANY_REQUESTS,
            Self::Refused(Refused::Unknown(_)) | Self::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        status(code, self.reason(), &self.to_string())
    }
}

/// Returns a response with an error in the form of Kubernetes.
fn status(code: StatusCode, reason: &str, message: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    });
    (code, Json(body)).into_response()
}

fn group() -> Value {
    let version = json!({"groupVersion": format!("{GROUP}/{VERSION}"), "version": VERSION});
    json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": GROUP,
        "versions": [version], "preferredVersion": version,
    })
}

fn resources() -> Value {
    let resource = |name: &str, namespaced: bool| {
        json!({
            "name": name, "singularName": "", "namespaced": namespaced, "kind": "Events", "verbs": ["get", "watch"],
        })
    };
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": [
            resource("tracejobs/events", true),
            resource("clustertracejobs/events", false),
            {"name": "tracers", "singularName": "tracer", "namespaced": false, "kind": "TracerList", "verbs": ["get"]},
        ],
    })
}

const ABOUT: &str = "Rows of a TraceJob, merged from all its nodes into one stream.";

/// Paths of events, with the parameters before the name.
fn paths(of: impl Fn(&str, &[&str]) -> Value) -> Value {
    let base = format!("/apis/{GROUP}/{VERSION}");
    let mut paths = serde_json::Map::new();
    for prefix in ["", "/watch"] {
        for (path, parameters) in [
            (
                "/namespaces/{namespace}/tracejobs/{name}/events",
                &["namespace", "name"][..],
            ),
            ("/clustertracejobs/{name}/events", &["name"]),
        ] {
            let path = format!("{base}{prefix}{path}");
            paths.insert(path, of(prefix, parameters));
        }
    }
    paths.into()
}

fn openapi_v2() -> Value {
    let parameter =
        |name: &&str| json!({"name": name, "in": "path", "required": true, "type": "string"});
    json!({
        "swagger": "2.0", "info": {"title": "TraceJob", "version": VERSION},
        "paths": paths(|_, parameters| json!({
            "parameters": parameters.iter().map(parameter).collect::<Value>(),
            "get": {"description": ABOUT, "produces": ["application/x-ndjson", "text/csv"], "responses": {"200": {"description": "OK", "schema": {"type": "string"}}}},
        })),
        "definitions": {},
    })
}

fn openapi_v3_index() -> Value {
    let group = format!("apis/{GROUP}/{VERSION}");
    json!({"paths": {&group: {"serverRelativeURL": format!("/openapi/v3/{group}")}}})
}

fn openapi_v3() -> Value {
    let parameter = |name: &&str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
    json!({
        "openapi": "3.0.0", "info": {"title": "TraceJob", "version": VERSION},
        "paths": paths(|_, parameters| json!({
            "parameters": parameters.iter().map(parameter).collect::<Value>(),
            "get": {"description": ABOUT, "responses": {"200": {"description": "OK", "content": {"application/x-ndjson": {"schema": {"type": "string"}}}}}},
        })),
        "components": {},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_parameters_are_named_in_the_error() {
        let error = |query: &str| {
            let parsed = options(query, &HeaderMap::new(), Follow::Job);
            parsed.map(drop).unwrap_err().to_string()
        };
        assert_eq!(error("format=xml"), "format: json, csv or protobuf");
        assert!(error("interval=5").starts_with("interval: a duration"));
        assert!(error("interval=1ms").starts_with("interval: a duration"));
        assert!(error("limit=0").starts_with("limit: a number"));
        assert!(error("resume=%00").starts_with("resume: a token"));
        assert!(error("nodes=a,,b").starts_with("nodes: names"));
        assert!(error("lmit=3").contains("unknown parameter \"lmit\""));
        let (options, format) = options(
            "format=csv&interval=2m&limit=3&nodes=a%2Cb&by=pod&follow=false",
            &HeaderMap::new(),
            Follow::Job,
        )
        .unwrap();
        assert_eq!(
            (format, options.limit, options.nodes.len()),
            (Format::Csv, 3, 2)
        );
        assert_eq!(options.interval, Some(Duration::from_secs(120)));
        assert_eq!(
            (options.by, options.follow),
            (vec!["pod".to_owned()], Follow::Now)
        );
    }
}
