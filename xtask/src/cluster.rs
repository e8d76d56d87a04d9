//! The test cluster: a control plane with its nodes.

pub(crate) mod components;
mod demo;
mod hand;
pub(crate) mod node;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

pub(crate) use demo::demo;

use crate::{
    foreign, images, process, programs,
    screen::{Step, table},
    setup, suite, test,
};

/// Arguments of `cluster`.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Args {
    /// Builds its programs, its nodes' disk and the images, and does nothing with them
    Build,
    /// Starts a cluster with two nodes and TraceJob in it, which stays until `down`
    Up,
    /// Ends it
    Down,
    /// Talks to it
    #[command(
        after_help = "Examples:\n  cargo xtask cluster kubectl get nodes\n  cargo xtask cluster kubectl apply -f tracejob.yaml"
    )]
    Kubectl {
        /// What kubectl takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<String>,
    },
    /// Measures controller and gateway with many nodes, whose agents are simulated, and with many jobs
    Scale {
        /// Nodes of the one job
        #[arg(long, default_value_t = 5000)]
        nodes: usize,
        /// Jobs that wait for each other
        #[arg(long, default_value_t = 2000)]
        jobs: usize,
    },
    /// Runs the tests that need nodes, on a cluster of their own or on yours
    Test {
        /// A cluster that is there, with TraceJob in it: its tests alone, and in namespaces of their own
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
        /// The image of tests/cluster/node/Containerfile, where that cluster can get it
        #[arg(long, value_name = "IMAGE", requires = "kubeconfig")]
        workload_image: Option<String>,
        /// Part of a test's name
        filter: Option<String>,
    },
}

/// Runs a command of `cargo xtask cluster`.
pub(crate) fn run(args: Args) -> Result<()> {
    match args {
        Args::Build => environment().map(drop),
        Args::Up => hand::up(),
        Args::Down => hand::down(),
        Args::Kubectl { arguments } => hand::kubectl(&arguments),
        Args::Scale { nodes, jobs } => scale(nodes, jobs),
        Args::Test {
            kubeconfig,
            workload_image,
            filter,
        } => {
            let environment = match kubeconfig {
                None => environment()?,
                Some(file) => {
                    setup::build()?;
                    let mut environment = vec![("TRACEJOB_KUBECONFIG", absolute(&file)?)];
                    environment.extend(
                        workload_image.map(|image| ("TRACEJOB_WORKLOAD_IMAGE", image.into())),
                    );
                    environment
                }
            };
            println!("{}", nodes_with(&environment, filter.as_deref())?);
            Ok(())
        }
    }
}

fn absolute(file: &Path) -> Result<PathBuf> {
    fs::canonicalize(file).with_context(|| format!("finding {}", file.display()))
}

/// The stage without nodes.
pub(crate) fn test() -> Result<String> {
    test::require_root()?;
    let environment = kubernetes_environment(programs::built()?.file("tracejob")?)?;
    suite::run(
        "kubernetes",
        "a real API server, the controller, agents and gateways",
        &[programs::built()?.test("kubernetes")?],
        |command| {
            // They mostly wait: for jobs to end, and for programs to start.
            suite::harness(command, 4);
            command
                .envs(environment.clone())
                .env_remove("TRACEJOB_TEST_CAPS");
        },
    )
}

fn kubernetes_environment(tracejob: &Path) -> Result<Vec<(&'static str, OsString)>> {
    let mut environment = foreign::clients()?;
    environment.push(("TRACEJOB_CLUSTER", control_plane()?.into()));
    environment.push(("TRACEJOB_BIN", tracejob.into()));
    Ok(environment)
}

/// Runs the tests of scale with the released controller, one by one and at full size.
fn scale(nodes: usize, jobs: usize) -> Result<()> {
    setup::build()?;
    let shipped = programs::shipped(&["agent", "cli", "controller", "gateway"])?;
    let tracejob = shipped.file("tracejob")?;
    let kubernetes = programs::built()?.test("kubernetes")?;
    let mut command = Command::new(&kubernetes.path);
    command
        .current_dir(&kubernetes.folder)
        .args(["--test-threads=1", "--show-output", "scale::"])
        .envs(kubernetes_environment(tracejob)?)
        .env("TRACEJOB_SCALE_NODES", nodes.to_string())
        .env("TRACEJOB_SCALE_JOBS", jobs.to_string())
        .env("TRACEJOB_SCALE_ROWS", "2000000");
    let step = Step::start("scale", "one job on all nodes, then all jobs; minutes");
    let (status, log) = process::logged(&step, "scale", &mut command)?;
    if !status.success() {
        step.failed();
        return Err(process::failure(&command, status, &log));
    }
    step.done("measured");
    let text = fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
    let measured = text.lines().filter_map(|line| {
        let (what, value) = line.strip_prefix("MEASURED ")?.rsplit_once(": ")?;
        Some(vec![what.to_owned(), value.to_owned()])
    });
    print!(
        "{}",
        table(&["WHAT", "HOW MUCH"], &measured.collect::<Vec<_>>())
    );
    Ok(())
}

/// The stage with nodes: the short form, which names the tests that it leaves out.
pub(crate) fn nodes() -> Result<String> {
    let mut environment = environment()?;
    environment.push(("TRACEJOB_NODES_SHORT", "1".into()));
    nodes_with(&environment, None)
}

fn nodes_with(environment: &[(&'static str, PathBuf)], filter: Option<&str>) -> Result<String> {
    test::require_root()?;
    suite::run(
        "nodes",
        "a cluster of two nodes",
        &[programs::built()?.test("nodes")?],
        |command| {
            command.args(filter);
            command.envs(environment.iter().cloned());
        },
    )
}

/// Prepares everything that a cluster with nodes requires, as the tests read it.
fn environment() -> Result<Vec<(&'static str, PathBuf)>> {
    setup::build()?;
    Ok(vec![
        ("TRACEJOB_CLUSTER", control_plane()?),
        ("TRACEJOB_NODES", node::ensure()?),
        ("TRACEJOB_QEMU", setup::qemu()?),
        ("TRACEJOB_IMAGES", images::archives()?),
    ])
}

/// The folders of all programs of Kubernetes, with `:` between them.
pub(crate) fn control_plane() -> Result<PathBuf> {
    let folders = [
        components::clients()?,
        components::etcd()?,
        components::build()?,
    ];
    Ok(std::env::join_paths(folders)?.into())
}
