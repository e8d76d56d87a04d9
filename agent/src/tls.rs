//! Mutual TLS: whose certificate lets whom do what. Certificate, key and the clients' CA are read again when their files change.

use super::{
    config::{Roles, Tls},
    limits::{LOOK, NAME_BYTES},
    stamp::{Stamp, stamp},
    text::cut,
};
use anyhow::{Context, Result, anyhow, bail};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What a handshake takes: the newest of what the files held that could be used.
pub(crate) struct Identity {
    files: Tls,
    /// As they were before they were read the first time: what changes meanwhile is a change.
    began_with: Stamp,
    current: Mutex<Arc<ServerConfig>>,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// Where they do not hold a certificate with its key and a CA.
    pub(crate) fn read(files: Tls) -> Result<Self> {
        let began_with = stamp(paths(&files));
        let current = Mutex::new(load(&files)?);
        Ok(Self {
            files,
            began_with,
            current,
        })
    }

    /// For the next handshake.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Follows the files for as long as it is polled. What cannot be used changes nothing; connections that are there go on.
    pub(crate) async fn follow(&self) {
        let mut seen = self.began_with.clone();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = stamp(paths(&self.files));
            if now == seen {
                continue;
            }
            seen = now;
            match load(&self.files) {
                Ok(new) => {
                    *self.current.lock().unwrap_or_else(PoisonError::into_inner) = new;
                    tracing::info!("certificates reloaded; new connections use them");
                }
                // Of files that are replaced one after the other the last one makes it right.
                Err(error) => {
                    tracing::warn!("cannot reload certificates, keeping the old ones: {error:#}")
                }
            }
        }
    }
}

fn paths(files: &Tls) -> [&Path; 3] {
    let Tls {
        certificate,
        key,
        client_ca,
    } = files;
    [certificate, key, client_ca]
}

fn load(files: &Tls) -> Result<Arc<ServerConfig>> {
    let Tls {
        certificate,
        key,
        client_ca,
    } = files;
    let chain = certificates(certificate).context("tls.certificate")?;
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("tls.key: cannot read a key from {}", key.display()))?;
    let mut roots = RootCertStore::empty();
    for ca in certificates(client_ca).context("tls.clientCa")? {
        roots
            .add(ca)
            .with_context(|| format!("tls.clientCa: {}", client_ca.display()))?;
    }
    let provider = Arc::new(ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .build()
        .context("tls.clientCa")?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, private)
        .context("tls.certificate and tls.key")?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || format!("cannot read certificates from {}", file.display());
    let all = CertificateDer::pem_file_iter(file)
        .with_context(read)?
        .collect::<Result<Vec<_>, _>>()
        .with_context(read)?;
    match all.is_empty() {
        true => bail!("{} has no certificate", file.display()),
        false => Ok(all),
    }
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everything.
    Control,
    /// Look and read.
    Read,
    /// Nothing.
    None,
}

impl Roles {
    /// The role of a certificate that the CA has signed, and the name by which it has that.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(crate) fn of(&self, certificate: &CertificateDer<'_>) -> Result<(Role, String)> {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| anyhow!("the client's certificate cannot be parsed: {error}"))?;
        let extension = parsed.subject_alternative_name();
        let names = extension
            .map_err(|error| {
                anyhow!("the names of the client's certificate cannot be parsed: {error}")
            })?
            .map_or(&[][..], |names| names.value.general_names.as_slice());
        let names: Vec<&str> = names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(name) | GeneralName::DNSName(name) => Some(*name),
                _ => None,
            })
            .collect();
        // In the configuration's order: a certificate with the same names in another order is the same caller.
        let listed = |of: &[String]| of.iter().find(|one| names.contains(&one.as_str())).cloned();
        Ok(match (listed(&self.control), listed(&self.read)) {
            (Some(name), _) => (Role::Control, name),
            (None, Some(name)) => (Role::Read, name),
            (None, None) => (Role::None, cut(names.join(" "), NAME_BYTES)),
        })
    }
}
