//! The stream of a job through the API server: one GET whose body ends with the job.

use super::error::{Doing, Error};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use crd::name::JobName;
use http::{Request, header};
use http_body_util::{BodyExt, Limited};
use kube::{Client, client::Body};
use std::time::Duration;

/// Media type of protobuf messages.
const MEDIA: &str = "application/vnd.tracejob.v1+protobuf";
/// Maximum length of an error message in bytes.
const WORDS: usize = 64 << 10;

/// Parameters of a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) interval: Option<Duration>,
    pub(crate) by: Vec<String>,
    pub(crate) nodes: Vec<String>,
}

/// Returns the path of a stream.
pub(crate) fn path(name: &JobName, query: &Query, resume: &[u8], now: bool) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    pairs.append_pair("format", "protobuf");
    if let Some(interval) = query.interval {
        pairs.append_pair("interval", &format!("{}ms", interval.as_millis()));
    }
    for (key, names) in [("by", &query.by), ("nodes", &query.nodes)] {
        if !names.is_empty() {
            pairs.append_pair(key, &names.join(","));
        }
    }
    if !resume.is_empty() {
        pairs.append_pair("resume", &BASE64_URL_SAFE_NO_PAD.encode(resume));
    }
    if now {
        pairs.append_pair("follow", "false");
    }
    let place = match &name.namespace {
        Some(namespace) => format!("namespaces/{}/", escaped(namespace)),
        None => String::new(),
    };
    format!(
        "/apis/subresources.tracejob.dev/v1alpha1/watch/{place}{}/{}/events?{}",
        name.resource(),
        escaped(&name.name),
        pairs.finish()
    )
}

/// Escapes a segment of a path, so that typed text cannot change the path.
fn escaped(part: &str) -> String {
    form_urlencoded::byte_serialize(part.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// Opens a stream.
///
/// # Errors
/// If the API server or the gateway rejects the request, or there is no connection.
pub(crate) async fn open(
    client: &Client,
    url: &str,
    name: &JobName,
    path: &str,
) -> Result<Body, Error> {
    let resource = format!("{}/events", name.resource());
    let doing = Doing {
        verb: "watch",
        resource: &resource,
        job: Some(name),
        namespace: name.namespace.as_deref(),
    };
    let request = Request::get(path)
        .header(header::ACCEPT, MEDIA)
        .body(Body::empty())
        .map_err(|error| Error::InvalidMessage {
            what: error.to_string(),
        })?;
    let answer = client.send(request).await;
    let answer = answer.map_err(|error| Error::of(error, url, doing))?;
    let code = answer.status();
    if code.is_success() {
        return Ok(answer.into_body());
    }
    let words = Limited::new(answer.into_body(), WORDS).collect().await;
    let words = words.map(|words| words.to_bytes()).unwrap_or_default();
    let status: serde_json::Value = serde_json::from_slice(&words).unwrap_or_default();
    let plain = String::from_utf8_lossy(&words);
    let message = status["message"].as_str().unwrap_or(&plain);
    let reason = status["reason"].as_str().unwrap_or_default();
    Err(Error::answered(code.as_u16(), message, reason, url, doing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_contains_the_whole_request() {
        let name = |namespace: Option<&str>, name: &str| JobName {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        };
        let query = Query {
            interval: Some(Duration::from_millis(1500)),
            by: vec!["pod".to_owned()],
            nodes: vec!["a".to_owned(), "b".to_owned()],
        };
        assert_eq!(
            path(&name(Some("shop"), "x"), &query, &[0xff, 0xfe], false),
            "/apis/subresources.tracejob.dev/v1alpha1/watch/namespaces/shop/tracejobs/x/events?format=protobuf&interval=1500ms&by=pod&nodes=a%2Cb&resume=__4"
        );
        assert_eq!(
            path(&name(None, "../x"), &Query::default(), &[], true),
            "/apis/subresources.tracejob.dev/v1alpha1/watch/clustertracejobs/..%2Fx/events?format=protobuf&follow=false"
        );
    }
}
