//! `test`, `check`, `vm` and `package`: the list of all stages. Each command runs some of them.

use std::{fs, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    bench, check, cluster, codegen, dist, foreign, install, package, peers, process, programs,
    setup,
    stage::{self, Stage},
    suite::{self, LeftOut},
    tidy, times, toolchain, vm, workspace,
};

/// Arguments of `test`.
#[derive(clap::Args, Debug, Default)]
#[command(
    after_help = "Examples:\n  cargo xtask test\n  cargo xtask test --only kubernetes\n  cargo xtask test --only 'kernel 6.1' --only 'this kernel'"
)]
pub(crate) struct Args {
    /// Runs this stage with what it needs, and no other; repeatable
    #[arg(long, value_name = "STAGE")]
    only: Vec<String>,
    /// Lists the stages and runs none
    #[arg(long)]
    list: bool,
}

/// Stages of `check`; what they need comes with them.
const CHECKS: [&str; 6] = [
    "format",
    "tidy",
    "dependencies",
    "lint kernel side",
    "generated files",
    "unit tests",
];

/// Test programs that need a kernel and nothing else. All others are stages of their own, and do not run on the test kernels.
pub(crate) const KERNEL_TESTS: [&str; 4] = ["agent", "run", "terminal", "tracers"];

/// Stages of `setup`.
const SETUP: [&str; 11] = [
    "rust",
    "bpf-linker",
    "cargo-deny",
    "fetch buildah",
    "fetch peers",
    "fetch kernels",
    "fetch clients",
    "fetch installers",
    "fetch Kubernetes",
    "build Kubernetes",
    "make node disk",
];

/// Runs everything, or the stages that are named.
pub(crate) fn run(args: &Args) -> Result<()> {
    let stages = stages(&vm::Args::brief());
    if args.list {
        print!("{}", stage::list(&stages));
        return Ok(());
    }
    let shares = stage::shares(&stages);
    let result = stage::run_all("test", stage::chosen(stages, &args.only)?);
    println!("{}", times::report(&tracers()?, &shares));
    result
}

/// Runs the checks of a change that run no kernel program.
pub(crate) fn check() -> Result<()> {
    only("check", &CHECKS)
}

/// Fetches and builds what the other tasks need.
pub(crate) fn setup() -> Result<()> {
    println!(
        "setup: everything stays in rustup and under target/; no package is installed, apt's sources are not touched\n"
    );
    only("setup", &SETUP)
}

/// Runs the stages with these names and the stages that they need.
pub(crate) fn only(task: &str, names: &[&str]) -> Result<()> {
    of(task, vm::Args::brief(), names)
}

/// The same, with arguments for the test kernels.
pub(crate) fn of(task: &str, args: vm::Args, names: &[&str]) -> Result<()> {
    stage::run_all(task, stage::chosen(stages(&args), names)?)
}

/// Returns all stages, in the order in which they start when processors are free.
///
/// Downloads, and background builds at the lowest priority, count as no processor.
fn stages(args: &vm::Args) -> Vec<Stage> {
    let ok = |result: Result<()>| result.map(|()| "ok".to_owned());
    let mut stages = vec![
        Stage::new("rust", "the pinned Rust, by rustup", move || {
            ok(toolchain::ensure_rust())
        }),
        Stage::new("bpf-linker", "links the kernel programs", move || {
            ok(toolchain::BPF_LINKER.ensure())
        })
        .after(&["rust"])
        .cpus(2),
        Stage::new("cargo-deny", "checks the dependencies", move || {
            ok(toolchain::CARGO_DENY.ensure())
        })
        .after(&["rust"]),
        Stage::new("fetch buildah", "builds and runs images", move || {
            setup::buildah().map(|_| "ok".to_owned())
        }),
        Stage::new("format", "rustfmt", check::format).after(&["rust"]),
        Stage::new("tidy", "the rules that no compiler checks", || {
            tidy::run().map(|()| "ok".to_owned())
        }),
        Stage::new(
            "dependencies",
            "licences, sources, advisories",
            check::dependencies,
        )
        .after(&["cargo-deny"]),
        Stage::new(
            "build and lint",
            "all programs and tests, with clippy",
            programs::stage,
        )
        .after(&["bpf-linker"])
        .cpus(2),
        Stage::new(
            "generated files",
            "docs, proto, CRDs, profiles are fresh",
            codegen::check,
        )
        .after(&["build and lint"])
        .cpus(1),
        Stage::new(
            "unit tests",
            "tests without a kernel program",
            check::unit_tests,
        )
        .after(&["build and lint"])
        .cpus(1),
        Stage::new(
            "lint kernel side",
            "clippy on the kernel programs",
            check::kernel_side,
        )
        .after(&["build and lint"])
        .cpus(1),
    ];
    stages.extend(vm::stages(args));
    for suite in &ON_THIS_KERNEL {
        let stage = Stage::new(suite.name, suite.about, || on_this_kernel(suite));
        stages.push(stage.after(&["build and lint"]).cpus(1));
    }
    stages.extend([
        Stage::new("fetch clients", "grpcurl and grpcio", || {
            foreign::clients().map(|_| "ok".to_owned())
        }),
        Stage::new("fetch installers", "skopeo and krew", install::tools),
        Stage::new("fetch Kubernetes", "kubectl, Helm, etcd", || {
            cluster::components::clients()?;
            cluster::components::etcd().map(|_| "ok".to_owned())
        }),
        Stage::new("fetch peers", "bpftrace and others of Debian sid", || {
            peers::ensure().map(|_| "ok".to_owned())
        }),
        Stage::new(
            "build Kubernetes",
            "its components, by Go, in the background",
            || cluster::components::build().map(|_| "ok".to_owned()),
        ),
        Stage::new("make node disk", "Debian with kubelets' needs", || {
            cluster::node::ensure().map(|_| "ok".to_owned())
        })
        .after(&["fetch kernels"]),
        Stage::new(
            "foreign clients",
            "the agent by grpcurl and Python",
            foreign::run,
        )
        .after(&["build and lint", "fetch clients"])
        .cpus(1),
        Stage::new(
            "unit of systemd",
            "systemd-analyze on the agent's unit",
            package::unit,
        )
        .after(&["build and lint"]),
        Stage::new(
            "image",
            "the agent's image, built and queried",
            package::image,
        )
        .after(&["build and lint", "fetch buildah"])
        .cpus(1),
        Stage::new("dist", "what is installed, made twice", dist::check)
            .after(&["build and lint", "fetch buildah"])
            .cpus(1),
        Stage::new("install", "the commands of docs/install.md", install::run)
            .after(&[
                "dist",
                "fetch installers",
                "fetch Kubernetes",
                "build Kubernetes",
                "make node disk",
            ])
            .cpus(1),
        Stage::new(
            "quick benchmarks",
            "counts beside the peers, no times",
            bench::quick,
        )
        .after(&["build and lint", "fetch peers"])
        .cpus(2),
        Stage::new(
            "kubernetes",
            "controller, gateway and agents with a real API server",
            cluster::test,
        )
        .after(&[
            "build and lint",
            "fetch Kubernetes",
            "build Kubernetes",
            "fetch clients",
        ])
        .cpus(1),
        Stage::new("nodes", "two nodes with kubelets, in QEMU", cluster::nodes)
            .after(&[
                "image",
                "fetch Kubernetes",
                "build Kubernetes",
                "make node disk",
            ])
            .cpus(2),
    ]);
    stages
}

