//! Connections to the gateway: TLS, and the identification of the API server by its client certificate.

use crate::{
    app::App,
    grpc, http,
    limits::{CALLS, CONNECTIONS, HEADER_BYTES, HEADER_TIME, KEEPALIVE},
    peer::Peer,
    requestheader::{Authority, Proxy},
};
use anyhow::{Context as _, Result, anyhow};
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
    tls::{self, Acceptor, Clients, Files},
};
use metrics::Source as _;
use rustls::RootCertStore;
use std::{net::SocketAddr, path::Path, sync::Arc};
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::server::TlsStream;

/// Reads the gateway's certificate from a folder of `tls.crt` and `tls.key`. `roots` sign the API server's certificates; other clients have
/// tokens.
///
/// # Errors
/// If the folder has no usable certificate.
pub(crate) fn acceptor(
    folder: &Path,
    roots: watch::Receiver<Arc<RootCertStore>>,
) -> Result<Acceptor, tls::Error> {
    let files = Files {
        certificate: folder.join("tls.crt"),
        key: folder.join("tls.key"),
    };
    Acceptor::read(files, Clients::Optional(roots), &[b"h2", b"http/1.1"])
}

/// Serves while it is polled.
///
/// # Errors
/// If the address cannot be bound.
pub(crate) async fn serve(
    address: SocketAddr,
    acceptor: &Arc<Acceptor>,
    authority: &watch::Receiver<Authority>,
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
                listen::accept_failed(&error).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "a connection was closed before its handshake");
            continue;
        }
        let (acceptor, authority) = (Arc::clone(acceptor), authority.clone());
        let (router, counted) = (router.clone(), app.counters.connection());
        let (stream, place) = places.connect(stream, Some(address));
        tokio::spawn(async move {
            let source = address.ip().into();
            match shake_hands(stream, &acceptor, &authority).await {
                // An invalid request or a closed connection gets no response.
                Ok((stream, proxy)) => {
                    // The certificate authenticates the API server; other clients are authenticated by their calls.
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

/// Performs the TLS handshake. Returns the connection, and the headers of the API server if the client is the API server.
async fn shake_hands(
    stream: Connection<TcpStream>,
    acceptor: &Acceptor,
    authority: &watch::Receiver<Authority>,
) -> Result<(Stream, Option<Arc<Proxy>>)> {
    let (stream, certificate) = acceptor.accept(stream).await?;
    let authority = authority.borrow();
    let proxy = certificate.and_then(|certificate| authority.proxy(&certificate));
    drop(authority);
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

/// Counts a call as open until its response has been sent, or the client disconnects.
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
