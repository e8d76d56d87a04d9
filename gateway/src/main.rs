//! `tracejob-gateway`: what a TraceJob sees on all its nodes, as one authenticated stream for each reader.
//!
//! It reads, and decides nothing: what is traced the controller says, and who may read RBAC.
#![forbid(unsafe_code)]

mod app;
mod caller;
mod counters;
mod encode;
mod grpc;
mod http;
mod hub;
mod job;
mod limits;
mod merge;
mod peer;
mod pool;
mod position;
mod reader;
mod refused;
mod requestheader;
mod reviews;
mod run;
mod server;
mod shares;
mod survey;
mod table;

use clap::Parser;
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

/// Merges what TraceJobs see on all their nodes, and gives it to whom RBAC lets read it.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "tracejob-gateway",
    version,
    about,
    after_help = "It runs in pods of the chart `tracejob`, behind the API server:\n  \
                  kubectl get --raw /apis/subresources.tracejob.dev/v1alpha1/watch/namespaces/shop/tracejobs/checkout-db/events"
)]
struct Args {
    /// The namespace that it and the agents are in
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// The service whose endpoints are the agents
    #[arg(long, default_value = "tracejob-agent")]
    agents: String,
    /// The name in every agent's certificate
    #[arg(long, default_value = "tracejob-agent")]
    agent_name: String,
    /// A folder of `ca.crt`, `tls.crt` and `tls.key`: who it is, to clients and agents alike
    #[arg(long)]
    tls: PathBuf,
    /// Where it serves; `[::]` is every address, of IPv4 too
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:8443")]
    listen: SocketAddr,
    /// Bytes of rows that are kept of each job that is read: so far behind a reader may be. All jobs together keep 16 times that
    #[arg(long, default_value_t = 32 << 20)]
    log_bytes: usize,
    /// Where /metrics, /healthz and /readyz are served over plain HTTP, such as `[::]:9464`
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// Where /healthz and /readyz alone are served over plain HTTP, for probes, such as `[::]:9465`
    #[arg(long, value_name = "ADDRESS:PORT")]
    health: Option<SocketAddr>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: starting the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run::run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
