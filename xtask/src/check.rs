//! `check`: all that can be said of a change without running a kernel program, fast.

use std::{
    path::PathBuf,
    process::{Command, ExitStatus},
};

use anyhow::{Result, bail};

use crate::{
    codegen, process,
    screen::{Step, say},
    setup,
    stage::{self, Stage},
    tidy,
    toolchain::{self, CARGO_DENY},
    vm::verdict::{self, Verdict},
    workspace,
};

/// Runs every check.
pub(crate) fn run() -> Result<()> {
    setup::build()?;
    CARGO_DENY.ensure()?;
    stage::run_all("check", stages())
}

/// The checks, quickest first.
pub(crate) fn stages() -> Vec<Stage> {
    vec![
        Stage::new("format", format),
        Stage::new("tidy", || tidy::run().map(|()| "ok".to_owned())),
        Stage::new("dependencies", dependencies),
        Stage::new("clippy", clippy),
        Stage::new("clippy, kernel side", clippy_ebpf),
        Stage::new("generated files", || {
            codegen::generate(true).map(|()| "ok".to_owned())
        }),
        Stage::new("unit tests", unit_tests),
    ]
}

fn format() -> Result<String> {
    quiet(
        "format",
        "is everything as rustfmt writes it? `cargo fmt` makes it so",
        toolchain::cargo().args(["fmt", "--all", "--", "--check"]),
    )
}

fn dependencies() -> Result<String> {
    quiet(
        "dependencies",
        "licences, sources and bans of deny.toml",
        toolchain::cargo().args([
            "deny",
            "--all-features",
            "--locked",
            "check",
            "bans",
            "licenses",
            "sources",
        ]),
    )?;
    let step = Step::start("advisories", "known holes in the dependencies");
    let mut command = toolchain::cargo();
    let (status, log) = process::logged(
        &step,
        "advisories",
        command.args(["deny", "--all-features", "--locked", "check", "advisories"]),
    )?;
    if status.success() {
        step.done("none");
        return Ok("ok".to_owned());
    }
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    if text.contains("failed to fetch advisory database") {
        // Not every machine reaches it, and the code is no worse for it.
        step.done("NOT LOOKED AT: the advisory database cannot be fetched from here");
        return Ok("ok, but for advisories: the database cannot be fetched from here".to_owned());
    }
    step.failed();
    Err(process::failure(&command, status, &log))
}

fn clippy() -> Result<String> {
    quiet(
        "clippy",
        "the compiler's and clippy's lints, as errors",
        toolchain::cargo().args([
            "clippy",
            "--workspace",
            "--exclude",
            "agent-ebpf",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]),
    )
}

fn clippy_ebpf() -> Result<String> {
    let mut command = toolchain::cargo();
    command.args([
        "clippy",
        "--package",
        "agent-ebpf",
        "--bins",
        "--lib",
        "--release",
        "--locked",
    ]);
    command.args(["-Z", "build-std=core", "--target", "bpfel-unknown-none"]);
    // The folder of agent/build.rs, whose dependencies are built already.
    command
        .arg("--target-dir")
        .arg(workspace::target().join("bpf"))
        .args(["--", "-D", "warnings"]);
    kernel_side(&mut command);
    quiet(
        "clippy, kernel side",
        "the same for the kernel programs",
        &mut command,
    )
}

/// What compiling for the kernel takes, as agent/build.rs sets it.
fn kernel_side(command: &mut Command) {
    let arch = std::env::consts::ARCH;
    command.env("RUSTC_BOOTSTRAP", "1");
    command.env(
        "RUSTFLAGS",
        format!(
            "-C link-arg=--btf -C debuginfo=2 -A linker_messages --cfg bpf_target_arch=\"{arch}\""
        ),
    );
}

