//! `test`: everything, as CI runs it: the checks, the tests on this kernel, and on the four test kernels.

use anyhow::{Result, bail};

use crate::{
    bench, check, cluster, foreign, package, process,
    screen::Step,
    setup,
    stage::{self, Stage},
    toolchain::{self, CARGO_DENY},
    vm, workspace,
};

/// What `test` is asked.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Args {
    /// Only on this kernel: leaves out the test kernels.
    #[arg(long)]
    no_vm: bool,
}

/// Packages of programs that tests start, and of those that generate code.
const PROGRAMS: [&str; 6] = ["cli", "agent", "controller", "gateway", "crd", "proto"];

/// Test programs that need a kernel and nothing else. All others are stages of their own, and nothing for a test kernel.
pub(crate) const KERNEL_TESTS: [&str; 4] = ["agent", "run", "terminal", "tracers"];

/// Runs everything; an error if any of it failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::build()?;
    CARGO_DENY.ensure()?;
    setup::tests()?;
    if !args.no_vm {
        setup::vm()?;
    }
    let mut stages = check::stages();
    stages.push(Stage::new("build tracejob", build));
    stages.push(Stage::new("unit of systemd", package::unit));
    stages.push(Stage::new("image", package::image));
    for suite in &vm::SUITES {
        stages.push(Stage::new(suite.native, move || on_this_kernel(suite)));
    }
    stages.push(Stage::new("foreign clients", foreign::run));
    stages.push(Stage::new("kubernetes", cluster::test));
    stages.push(Stage::new("benchmarks, quick", bench::quick));
    stages.push(Stage::new("nodes", cluster::nodes));
    if !args.no_vm {
        stages.push(Stage::new("test kernels", || vm::run(&vm::Args::brief())));
    }
    stage::run_all("test", stages)
}

/// Builds what the tests start.
pub(crate) fn build() -> Result<String> {
    let step = Step::start(
        "build tracejob",
        "the programs that the tests start, and that generate code",
    );
    process::quietly(
        &step,
        "build-tracejob",
        toolchain::cargo()
            .args(["build", "--locked", "--bins", "--examples"])
            .args(PROGRAMS.map(|package| format!("--package={package}"))),
    )?;
    step.done("built");
    Ok("ok".to_owned())
}

fn on_this_kernel(suite: &vm::Suite) -> Result<String> {
    require_root()?;
    let mut command = toolchain::cargo();
    command.args(["test", "--locked", "--package", "tests", "--no-fail-fast"]);
    command.args(KERNEL_TESTS.map(|name| format!("--test={name}")));
    command.args(["--", "--show-output"]);
    command
        .env("TRACEJOB_BIN", workspace::target().join("debug/tracejob"))
        .env_remove("TRACEJOB_TEST_CAPS");
    if !suite.capabilities.is_empty() {
        command.env("TRACEJOB_TEST_CAPS", suite.capabilities);
    }
    check::rust_tests(
        suite.native,
        "the tracers on this machine's kernel",
        &mut command,
    )
}

/// An error for anybody but root.
pub(crate) fn require_root() -> Result<()> {
    if process::output(std::process::Command::new("id").arg("-u"))?.trim() != "0" {
        bail!(
            "the tests load kernel programs, which takes root: run it with sudo, or `cargo xtask check` for all that does not"
        );
    }
    Ok(())
}
