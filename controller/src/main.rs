//! `tracejob-controller`: watches TraceJobs, pods and nodes, has the nodes' agents run what is wanted, and says in each job's status
//! what came of it. It never sees an event.
#![forbid(unsafe_code)]

mod admission;
mod agents;
mod certificates;
mod check;
mod counters;
mod filter;
mod lead;
mod outcome;
mod plan;
mod present;
mod queue;
mod reconcile;
mod run;
mod status;
mod untraced;
mod view;
mod world;

use clap::Parser;
use std::{path::PathBuf, process::ExitCode};
use tracers::Class;

/// Makes TraceJobs of a cluster into traces of its nodes.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "tracejob-controller",
    version,
    about,
    subcommand_negates_reqs = true,
    after_help = "It runs in a pod of the chart `tracejob`. By hand, against a cluster of your own:\n  \
                  tracejob-controller --namespace tracejob-system --tls /etc/tracejob/tls --no-lease"
)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The namespace that it and the agents are in
    #[arg(
        long,
        env = "POD_NAMESPACE",
        default_value = "",
        hide_default_value = true,
        required = true
    )]
    namespace: String,
    /// The service whose endpoints are the agents
    #[arg(long, default_value = "tracejob-agent")]
    agents: String,
    /// The folder of ca.crt, tls.crt and tls.key: who signs the agents' certificates, and what they know it by. Without it the
    /// controller makes them all, and keeps the agents' in a Secret
    #[arg(long)]
    tls: Option<PathBuf>,
    /// The name in the agents' certificates
    #[arg(long, default_value = "tracejob-agent")]
    agent_name: String,
    /// The gateway's service, whose certificate it makes too, and vouches for to the API server
    #[arg(long, conflicts_with = "tls")]
    gateway: Option<String>,
    /// Namespaces whose pods are not traced, beside its own
    #[arg(long, value_delimiter = ',', default_value = "kube-system")]
    denied_namespaces: Vec<String>,
    /// Lets ClusterTraceJobs trace whole nodes, where their agents allow it too
    #[arg(long)]
    allow_host: bool,
    /// Classes of tracers whose jobs run, where their agents allow them too: observe, payload, memory, act
    #[arg(long, value_delimiter = ',', default_values_t = Class::DEFAULT)]
    classes: Vec<Class>,
    /// Classes whose jobs run although the controller cannot see that the API server has checked who may use their tracer
    #[arg(long, value_delimiter = ',', default_values_t = [Class::Observe])]
    unchecked_classes: Vec<Class>,
    /// Jobs of a namespace that run at the same time
    #[arg(long, default_value_t = 5)]
    max_jobs_per_namespace: usize,
    /// Jobs that run at the same time
    #[arg(long, default_value_t = 50)]
    max_jobs: usize,
    /// Where /metrics, /healthz and /readyz are served over plain HTTP, such as `[::]:9464`
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<std::net::SocketAddr>,
    /// Where /healthz and /readyz alone are served over plain HTTP, for probes, such as `[::]:9465`
    #[arg(long, value_name = "ADDRESS:PORT")]
    health: Option<std::net::SocketAddr>,
    /// Runs without asking whether another one does
    #[arg(long)]
    no_lease: bool,
}

/// What it does instead.
#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Has this pod traced by a job, and compares what is told with what it did: `helm test`
    Check(check::Pod),
}

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::INFO)
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = match &args.command {
        Some(Command::Check(pod)) => runtime.block_on(run::check(pod)),
        None => runtime.block_on(run::run(args)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
