//! Connections: TLS with the gateway's certificate, which may change, and the API server's, by which it is known.

use crate::{
    app::{App, Peer},
    grpc, http,
    requestheader::Authority,
};
use anyhow::{Context as _, Result, bail};
use axum::{Extension, Router};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use listen::Listener;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch},
};
use tokio_rustls::TlsAcceptor;

/// Connections at the same time.
const CONNECTIONS: usize = 2048;
/// Calls that one connection may have open: the API server's readers share a few.
const CALLS: u32 = 1000;
/// How long a handshake and a request's headers may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// When a client that says nothing is asked whether it is there, and how long it may think about it.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
const HEADER_BYTES: u32 = 256 << 10;
/// How often certificates are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The gateway's own certificate: a folder of `tls.crt` and `tls.key`.
pub(crate) struct Certificate {
    folder: PathBuf,
    authority: watch::Receiver<Authority>,
    config: watch::Sender<Arc<ServerConfig>>,
}

impl Certificate {
    /// Reads it.
    ///
    /// # Errors
    /// Where there is none that can be used.
    pub(crate) fn read(folder: &Path, authority: watch::Receiver<Authority>) -> Result<Self> {
        let first = load(folder, &authority.borrow().clone())?;
        Ok(Self {
            folder: folder.to_owned(),
            authority,
            config: watch::Sender::new(first),
        })
    }

    /// Follows its files, and the API server's authority, for as long as it is polled. What cannot be used changes nothing.
    pub(crate) async fn follow(&self) {
        let files = || {
            let read = |name| fs::read(self.folder.join(name)).unwrap_or_default();
            (read("tls.crt"), read("tls.key"))
        };
        let mut authority = self.authority.clone();
        let mut seen = files();
        loop {
            let changed = tokio::select! {
                Ok(()) = authority.changed() => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            let now = files();
            if !changed && now == seen {
                continue;
            }
            seen = now;
            match load(&self.folder, &authority.borrow_and_update().clone()) {
                Ok(config) => {
                    self.config.send_replace(config);
                    tracing::info!("new certificates from now on");
                }
                // Of files that are replaced one after the other the last one makes it right.
                Err(error) => tracing::warn!("the old certificates stay: {error:#}"),
            }
        }
    }
}

fn load(folder: &Path, authority: &Authority) -> Result<Arc<ServerConfig>> {
    let file = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).with_context(|| format!("reading {}", path.display()))
    };
    let chain = CertificateDer::pem_slice_iter(&file("tls.crt")?).collect::<Result<Vec<_>, _>>();
    let chain = chain.with_context(|| format!("{}/tls.crt", folder.display()))?;
    if chain.is_empty() {
        bail!("{}/tls.crt has no certificate", folder.display());
    }
    let key = PrivateKeyDer::from_pem_slice(&file("tls.key")?);
    let key = key.with_context(|| format!("{}/tls.key", folder.display()))?;
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::clone(&authority.roots),
        Arc::clone(&provider),
    );
    // Others than the API server have tokens.
    let verifier = verifier.allow_unauthenticated().build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .context("the certificate and its key")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves for as long as it is polled.
///
/// # Errors
/// Where it cannot listen.
pub(crate) async fn serve(
    address: SocketAddr,
    certificate: &Certificate,
    app: &Arc<App>,
) -> Result<()> {
    let listener = Listener::bind(address);
    let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
    let router = grpc::routes(Arc::clone(app))
        .await?
        .into_axum_router()
        .reset_fallback()
        .merge(http::router(Arc::clone(app)));
    app.counters.ready(true);
    tracing::info!(%address, "serves");
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Descriptors may have run out: they come back.
                tracing::warn!("a connection could not be taken: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let config = certificate.config.borrow().clone();
        let authority = certificate.authority.borrow().clone();
        let (router, held) = (router.clone(), (place, app.counters.connection()));
        tokio::spawn(async move {
            // Who does not ask properly, or goes away, gets no answer.
            let _ = answer(stream, config, &authority, router).await;
            drop(held);
        });
    }
}

async fn answer(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    authority: &Authority,
    router: Router,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(PATIENCE, TlsAcceptor::from(config).accept(stream)).await??;
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates.and_then(<[_]>::first);
    let peer = Peer {
        proxy: certificate.and_then(|certificate| authority.proxy(certificate)),
    };
    let service = TowerToHyperService::new(router.layer(Extension(peer)));
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(CALLS)
        .max_header_list_size(HEADER_BYTES)
        .keep_alive_interval(Some(KEEPALIVE.0))
        .keep_alive_timeout(KEEPALIVE.1);
    let served = server.serve_connection(TokioIo::new(stream), service).await;
    served.map_err(|error| anyhow::anyhow!(error))
}
