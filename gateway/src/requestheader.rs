//! By what the API server is known when it calls for others: a certificate of an authority of its own, and headers with names that the
//! cluster chooses. Both stand in a ConfigMap that every API server keeps, `extension-apiserver-authentication`.

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

/// What is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    /// Who signs its certificates.
    pub(crate) roots: Arc<RootCertStore>,
    /// The common names of its certificates; none is any.
    names: Vec<String>,
    headers: Arc<Proxy>,
}

/// Headers of the API server, by what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) user: Vec<String>,
    pub(crate) uid: Vec<String>,
    pub(crate) groups: Vec<String>,
    /// Beginnings of their names.
    pub(crate) extra: Vec<String>,
}

impl Authority {
    /// Whether a certificate that its authority has signed is the API server's; by which headers it tells then whom it calls for.
    pub(crate) fn proxy(&self, certificate: &CertificateDer<'_>) -> Option<Arc<Proxy>> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let mut names = parsed.subject().iter_common_name();
        let allowed =
            |name: &str| self.names.is_empty() || self.names.iter().any(|known| known == name);
        let is_it = names.any(|name| name.as_str().is_ok_and(allowed));
        is_it.then(|| Arc::clone(&self.headers))
    }
}

/// Reads it, and keeps it as it is for as long as the task runs.
///
/// # Errors
/// Where it is not there: the API server aggregates no APIs then.
pub(crate) async fn follow(
    client: &Client,
) -> Result<(watch::Receiver<Authority>, impl Future<Output = ()> + use<>)> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    let map = api.get(NAME).await;
    let map = map.with_context(|| format!("reading ConfigMap {NAMESPACE}/{NAME}"))?;
    let first = read(&map.data.unwrap_or_default())
        .with_context(|| format!("ConfigMap {NAMESPACE}/{NAME}"))?;
    let (new, newest) = watch::channel(first);
    let only = fleet::watching().fields(&format!("metadata.name={NAME}"));
    let keep = async move {
        let events = watcher(api, only).default_backoff().applied_objects();
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let read = event.map(|map| read(&map.data.unwrap_or_default()));
            match read {
                Ok(Ok(authority)) => drop(new.send_replace(authority)),
                Ok(Err(error)) => {
                    tracing::warn!("cannot read the API server's CA certificates: {error:#}")
                }
                Err(error) => tracing::debug!(%error, "watching the API server's certificates"),
            }
        }
    };
    Ok((newest, keep))
}

fn read(data: &BTreeMap<String, String>) -> Result<Authority> {
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
    Ok(Authority {
        roots: Arc::new(roots),
        names: list("requestheader-allowed-names")?,
        headers: Arc::new(Proxy {
            user: list("requestheader-username-headers")?,
            uid: list("requestheader-uid-headers")?,
            groups: list("requestheader-group-headers")?,
            extra: list("requestheader-extra-headers-prefix")?,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_told() {
        let map = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            let pairs = pairs.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
            read(&pairs.collect()).map(drop).unwrap_err().to_string()
        };
        assert!(map(&[]).contains("aggregation layer is not configured"));
        let said = map(&[("requestheader-client-ca-file", "none")]);
        assert!(said.contains("no certificate"), "{said}");
    }
}
