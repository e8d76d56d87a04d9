//! The whole of it: what is watched, what is served, and until when.

use crate::{
    Args,
    app::App,
    caller::Callers,
    counters::Counters,
    hub::Addresses,
    pool::Pool,
    requestheader,
    reviews::Reviews,
    server::{self, Certificate},
};
use anyhow::{Context as _, Result, anyhow};
use fleet::{Connector, Tls};
use futures::StreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use listen::Listener;
use metrics::Served;
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

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
    let (authority, keep) = requestheader::follow(&client).await?;
    let certificate = Certificate::read(&args.tls, authority).context("--tls")?;
    let (addresses, agents) = follow_agents(&client, args);
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
    let app = App::new(
        callers,
        pool,
        addresses,
        Arc::clone(&counters),
        args.log_bytes,
    );
    tokio::select! {
        // Readers are cut off, and go on by another replica.
        _ = end.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        served = server::serve(args.listen, &certificate, &app) => served,
        () = certificate.follow() => Ok(()),
        () = keep => Err(anyhow!("the watch of the API server's certificates has ended")),
        () = agents => Err(anyhow!("the watch of agents has ended")),
        failed = serve_http(args.metrics, Served::Metrics, &counters) => failed,
        failed = serve_http(args.health, Served::Health, &counters) => failed,
    }
}

/// Where the agents are, kept as it is for as long as the task runs.
fn follow_agents(
    client: &Client,
    args: &Args,
) -> (watch::Receiver<Addresses>, impl Future<Output = ()> + use<>) {
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), &args.namespace);
    let of_agents =
        fleet::watching().labels(&format!("kubernetes.io/service-name={}", args.agents));
    let (new, newest) = watch::channel(Addresses::new());
    let keep = async move {
        let mut known: BTreeMap<String, Vec<fleet::Listed>> = BTreeMap::new();
        let mut listed = BTreeMap::new();
        let mut events = std::pin::pin!(watcher(slices, of_agents).default_backoff());
        while let Some(event) = events.next().await {
            let of = |slice: &EndpointSlice| (slice.name_any(), fleet::listed(slice));
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(slice)) => listed.extend([of(&slice)]),
                Ok(watcher::Event::InitDone) => known = std::mem::take(&mut listed),
                Ok(watcher::Event::Apply(slice)) => known.extend([of(&slice)]),
                Ok(watcher::Event::Delete(slice)) => drop(known.remove(&slice.name_any())),
                Err(error) => {
                    tracing::warn!(%error, "watch of agents failed: retrying");
                    continue;
                }
            }
            let all: Addresses = fleet::agents(known.values().flatten());
            new.send_if_modified(|before| {
                let changed = *before != all;
                *before = all;
                changed
            });
        }
    };
    (newest, keep)
}

/// Serves metrics or health, where they are wanted.
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
