//! Connections: TLS with the gateway's certificate, which may change, and the API server's, by which it is known.

use crate::{
    app::App,
    grpc, http,
    limits::{CALLS, CONNECTIONS, HEADER_BYTES, HEADER_TIME, KEEPALIVE},
    peer::Peer,
    requestheader::{Authority, Proxy},
};
use anyhow::{Context as _, Result, anyhow, bail};
use axum::{
    Extension, Router,
    body::Body,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
use http_body_util::BodyExt;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use listen::{
    Listener,
    places::{Class, Connection, Place, Places},
};
use metrics::Source as _;
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
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

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
    tracing::info!(%address, "listening");
    let places = Places::new("https", CONNECTIONS, app.counters.rejections().of("https"));
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Descriptors may have run out: they come back.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "a connection is over already");
            continue;
        }
        let config = certificate.config.borrow().clone();
        let authority = certificate.authority.borrow().clone();
        let (router, counted) = (router.clone(), app.counters.connection());
        let (stream, place) = places.connect(stream, Some(address));
        tokio::spawn(async move {
            let source = address.ip().into();
            match shake_hands(stream, config, &authority).await {
                // Who does not ask properly, or goes away, gets no answer.
                Ok((stream, proxy)) => {
                    // The API server is known by that; others show who they are by a call.
                    if proxy.is_some() && place.admit(Class::Reserved).is_err() {
                        return;
                    }
                    let peer = Peer {
                        proxy,
                        source: Some(source),
                        place: Some(place),
                    };
                    let _ = answer(stream, peer, router).await;
                }
                Err(error) => place.handshake_failed(&format!("{error:#}")),
            }
            drop(counted);
        });
    }
}

type Stream = TlsStream<Connection<TcpStream>>;

/// Returns the connection, and whether its certificate is the API server's.
async fn shake_hands(
    stream: Connection<TcpStream>,
    config: Arc<ServerConfig>,
    authority: &Authority,
) -> Result<(Stream, Option<Arc<Proxy>>)> {
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates.and_then(<[_]>::first);
    let proxy = certificate.and_then(|certificate| authority.proxy(certificate));
    Ok((stream, proxy))
}

async fn answer(stream: Stream, peer: Peer, router: Router) -> Result<()> {
    let router = router.layer(from_fn(counted)).layer(Extension(peer));
    let service = TowerToHyperService::new(router);
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(CALLS)
        .max_header_list_size(HEADER_BYTES)
        .keep_alive_interval(Some(KEEPALIVE.0))
        .keep_alive_timeout(KEEPALIVE.1);
    let served = server.serve_connection(TokioIo::new(stream), service).await;
    served.map_err(|error| anyhow!(error))
}

/// Keeps a call open in its connection's place until its answer has been sent, or nobody takes it any more.
async fn counted(Extension(peer): Extension<Peer>, request: Request, next: Next) -> Response {
    let call = peer.place.as_ref().map(Place::call);
    let response = next.run(request).await;
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _open = &call;
            frame
        }))
    })
}