fn unit_tests() -> Result<String> {
    let mut command = toolchain::cargo();
    command.args([
        "test",
        "--workspace",
        "--exclude",
        "agent-ebpf",
        "--exclude",
        "tests",
        "--locked",
        "--no-fail-fast",
    ]);
    rust_tests("unit tests", "what needs no kernel program", &mut command)
}

/// Runs Rust tests through cargo, whose arguments may end in some for the test programs; tells their count, and by name those that failed or were skipped.
///
/// A test that fails runs once more by itself, where no more than a few did: a machine that also does other work is told apart from what is wrong, and both are told.
pub(crate) fn rust_tests(name: &str, why: &str, command: &mut Command) -> Result<String> {
    // A backtrace of a failed assertion is longer than all that it tells.
    command.env_remove("RUST_BACKTRACE");
    let step = Step::start(name, why);
    let log = name.replace([' ', ','], "-");
    let (status, log_file, mut verdict) = tests(&step, &log, command)?;
    let unknown = !status.success() && verdict.failed.is_empty();
    // Some programs do it themselves, where starting anew is what takes long.
    let was_again = std::mem::take(&mut verdict.second);
    let (again_wrong, wrong): (Vec<String>, Vec<String>) = verdict
        .failed
        .iter()
        .cloned()
        .partition(|test| was_again.contains(test));
    verdict.second = was_again
        .into_iter()
        .filter(|test| !again_wrong.contains(test))
        .collect();
    if wrong.len() <= verdict::TRIES {
        for (number, test) in wrong.iter().enumerate() {
            let mut again = again(command, test);
            let (_, _, second) = tests(&step, &format!("{log}-again-{number}"), &mut again)?;
            if second.failed.is_empty() && second.passed == 1 {
                verdict.failed.retain(|failed| failed != test);
                verdict.second.push(test.clone());
                verdict.passed += 1;
            }
        }
    }
    let skipped = verdict.skipped.len();
    let mut result = format!("{} passed", verdict.passed);
    if !verdict.second.is_empty() {
        result += &format!(" ({} when run again)", verdict.second.len());
    }
    if skipped > 0 {
        result += &format!(", {skipped} skipped");
    }
    let is_well = verdict.failed.is_empty() && !unknown;
    if is_well {
        step.done(&result);
    } else {
        step.failed();
    }
    for skip in &verdict.skipped {
        say("", &format!("skipped {}: {}", skip.test, skip.reason));
    }
    for test in &verdict.second {
        say(
            "",
            &format!("right only when it ran again {}", verdict.told(test)),
        );
    }
    if is_well {
        return Ok(result);
    }
    if unknown {
        return Err(process::failure(command, status, &log_file));
    }
    let told: Vec<String> = verdict
        .failed
        .iter()
        .map(|test| format!("\n    {}", verdict.told(test)))
        .collect();
    bail!(
        "{} tests failed; their output is in {}{}",
        told.len(),
        workspace::short(&log_file),
        told.concat()
    )
}

fn tests(step: &Step, log: &str, command: &mut Command) -> Result<(ExitStatus, PathBuf, Verdict)> {
    let (status, log) = process::logged(step, log, command)?;
    let output = std::fs::read(&log).unwrap_or_default();
    let verdict = verdict::read(&String::from_utf8_lossy(&output));
    Ok((status, log, verdict))
}

/// The same tests, but only this one of them.
fn again(command: &Command, test: &str) -> Command {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args());
    if !command.get_args().any(|argument| argument == "--") {
        again.arg("--");
    }
    again.args(["--exact", test]);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => again.env(name, value),
            None => again.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        again.current_dir(folder);
    }
    again
}

fn quiet(name: &str, why: &str, command: &mut Command) -> Result<String> {
    let step = Step::start(name, why);
    let result = process::quietly(&step, &name.replace([' ', ','], "-"), command);
    match result {
        Ok(()) => step.done("ok"),
        Err(error) => {
            step.failed();
            return Err(error);
        }
    }
    Ok("ok".to_owned())
}
