//! Identification of the API server when it forwards a user's request: a client certificate of a CA of its own, and headers with names that
//! the cluster chooses. Both are in a ConfigMap that every API server maintains, `extension-apiserver-authentication`.

use anyhow::{Context as _, Result, bail};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::watch;
use x509_parser::prelude::{FromDer, X509Certificate};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// The API server's certificates and headers.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    /// Allowed common names of its certificates; an empty list allows all.
    names: Vec<String>,
    headers: Arc<Proxy>,
}

/// Names of the headers with the attributes of a forwarded user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) user: Vec<String>,
    pub(crate) uid: Vec<String>,
    pub(crate) groups: Vec<String>,
    /// Prefixes of names: the rest of a name is the attribute's key.
    pub(crate) extra: Vec<String>,
}

impl Authority {
    /// Returns the headers with the forwarded user, if this verified certificate is the API server's.
    pub(crate) fn proxy(&self, certificate: &CertificateDer<'_>) -> Option<Arc<Proxy>> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let mut names = parsed.subject().iter_common_name();
        let allowed =
            |name: &str| self.names.is_empty() || self.names.iter().any(|known| known == name);
        let is_it = names.any(|name| name.as_str().is_ok_and(allowed));
        is_it.then(|| Arc::clone(&self.headers))
    }
}

/// Reads the ConfigMap. Returns its newest content, the CAs of the API server's certificates, and a task that watches the ConfigMap.
///
/// # Errors
/// Where the ConfigMap is missing: the API server aggregates no APIs then.
pub(crate) async fn follow(
    client: &Client,
) -> Result<(
    watch::Receiver<Authority>,
    watch::Receiver<Arc<RootCertStore>>,
    impl Future<Output = ()> + use<>,
)> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    let map = api.get(NAME).await;
    let map = map.with_context(|| format!("reading ConfigMap {NAMESPACE}/{NAME}"))?;
    let (first, first_roots) = read(&map.data.unwrap_or_default())
        .with_context(|| format!("ConfigMap {NAMESPACE}/{NAME}"))?;
    let (new, newest) = watch::channel(first);
    let (new_roots, newest_roots) = watch::channel(first_roots);
    let only = fleet::watching().fields(&format!("metadata.name={NAME}"));
    let keep = async move {
        let events = watcher(api, only).default_backoff().applied_objects();
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let read = event.map(|map| read(&map.data.unwrap_or_default()));
            match read {
                Ok(Ok((authority, roots))) => {
                    new.send_replace(authority);
                    new_roots.send_if_modified(|before| {
                        let changed = before.roots != roots.roots;
                        *before = roots;
                        changed
                    });
                }
                Ok(Err(error)) => {
                    tracing::warn!("cannot read the API server's CA certificates: {error:#}")
                }
                Err(error) => tracing::debug!(%error, "watching the API server's certificates"),
            }
        }
    };
    Ok((newest, newest_roots, keep))
}

fn read(data: &BTreeMap<String, String>) -> Result<(Authority, Arc<RootCertStore>)> {
    let pem = data.get("requestheader-client-ca-file");
    let pem = pem.context("requestheader-client-ca-file is missing: the API server's aggregation layer is not configured (--requestheader-client-ca-file)")?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.context("requestheader-client-ca-file")?)?;
    }
    if roots.is_empty() {
        bail!("requestheader-client-ca-file has no certificate");
    }
    let list = |name: &str| -> Result<Vec<String>> {
        match data.get(name) {
            None => Ok(Vec::new()),
            Some(text) => serde_json::from_str(text).with_context(|| name.to_owned()),
        }
    };
    let authority = Authority {
        names: list("requestheader-allowed-names")?,
        headers: Arc::new(Proxy {
            user: list("requestheader-username-headers")?,
            uid: list("requestheader-uid-headers")?,
            groups: list("requestheader-group-headers")?,
            extra: list("requestheader-extra-headers-prefix")?,
        }),
    };
    Ok((authority, Arc::new(roots)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_map_without_ca_certificates_is_an_error() {
        let map = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            let pairs = pairs.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
            read(&pairs.collect()).map(drop).unwrap_err().to_string()
        };
        assert!(map(&[]).contains("aggregation layer is not configured"));
        let error = map(&[("requestheader-client-ca-file", "none")]);
        assert!(error.contains("no certificate"), "{error}");
    }
}
