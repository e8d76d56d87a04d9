//! `tracejob-controller`: watches TraceJobs, pods and nodes, makes the nodes' agents run the traces, and records the results in each job's
//! status. The controller never receives events.
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
mod text;
mod untraced;
mod view;
mod world;

use clap::Parser;
use std::{path::PathBuf, process::ExitCode};
use tracers::Class;

/// Runs the TraceJobs of a cluster on the agents of its nodes.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "tracejob-controller",
    version,
    about,
    subcommand_negates_reqs = true,
    after_help = "The chart `tracejob` runs it in a pod. To run it by hand against a cluster:\n  \
                  tracejob-controller --namespace tracejob-system --tls /etc/tracejob/tls --no-lease"
)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Namespace of the controller and of the agents
    #[arg(
        long,
        env = "POD_NAMESPACE",
        default_value = "",
        hide_default_value = true,
        required = true
    )]
    namespace: String,
    /// Service whose endpoints are the agents
    #[arg(long, default_value = "tracejob-agent")]
    agents: String,
    /// Folder with ca.crt, tls.crt and tls.key: the CA of the agents, and the controller's client certificate. Without it the
    /// controller issues all certificates, and stores those of the agents in a Secret
    #[arg(long)]
    tls: Option<PathBuf>,
    /// Name in the agents' certificates
    #[arg(long, default_value = "tracejob-agent")]
    agent_name: String,
    /// Service of the gateway, for which the controller issues a certificate and registers its CA with the API server
    #[arg(long, conflicts_with = "tls")]
    gateway: Option<String>,
    /// Namespaces that are not traced, in addition to the controller's own
    #[arg(long, value_delimiter = ',', default_value = "kube-system")]
    denied_namespaces: Vec<String>,
    /// Allows ClusterTraceJobs to trace whole nodes; their agents must allow it as well
    #[arg(long)]
    allow_host: bool,
    /// Classes of tracers that jobs may use: observe, payload, memory, act; agents must allow them as well
    #[arg(long, value_delimiter = ',', default_values_t = Class::DEFAULT)]
    classes: Vec<Class>,
    /// Classes of tracers that run even if the controller cannot verify that the API server checked the user's right to the tracer
    #[arg(long, value_delimiter = ',', default_values_t = [Class::Observe])]
    unchecked_classes: Vec<Class>,
    /// Maximum number of running jobs per namespace
    #[arg(long, default_value_t = 5)]
    max_jobs_per_namespace: usize,
    /// Maximum number of running jobs
    #[arg(long, default_value_t = 50)]
    max_jobs: usize,
    /// Address of /metrics, /healthz and /readyz over plain HTTP, such as `[::]:9464`
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<std::net::SocketAddr>,
    /// Address of /healthz and /readyz only, over plain HTTP for probes, such as `[::]:9465`
    #[arg(long, value_name = "ADDRESS:PORT")]
    health: Option<std::net::SocketAddr>,
    /// Runs without leader election
    #[arg(long)]
    no_lease: bool,
}

/// Other commands of the program.
#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Creates a job that traces this pod, and compares the counts with the pod's calls: `helm test`
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
            eprintln!("error: cannot start the async runtime: {error}");
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
