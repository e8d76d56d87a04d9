//! `tracejob-gateway`: merges the rows of a TraceJob from all its nodes into one authenticated stream for each reader.
//!
//! The gateway only reads: the controller decides the targets, and RBAC the readers.
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

/// Merges the rows of TraceJobs from all their nodes, and streams them to readers that RBAC allows.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "tracejob-gateway",
    version,
    about,
    after_help = "The chart `tracejob` runs it in pods, behind the API server:\n  \
                  kubectl get --raw /apis/subresources.tracejob.dev/v1alpha1/watch/namespaces/shop/tracejobs/checkout-db/events"
)]
struct Args {
    /// Namespace of the gateway and of the agents
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// Service whose endpoints are the agents
    #[arg(long, default_value = "tracejob-agent")]
    agents: String,
    /// Name in the agents' certificates
    #[arg(long, default_value = "tracejob-agent")]
    agent_name: String,
    /// Folder with `ca.crt`, `tls.crt` and `tls.key`: the gateway's identity for clients and agents
    #[arg(long)]
    tls: PathBuf,
    /// Address to listen on; `[::]` is every address, including IPv4
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:8443")]
    listen: SocketAddr,
    /// Bytes of rows to keep for each job, which limits how far a reader may fall behind. All jobs together keep 16 times that
    #[arg(long, default_value_t = 32 << 20)]
    log_bytes: usize,
    /// Address of /metrics, /healthz and /readyz over plain HTTP, such as `[::]:9464`
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// Address of /healthz and /readyz only, over plain HTTP for probes, such as `[::]:9465`
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
