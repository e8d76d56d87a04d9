//! `fuzz`: runs libFuzzer on each parser of foreign bytes, one target after the other.
//!
//! With the pinned Rust: the instrumentation is LLVM's, and takes no nightly. libFuzzer itself is C++, which its crate compiles.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    process,
    screen::{Step, print_line},
    setup, toolchain, workspace,
};

/// Arguments of `fuzz`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The target, a folder of fuzz/corpus; without, all.
    target: Option<String>,
    /// How long each is looked at.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Flags of cargo-fuzz, without its sanitizers: this project's crates have no unsafe code for them to check.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
];

/// Fuzzes the targets.
pub(crate) fn run(args: &Args) -> Result<()> {
    let corpus = workspace::root().join("fuzz/corpus");
    let mut targets = folders(&corpus)?;
    if let Some(wanted) = &args.target {
        if !targets.contains(wanted) {
            bail!(
                "no target is called {wanted}; there are {}",
                targets.join(", ")
            );
        }
        targets.retain(|target| target == wanted);
    }
    setup::build()?;
    if workspace::find_program("c++").is_none() {
        bail!("no C++ compiler (c++) is here, and libFuzzer is C++: install g++");
    }
    let program = build()?;
    for target in &targets {
        look_at(&program, &corpus.join(target), target, args.seconds)?;
    }
    print_line(
        "fuzz",
        "nothing was found; what was interesting is in target/fuzz/corpus",
    );
    Ok(())
}

fn folders(corpus: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(corpus).with_context(|| format!("listing {}", corpus.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

fn build() -> Result<PathBuf> {
    let step = Step::start(
        "build the targets",
        "with the instrumentation of libFuzzer; minutes when cold",
    );
    let machine = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let folder = workspace::target().join("fuzz");
    // A separate workspace, with the versions of this one.
    let root = workspace::root();
    let harness = root.join("fuzz/libfuzzer");
    fs::copy(root.join("Cargo.lock"), harness.join("Cargo.lock")).context("copying Cargo.lock")?;
    let mut command = toolchain::cargo();
    command
        .args(["build", "--release", "--manifest-path"])
        .arg(harness.join("Cargo.toml"))
        // Named, so that build scripts and macros are not instrumented.
        .args(["--target", &machine, "--target-dir"])
        .arg(&folder)
        .env("RUSTFLAGS", FLAGS.join(" "));
    process::quietly(&step, "build-fuzz", &mut command)?;
    step.done("built");
    Ok(folder.join(machine).join("release/target"))
}

fn look_at(program: &Path, seeds: &Path, target: &str, seconds: u64) -> Result<()> {
    let step = Step::start(target, &format!("{seconds} s of libFuzzer"));
    let folder = workspace::target().join("fuzz");
    let grown = folder.join("corpus").join(target);
    let found = folder.join("found").join(target);
    for folder in [&grown, &found] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let mut command = Command::new(program);
    command
        .env("TRACEJOB_FUZZ", target)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        // A corpus stays small; a reader that takes seconds for so little is broken too.
        .args([
            "-max_len=4096",
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
        ])
        // What is new goes into the first.
        .args([&grown, &seeds.to_owned()]);
    let (status, log) = process::logged(&step, &format!("fuzz-{target}"), &mut command)?;
    if !status.success() {
        step.failed();
        return Err(process::failure(&command, status, &log));
    }
    let text = fs::read_to_string(&log).unwrap_or_default();
    step.done(&format!(
        "{} runs, nothing found",
        runs(&text).unwrap_or("?")
    ));
    Ok(())
}

/// libFuzzer's own count.
fn runs(log: &str) -> Option<&str> {
    log.lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libfuzzers_count_is_read() {
        let log = "Done 12 runs in 1 second(s)\nstat::number_of_executed_units: 12\nstat::peak_rss_mb: 60\n";
        assert_eq!(runs(log), Some("12"));
        assert_eq!(runs("nothing"), None);
    }
}
