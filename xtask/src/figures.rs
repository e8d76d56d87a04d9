//! `figures`: what the daemon costs and carries, measured on this machine with optimised programs.
//!
//! What is measured, and how, is in `tests/figures`; here is what builds and runs it.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{
    peers, process,
    screen::{Step, say},
    setup, toolchain, workspace,
};

/// Where the figures are, for programs, from the root.
const JSON: &str = "target/figures.json";

/// Builds and measures.
pub(crate) fn run() -> Result<()> {
    if process::output(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!("it loads kernel programs: run it with sudo");
    }
    setup::build()?;
    let peers = peers::ensure()?;
    println!("{}", peers.display());
    let step = Step::start(
        "build",
        "tracejob and the daemon, optimised; minutes when cold",
    );
    let mut command = toolchain::cargo();
    command.args(["build", "--release", "--locked", "--bins"]);
    command.args([
        "--package",
        "cli",
        "--package",
        "agent",
        "--package",
        "tests",
    ]);
    process::quietly(&step, "build-figures", &mut command)?;
    step.done("built");
    let step = Step::start("measure", "starts, idle, memory, rates: a minute or two");
    let mut command = toolchain::cargo();
    command
        .args([
            "bench",
            "--locked",
            "--package",
            "tests",
            "--bench",
            "figures",
        ])
        .env("TRACEJOB_BIN", workspace::target().join("release/tracejob"))
        .env("FIGURES_JSON", workspace::root().join(JSON))
        .env_remove("TRACEJOB_TEST_CAPS");
    let table = process::captured(&step, "figures", &mut command)?;
    step.done("measured");
    println!("\n{table}");
    say("figures", &format!("the same for programs is in {JSON}"));
    Ok(())
}
