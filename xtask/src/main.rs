//! The automation of this repository, run as `cargo xtask`.
//!
//! xtask is built with the machine's own Rust, and fetches the pinned toolchain for everything else.
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
    /// Fetches the files that builds and tests require, if they are missing.
    Setup,
    /// Runs traces of sample programs, and shows their output.
    Demo {
        /// On the cluster that `cluster up` started, as objects
        #[arg(long)]
        cluster: bool,
    },
    /// Runs everything that CI runs: the checks, the tests on this kernel and on four others.
    Test(test::Args),
    /// Tests the agent with clients of other projects (docs/grpc.md); included in `test`.
    Foreign,
    /// Checks a change without running a kernel program: format, lints, dependencies, tidy, generated files, unit tests.
    Check,
    /// Manages a Kubernetes cluster on this machine: a control plane, and two nodes with two kernels in QEMU.
    #[command(subcommand)]
    Cluster(cluster::Args),
    /// Compares TraceJob with other tools on this machine, with its own workloads.
    Bench(bench::Args),
    /// Fuzzes the parsers of foreign bytes with libFuzzer.
    Fuzz(fuzz::Args),
    /// Checks the rules that no compiler checks.
    Tidy,
    /// Writes every generated file, or checks that the committed files are up to date.
    Codegen(codegen::Args),
    /// Checks released files: the systemd unit, and the agent's image, which is built, run and queried over gRPC.
    Package,
    /// Builds all installable files into dist/, for this machine's architecture (docs/install.md).
    Dist(dist::Args),
    /// Writes the three files of a tracer and its line in the catalogue.
    NewTracer(new_tracer::Args),
    /// Records the verifier's cost of each program, here and on the test kernels; the tests compare with it.
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
