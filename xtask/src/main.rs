//! All automation of this repository, run as `cargo xtask`.
//!
//! It builds with the Rust that a machine already has, and fetches the pinned one for everything else.
#![forbid(unsafe_code)]

mod bench;
mod check;
mod cluster;
mod codegen;
mod debian;
mod demo;
mod dist;
mod foreign;
mod fuzz;
mod go;
mod images;
mod install;
mod new_tracer;
mod package;
mod peers;
mod process;
mod programs;
mod screen;
mod setup;
mod stage;
mod suite;
mod test;
mod tidy;
mod times;
mod toolchain;
mod verdict;
mod verifier;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, checks and tests TraceJob.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Fetches what building and testing need; does nothing when it is there.
    Setup,
    /// Shows what TraceJob shows, on programs that it starts itself.
    Demo {
        /// On the cluster that `cluster up` started, as objects
        #[arg(long)]
        cluster: bool,
    },
    /// Runs everything that CI runs: the checks, the tests on this kernel and on four others.
    Test(test::Args),
    /// Runs the agent against clients that are not ours, as docs/grpc.md says; `test` does it too.
    Foreign,
    /// Checks a change without running a kernel program: format, lints, dependencies, tidy, generated files, unit tests.
    Check,
    /// A Kubernetes cluster on this machine: its control plane, and two nodes with two kernels in QEMU.
    #[command(subcommand)]
    Cluster(cluster::Args),
    /// Measures TraceJob beside its peers on this machine, on workloads of its own.
    Bench(bench::Args),
    /// Lets libFuzzer look for bytes that break a reader of foreign bytes.
    Fuzz(fuzz::Args),
    /// Checks the rules that no compiler checks.
    Tidy,
    /// Writes every generated file, or checks that they are what would be written.
    Codegen(codegen::Args),
    /// Checks what is shipped: systemd's judgement of the unit, and the agent's image, built, run and asked over gRPC.
    Package,
    /// Makes everything that is installed, for this machine's architecture, into dist/: docs/install.md.
    Dist(dist::Args),
    /// Writes the three files of a tracer and its line in the catalogue.
    NewTracer(new_tracer::Args),
    /// Records what the verifier takes to load each program, here and on the test kernels; the tests compare with it.
    Verifier,
    /// Runs the tests on Debian's kernels 5.10, 6.1, 6.12 and 7, each in QEMU.
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let result = run(Args::parse().task);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Setup => test::setup(),
        Task::Demo { cluster: false } => demo::run(),
        Task::Demo { cluster: true } => cluster::demo(),
        Task::Test(args) => test::run(&args),
        Task::Foreign => test::only("foreign", &["foreign clients"]),
        Task::Check => test::check(),
        Task::Cluster(args) => cluster::run(args),
        Task::Bench(args) => bench::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Tidy => tidy::run(),
        Task::Codegen(args) => codegen::run(&args),
        Task::Package => package::run(),
        Task::Dist(args) => dist::run(&args),
        Task::NewTracer(args) => new_tracer::run(&args),
        Task::Verifier => verifier::run(),
        Task::Vm(args) => vm::run(args),
    }
}
