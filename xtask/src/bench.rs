//! `bench`: compares TraceJob with other tools on this machine, with optimized programs.
//!
//! What is measured, and how, is in `tests/bench`; here is what fetches, builds and runs it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    peers, process, programs,
    screen::{Step, print_line},
    setup, test, toolchain, workspace,
};

/// Path of the JSON report, from the root.
const JSON: &str = "target/bench.json";
/// Path of the text report.
const MARKDOWN: &str = "target/bench.md";
/// Page with the last published report, and the lines around it.
const PAGE: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- what cargo xtask bench --keep wrote -->\n";
const END: &str = "<!-- so far -->\n";

/// Arguments of `bench`.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Args {
    /// Only whether all of it runs and the counts agree: one round, programs that are not optimised, no times.
    #[arg(long)]
    quick: bool,
    /// A row by its number, repeatable; all without it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    row: Vec<u8>,
    /// Rounds of each row.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100), conflicts_with = "quick")]
    rounds: Option<u8>,
    /// Another build of tracejob, such as the last release's: it is measured in the same rounds.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["quick", "keep"])]
    beside: Option<PathBuf>,
    /// Writes the report into docs/benchmarks.md; of all rows only.
    #[arg(long, conflicts_with_all = ["quick", "row"])]
    keep: bool,
}

/// Builds and measures, for `cargo xtask bench`.
pub(crate) fn run(args: &Args) -> Result<()> {
    test::require_root()?;
    setup::build()?;
    println!("\n{}", report(args)?);
    print_line(
        "bench",
        &format!("the same is in {MARKDOWN}, and for programs in {JSON}"),
    );
    if args.keep {
        keep(&workspace::root().join(PAGE))?;
        print_line("bench", &format!("kept in {PAGE}"));
    }
    Ok(())
}

/// The stage of `test`: one round of every row with the programs of the tests, which checks the counts only.
pub(crate) fn quick() -> Result<String> {
    test::require_root()?;
    let programs = programs::built()?;
    let bench = programs.file("bench")?.to_owned();
    measure(
        &Args {
            quick: true,
            ..Args::default()
        },
        &bench,
        programs.file("tracejob")?,
    )?;
    Ok("counts agree".to_owned())
}

fn report(args: &Args) -> Result<String> {
    if args.quick {
        test::only("bench", &["quick benchmarks"])?;
        return fs::read_to_string(workspace::root().join(MARKDOWN)).context("reading the report");
    }
    let step = Step::start(
        "build",
        "tracejob, the daemon and the workload; minutes when cold",
    );
    let mut command = toolchain::cargo();
    command.args(["build", "--locked", "--release", "--bins", "--benches"]);
    for package in ["cli", "agent", "tests"] {
        command.args(["--package", package]);
    }
    command.args(["--message-format", "json-render-diagnostics"]);
    let built = programs::parse(&process::captured(&step, "build-bench", &mut command)?)?;
    step.done("built");
    measure(args, built.file("bench")?, built.file("tracejob")?)
}

fn measure(args: &Args, bench: &Path, tracejob: &Path) -> Result<String> {
    let peers = peers::ensure()?;
    let step = Step::start(
        "measure",
        "round by round; a quarter of an hour, or a minute with --quick",
    );
    // Two CPUs for all of it, which most machines have: figures of different machines can be compared.
    let mut command = Command::new("taskset");
    command.args(["-c", "0,1"]).arg(bench).arg("--bench");
    let rows: Vec<String> = args.row.iter().map(u8::to_string).collect();
    command
        .current_dir(workspace::root().join("tests"))
        .env("TRACEJOB_BIN", tracejob)
        .env("BENCH_PEERS", peers)
        .env("BENCH_ROWS", rows.join(","))
        .env("BENCH_JSON", workspace::root().join(JSON))
        .env("BENCH_MD", workspace::root().join(MARKDOWN))
        .env_remove("TRACEJOB_TEST_CAPS");
    if args.quick {
        command.env("BENCH_QUICK", "1");
    }
    if let Some(other) = &args.beside {
        let path =
            fs::canonicalize(other).with_context(|| format!("--beside {}", other.display()))?;
        command.env("BENCH_BESIDE", path);
    }
    if let Some(rounds) = args.rounds {
        command.env("BENCH_ROUNDS", rounds.to_string());
    }
    let report = process::captured(&step, "bench", &mut command)?;
    step.done("measured");
    Ok(report)
}

/// Puts the report between the page's two lines.
fn keep(page: &Path) -> Result<()> {
    let shown = page.display();
    let report = workspace::root().join(MARKDOWN);
    let report = fs::read_to_string(&report).with_context(|| format!("reading {MARKDOWN}"))?;
    let text = fs::read_to_string(page).with_context(|| format!("reading {shown}"))?;
    let parts = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        bail!("{shown} has not the two lines between which reports are kept")
    };
    let text = format!("{before}{BEGIN}\n{report}\n{END}{after}");
    fs::write(page, text).with_context(|| format!("writing {shown}"))
}
