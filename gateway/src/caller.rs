//! Authentication of callers, by the headers of the API server or by a token, and their authorization.
//!
//! Every call is authorized by RBAC, also if the API server has already authorized it.

use crate::{
    counters::Counters, peer::Peer, refused::Refused, requestheader::Proxy, reviews::Reviews,
};
use axum::http::{HeaderMap, header::AUTHORIZATION};
use crd::name::JobName;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use listen::places::Source;
use std::{collections::BTreeMap, sync::Arc};

/// Audience of a token. Tokens for the API server are refused, because the gateway could use them there.
pub(crate) const AUDIENCE: &str = "tracejob.dev";
/// API group of the resources in access reviews.
pub(crate) const GROUP: &str = "subresources.tracejob.dev";
/// Version of the API group.
pub(crate) const VERSION: &str = "v1alpha1";
/// Maximum number of header values of a forwarded user.
const MOST_VALUES: usize = 1024;

/// A user of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) user: String,
    uid: Option<String>,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// The resource of an access review.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) resource: &'static str,
    pub(crate) subresource: Option<&'static str>,
    /// `None` for a cluster-scoped resource.
    pub(crate) namespace: Option<String>,
    /// `None` for all objects.
    pub(crate) name: Option<String>,
}

impl Resource {
    /// Returns the resource of a job's events.
    pub(crate) fn events(job: &JobName) -> Self {
        Self {
            resource: job.resource(),
            subresource: Some("events"),
            namespace: job.namespace.clone(),
            name: Some(job.name.clone()),
        }
    }
}

/// The verb of an access review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Read the existing rows.
    Get,
    /// Follow the rows.
    Watch,
}

impl Verb {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Watch => "watch",
        }
    }
}

/// Authenticates and authorizes callers with the API server.
#[derive(Clone)]
pub(crate) struct Callers {
    pub(crate) client: Client,
    pub(crate) counters: Arc<Counters>,
    pub(crate) reviews: Arc<Reviews>,
}

impl Callers {
    /// Authenticates the caller, and admits the call's connection.
    ///
    /// # Errors
    /// If the caller has no valid token, and the API server has not authenticated it.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Caller, Refused> {
        self.authenticate_by(headers, peer, false).await
    }

    /// Authenticates the caller of an open stream again.
    ///
    /// # Errors
    /// As [`Self::authenticate`].
    pub(crate) async fn authenticate_again(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Caller, Refused> {
        self.authenticate_by(headers, peer, true).await
    }

    async fn authenticate_by(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        again: bool,
    ) -> Result<Caller, Refused> {
        let caller = match &peer.proxy {
            Some(proxy) => forwarded(headers, proxy),
            None => self.by_token(headers, peer.source, again).await,
        };
        match &caller {
            Ok(_) => peer.admit()?,
            Err(Refused::Busy(_)) => self.counters.refused("busy"),
            Err(_) => self.counters.refused("unauthenticated"),
        }
        caller
    }

    async fn by_token(
        &self,
        headers: &HeaderMap,
        source: Option<Source>,
        again: bool,
    ) -> Result<Caller, Refused> {
        let token = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then_some(token.trim())
        });
        let Some(token) = token else {
            // The headers of a forwarded user are ignored without the API server's certificate.
            return Err(Refused::Unauthenticated(
                "send `authorization: Bearer TOKEN` with a token for the audience tracejob.dev, or use the API server",
            ));
        };
        let source = source.ok_or(Refused::Unknown(
            "a bug: the connection has no address".to_owned(),
        ))?;
        let reviewing = match again {
            true => self.reviews.again(source, token).await,
            false => self.reviews.token(source, token).await?,
        };
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE.to_owned()]),
                token: Some(token.to_owned()),
            },
            ..TokenReview::default()
        };
        let api = Api::<TokenReview>::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|error| Refused::Unknown(error.to_string()))?;
        let status = answer.status.unwrap_or_default();
        let audiences = status.audiences.unwrap_or_default();
        if status.authenticated != Some(true) || !audiences.iter().any(|name| name == AUDIENCE) {
            reviewing.was_bad();
            return Err(Refused::BAD_TOKEN);
        }
        let user = status.user.unwrap_or_default();
        Ok(Caller {
            user: user.username.unwrap_or_default(),
            uid: user.uid,
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        })
    }

    /// Checks whether a caller may use a verb on a resource.
    ///
    /// # Errors
    /// [`Refused::Forbidden`] if the caller may not; the message names the missing permission.
    pub(crate) async fn authorize(
        &self,
        caller: &Caller,
        verb: Verb,
        resource: &Resource,
    ) -> Result<(), Refused> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(caller.user.clone()),
                uid: caller.uid.clone(),
                groups: Some(caller.groups.clone()),
                extra: Some(caller.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.to_owned()),
                    version: Some(VERSION.to_owned()),
                    resource: Some(resource.resource.to_owned()),
                    subresource: resource.subresource.map(str::to_owned),
                    name: resource.name.clone(),
                    namespace: resource.namespace.clone(),
                    verb: Some(verb.word().to_owned()),
                    ..ResourceAttributes::default()
                }),
                non_resource_attributes: None,
            },
            ..SubjectAccessReview::default()
        };
        let _one_of_many = self.reviews.right().await;
        let api = Api::<SubjectAccessReview>::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|error| Refused::Unknown(error.to_string()))?;
        let status = answer.status.unwrap_or_default();
        if status.allowed && status.denied != Some(true) {
            return Ok(());
        }
        self.counters.refused("forbidden");
        let part = resource.subresource.map(|part| format!("/{part}"));
        let what = format!("{}{}", resource.resource, part.unwrap_or_default());
        let place = match &resource.namespace {
            Some(namespace) => format!("in the namespace \"{namespace}\""),
            None => "at the cluster scope".to_owned(),
        };
        Err(Refused::Forbidden(format!(
            "User \"{}\" cannot {} resource \"{what}\" in API group \"{GROUP}\" {place}",
            caller.user,
            verb.word()
        )))
    }
}

