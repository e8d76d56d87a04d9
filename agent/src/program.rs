//! The program: its arguments, and the order in which it drops its rights and starts to serve.

use crate::{config, confine, loader, policy, server, socket, text};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use engine::Kernel;
use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio::signal::unix::{SignalKind, signal};
use tracers::Class;

/// Runs traces for clients over gRPC: loads small eBPF programs, streams their rows, and enforces the policy of this node.
///
/// Without flags it listens on unix:///run/tracejob/agent.sock, for root and its own user.
#[derive(Parser)]
#[command(
    name = "tracejob-agent",
    version,
    after_help = "Examples:\n  tracejob-agent\n  tracejob-agent --listen unix:///tmp/me/agent.sock\n  tracejob-agent --config /etc/tracejob/agent.yaml\n  tracejob-agent check-config /etc/tracejob/agent.yaml"
)]
struct Args {
    /// Configuration of the node: docs/agent.md
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on, instead of the configured ones: unix:///path, or https://ADDRESS:PORT; repeatable
    #[arg(long, value_name = "URL")]
    listen: Vec<String>,
    /// Injects a fault, for tests: engine/src/fault.rs
    #[arg(long, value_name = "FAULT", hide = true)]
    inject: Vec<engine::fault::Injection>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Checks a configuration and prints the resulting classes and capabilities
    CheckConfig {
        /// Configuration file
        file: PathBuf,
    },
    /// Writes the seccomp and AppArmor profiles that confine the agent on a node: docs/kubernetes.md
    WriteProfiles {
        /// Folder to write to
        folder: PathBuf,
        /// Classes of tracers that the agent allows, as in policy.classes
        #[arg(long, value_delimiter = ',', default_values_t = Class::DEFAULT)]
        classes: Vec<Class>,
    },
}

/// Runs the daemon until a signal ends it.
pub fn main() -> ExitCode {
    // Stacks are symbolized by another process of this program without privileges, which must not parse arguments.
    engine::worker_if_asked();
    let args = Args::parse();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, the error cannot be reported.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<()> {
    if let Some(Command::CheckConfig { file }) = &args.command {
        let config = config::read(file)?;
        { config.check() }
            .with_context(|| format!("invalid configuration in {}", file.display()))?;
        let kept = confine::kept_for(&config.policy.capabilities()).into_iter();
        let kept: Vec<&str> = kept.map(|(_, name)| name).collect();
        return writeln!(
            io::stdout(),
            "{}: OK\nclasses: {}\ncapabilities: {}",
            file.display(),
            policy::words(&config.policy.classes),
            kept.join(" ")
        )
        .context("cannot write to standard output");
    }
    if let Some(Command::WriteProfiles { folder, classes }) = &args.command {
        return confine::write_profiles(folder, classes);
    }
    let listen = args.listen.into_iter().map(TryInto::try_into);
    let source = config::Source {
        file: args.config,
        listen: listen
            .collect::<Result<_, _>>()
            .map_err(anyhow::Error::msg)?,
    };
    let config = source.read()?;
    log();
    engine::fault::inject(args.inject);
    let paths = paths(&config, source.file.as_deref())?;
    confine::process(&config.policy.capabilities())?;
    confine::look_for_writable(&config.proc);
    let kernel = Kernel::read()?.with_proc(&config.proc)?;
    let loader = loader::Loader::start()?;
    // This thread, and with it all that the runtime starts.
    confine::serve(&paths)?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")?
        .block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            server::serve(config, &source, kernel, loader, async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            })
            .await
        })
}

/// Returns the files of serving threads: the sockets' folders, the configuration, and certificates.
fn paths(config: &config::Config, file: Option<&Path>) -> Result<confine::Paths> {
    let mut paths = confine::Paths::default();
    if let Some(audit) = &config.audit {
        paths.write_file(audit);
    }
    for listen in &config.listen {
        if let config::Listen::Unix(path) = listen {
            paths.write.push(socket::folder(path)?.to_owned());
        }
    }
    if let Some(tls) = &config.tls {
        for file in [&tls.certificate, &tls.key, &tls.client_ca] {
            paths.read_file(file);
        }
    }
    for http in [&config.metrics, &config.health].into_iter().flatten() {
        if let config::HttpListen::Unix(path) = &http.listen {
            paths.write.push(socket::folder(path)?.to_owned());
        }
    }
    if let Some(file) = file {
        paths.read_file(file);
    }
    Ok(paths)
}

/// Text on a terminal, JSON otherwise.
fn log() {
    let builder = tracing_subscriber::fmt();
    match io::stderr().is_terminal() {
        true => builder.with_writer(io::stderr).init(),
        false => {
            let printable = || text::Printable(io::stderr());
            builder.json().with_writer(printable).init();
        }
    }
}
