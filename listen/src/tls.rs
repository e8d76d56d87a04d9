//! TLS of our servers: certificate, key and client CAs are reloaded when they change.
//!
//! The time limit of a handshake is that of a pending connection (`places`). The rights of a client are decided by the server.

#[cfg(test)]
mod tests;

use crate::{
    limits::FILES_INTERVAL,
    stamp::{Stamp, stamp},
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{VerifierBuilderError, WebPkiClientVerifier},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The reason why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server's certificate cannot be read.
    #[error("cannot read certificates from {}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// The server's key cannot be read.
    #[error("cannot read a private key from {}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// The CAs of clients cannot be read.
    #[error("cannot read client CA certificates from {}", path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// A certificate cannot be the CA of clients.
    #[error("cannot use a certificate of {} as client CA", path.display())]
    InvalidClientCa {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
    /// Client certificates cannot be verified.
    #[error("cannot verify client certificates")]
    Verifier(#[from] VerifierBuilderError),
    /// The certificate and the key do not belong together, or TLS does not support them.
    #[error("cannot use certificate {} with key {}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
}

/// The PEM files of a server.
#[derive(Clone, Debug)]
pub struct Files {
    /// The server's certificate, followed by the certificates between it and its CA.
    pub certificate: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
}

/// The certificates that a server requests from its clients.
#[derive(Clone, Debug)]
pub enum Clients {
    /// Each client presents a certificate of a CA in this PEM file, which is reloaded when it changes.
    Required(PathBuf),
    /// A client presents a certificate of one of these CAs, or none.
    Optional(watch::Receiver<Arc<RootCertStore>>),
}

impl Clients {
    /// Returns when the CAs change. CAs in a file are compared by stamp, and never return here.
    async fn changed(&mut self) {
        if let Self::Optional(roots) = self
            && roots.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

/// The server side of TLS handshakes, with the newest usable certificates.
#[derive(Debug)]
pub struct Acceptor {
    files: Files,
    clients: Clients,
    protocols: &'static [&'static [u8]],
    /// Stamp from before the first read, so that a change during the read is noticed.
    first_stamp: Stamp,
    current: Mutex<Arc<ServerConfig>>,
}

impl Acceptor {
    /// Reads the files. The server offers these protocols (ALPN), in order of preference.
    ///
    /// # Errors
    /// [`Error`] where the files do not contain a certificate with its key, and the CAs of clients.
    pub fn read(
        files: Files,
        clients: Clients,
        protocols: &'static [&'static [u8]],
    ) -> Result<Self, Error> {
        let first_stamp = stamp(paths(&files, &clients));
        let current = Mutex::new(load(&files, &clients, protocols)?);
        Ok(Self {
            files,
            clients,
            protocols,
            first_stamp,
            current,
        })
    }

    /// Performs a handshake. Returns the connection, with the verified certificate of the client.
    ///
    /// # Errors
    /// As [`TlsAcceptor::accept`]: a failed handshake, or an error of the connection.
    pub async fn accept<S>(
        &self,
        stream: S,
    ) -> io::Result<(TlsStream<S>, Option<CertificateDer<'static>>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner));
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let certificate = certificates.and_then(<[_]>::first).cloned();
        let certificate = certificate.map(CertificateDer::into_owned);
        Ok((stream, certificate))
    }

    /// Reloads the certificates when they change, while it is polled. Unusable certificates are logged and change nothing; open
    /// connections continue.
    pub async fn follow(&self) {
        let mut seen = self.first_stamp.clone();
        let mut clients = self.clients.clone();
        loop {
            let clients_changed = tokio::select! {
                () = clients.changed() => true,
                () = tokio::time::sleep(FILES_INTERVAL) => false,
            };
            let now = stamp(paths(&self.files, &clients));
            if !clients_changed && now == seen {
                continue;
            }
            seen = now;
            match load(&self.files, &clients, self.protocols) {
                Ok(new) => {
                    *self.current.lock().unwrap_or_else(PoisonError::into_inner) = new;
                    tracing::info!("certificates reloaded; new connections use them");
                }
                // Files are often replaced one after the other; the last one completes the set.
                Err(error) => tracing::warn!(
                    "cannot reload certificates, keeping the old ones: {}",
                    rows::text::error_chain(&error)
                ),
            }
        }
    }
}

fn paths<'a>(files: &'a Files, clients: &'a Clients) -> impl Iterator<Item = &'a Path> {
    let Files { certificate, key } = files;
    let client_ca = match clients {
        Clients::Required(path) => Some(path.as_path()),
        Clients::Optional(_) => None,
    };
    [certificate.as_path(), key].into_iter().chain(client_ca)
}

fn load(files: &Files, clients: &Clients, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, Error> {
    let Files { certificate, key } = files;
    let chain = certificates(certificate).map_err(|source| Error::Certificate {
        path: certificate.clone(),
        source,
    })?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| Error::Key {
        path: key.clone(),
        source,
    })?;
    let roots = match clients {
        Clients::Required(path) => Arc::new(client_roots(path)?),
        Clients::Optional(roots) => Arc::clone(&roots.borrow()),
    };
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let verifier = match clients {
        Clients::Required(_) => verifier,
        Clients::Optional(_) => verifier.allow_unauthenticated(),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for TLS 1.2 and 1.3")
        .with_client_cert_verifier(verifier.build()?)
        .with_single_cert(chain, private)
        .map_err(|source| Error::Pair {
            certificate: certificate.clone(),
            key: key.clone(),
            source,
        })?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

fn client_roots(path: &Path) -> Result<RootCertStore, Error> {
    let read = certificates(path).map_err(|source| Error::ClientCa {
        path: path.to_owned(),
        source,
    });
    let mut roots = RootCertStore::empty();
    for certificate in read? {
        let added = roots.add(certificate);
        added.map_err(|source| Error::InvalidClientCa {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(roots)
}

/// Reads the certificates of a file, which has at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    let all = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
    match all.is_empty() {
        true => Err(pem::Error::NoItemsFound),
        false => Ok(all),
    }
}