/// Returns the user whose request the API server forwards.
fn forwarded(headers: &HeaderMap, proxy: &Proxy) -> Result<Caller, Refused> {
    let values = |names: &[String]| {
        let names = names.iter();
        let all = names.flat_map(|name| headers.get_all(name.as_str()));
        let all = all.filter_map(|value| value.to_str().ok().map(str::to_owned));
        all.take(MOST_VALUES).collect::<Vec<_>>()
    };
    let user = values(&proxy.user)
        .into_iter()
        .find(|user| !user.is_empty());
    let user = user.ok_or(Refused::Unauthenticated(
        "the API server's request has no user name",
    ))?;
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers.iter().take(MOST_VALUES) {
        let key = proxy.extra.iter().find_map(|prefix| {
            let name = name.as_str();
            let prefix = prefix.to_ascii_lowercase();
            name.strip_prefix(&prefix)
        });
        if let (Some(key), Ok(value)) = (key, value.to_str()) {
            let values = extra.entry(unescaped(key)).or_default();
            values.push(value.to_owned());
        }
    }
    Ok(Caller {
        user,
        uid: values(&proxy.uid).into_iter().next(),
        groups: values(&proxy.groups),
        extra,
    })
}

/// Decodes percent-encoding: names of headers cannot contain slashes.
fn unescaped(key: &str) -> String {
    let mut out = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = |at: usize| {
            after
                .get(at)
                .and_then(|byte| char::from(*byte).to_digit(16))
        };
        rest = match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                &after[2..]
            }
            _ => {
                out.push(*first);
                after
            }
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy() -> Proxy {
        Proxy {
            user: vec!["X-Remote-User".to_owned()],
            uid: vec!["X-Remote-Uid".to_owned()],
            groups: vec!["X-Remote-Group".to_owned()],
            extra: vec!["X-Remote-Extra-".to_owned()],
        }
    }

    #[test]
    fn the_forwarded_user_is_read_from_the_headers_of_the_api_server() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "ann"),
            ("x-remote-group", "a"),
            ("x-remote-group", "b"),
            ("x-remote-uid", "7"),
            ("x-remote-extra-example.com%2fscope", "all"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let caller = forwarded(&headers, &proxy()).unwrap();
        assert_eq!(
            (caller.user.as_str(), caller.uid.as_deref()),
            ("ann", Some("7"))
        );
        assert_eq!(caller.groups, ["a", "b"]);
        assert_eq!(caller.extra["example.com/scope"], ["all"]);
        assert!(forwarded(&HeaderMap::new(), &proxy()).is_err());
    }
}