/// Modules of the agent's tests whose subject is user space, which neither a kernel nor a capability changes: many clients and
/// readers, connections, files, and the command line by an agent. The stage "this kernel" runs them, and others leave them out.
pub(crate) const USER_SPACE: [&str; 18] = [
    "attack::calls::",
    "attack::clients::",
    "attack::connections::",
    "attack::faults::a_slow_sink_",
    "attack::readers::",
    "attack::soak::",
    "attack::symbols::",
    "attack::trickle::",
    "audit::",
    "families::",
    "garbage::",
    "limits::",
    "metrics::",
    "names::a_flame_graph_of_",
    "packaged::",
    "reload::",
    "remote::",
    "tls::",
];

/// The module, in the tests of a tracer, of what only this machine's kernel has to show: which processes are selected, options and
/// storms are the same code on every kernel.
pub(crate) const HERE: &str = "::here::";

/// A stage of the tests on this machine's kernel.
struct OnThisKernel {
    name: &'static str,
    about: &'static str,
    /// Capabilities of `tracejob`; empty means all of root's.
    capabilities: &'static str,
    /// Test programs that it leaves out, and parts of the names of tests.
    left_out: (&'static [&'static str], &'static [&'static str]),
}

static ON_THIS_KERNEL: [OnThisKernel; 2] = [
    OnThisKernel {
        name: "this kernel",
        about: "the tracers and the agent, as root",
        capabilities: "",
        left_out: (&[], &[]),
    },
    OnThisKernel {
        name: "this kernel 2 caps",
        about: "the same with CAP_BPF and CAP_PERFMON alone",
        capabilities: "bpf,perfmon",
        left_out: (&["terminal"], &USER_SPACE),
    },
];

fn on_this_kernel(stage: &OnThisKernel) -> Result<String> {
    require_root()?;
    let &OnThisKernel {
        name,
        about,
        capabilities,
        left_out: (programs, tests),
    } = stage;
    let left_out = LeftOut {
        programs: programs.to_vec(),
        tests: tests.to_vec(),
    };
    let programs = programs::built()?;
    let tests = KERNEL_TESTS
        .iter()
        .filter(|test| !left_out.programs.contains(test));
    let tests: Vec<_> = tests
        .map(|test| programs.test(test))
        .collect::<Result<_>>()?;
    let tracejob = programs.file("tracejob")?;
    let counts = suite::run(name, about, &tests, |command| {
        command.args(left_out.tests.iter().flat_map(|module| ["--skip", module]));
        // They mostly wait: for processes, for timers, and for the kernel to detach programs.
        suite::harness(command, 6);
        command.env("TRACEJOB_BIN", tracejob);
        match capabilities {
            "" => command.env_remove("TRACEJOB_TEST_CAPS"),
            names => command.env("TRACEJOB_TEST_CAPS", names),
        };
    })?;
    let description = left_out.description("cargo xtask vm");
    Ok([counts]
        .into_iter()
        .chain(description)
        .collect::<Vec<_>>()
        .join("; "))
}

/// The names of all tracers.
fn tracers() -> Result<Vec<String>> {
    let folder = workspace::root().join("agent-ebpf/src/bin");
    let entries = fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
    let names =
        entries.filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()));
    Ok(names.collect())
}

/// An error for any user but root.
pub(crate) fn require_root() -> Result<()> {
    if process::output(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!(
            "the tests load kernel programs, which takes root: run it with sudo, or `cargo xtask check` for all that does not"
        );
    }
    Ok(())
}
