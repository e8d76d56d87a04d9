//! The main function: the watches, the servers, and their end.

use crate::{
    Args, app::App, caller::Callers, counters::Counters, pool::Pool, requestheader,
    reviews::Reviews, server,
};
use anyhow::{Context as _, Result, anyhow};
use fleet::{Connector, Tls};
use listen::Listener;
use metrics::Served;
use std::{net::SocketAddr, sync::Arc};
use tokio::signal::unix::{SignalKind, signal};

pub(crate) async fn run(args: &Args) -> Result<()> {
    fleet::allow_descriptors();
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("another crypto provider is already installed: a bug"))?;
    let client = fleet::api_client().await?;
    let (mut end, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let counters = Counters::new();
    let (authority, roots, keep) = requestheader::follow(&client).await?;
    let acceptor = Arc::new(server::acceptor(&args.tls, roots).context("--tls")?);
    let (agents, agents_watch) = fleet::watch_agents(&client, &args.namespace, &args.agents);
    let connector = Connector {
        tls: Tls::Folder(args.tls.clone()),
        name: args.agent_name.clone(),
    };
    let pool = Arc::new(Pool::new(connector, Arc::clone(&counters)));
    let callers = Callers {
        client,
        counters: Arc::clone(&counters),
        reviews: Reviews::new(),
    };
    let app = App::new(callers, pool, agents, Arc::clone(&counters), args.log_bytes);
    tokio::select! {
        // Readers are disconnected, and resume at another replica.
        _ = end.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        served = server::serve(args.listen, &acceptor, &authority, &app) => served,
        () = acceptor.follow() => Ok(()),
        () = keep => Err(anyhow!("the watch of the API server's certificates has ended")),
        () = agents_watch => Err(anyhow!("the watch of agents has ended")),
        failed = serve_http(args.metrics, Served::Metrics, &counters) => failed,
        failed = serve_http(args.health, Served::Health, &counters) => failed,
    }
}

/// Serves metrics or health, if an address is configured.
async fn serve_http(
    address: Option<SocketAddr>,
    served: Served,
    counters: &Arc<Counters>,
) -> Result<()> {
    let Some(address) = address else {
        return std::future::pending().await;
    };
    let listener = Listener::bind(address)
        .with_context(|| format!("cannot listen on {address} for {}", served.word()))?;
    match metrics::over_tcp(&listener, served, Arc::clone(counters)).await {}
}
