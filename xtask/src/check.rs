//! `check`: all that can be said of a change without running a kernel program, fast.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{
    codegen, process,
    screen::{Step, say},
    setup,
    stage::{self, Stage},
    tidy,
    toolchain::{self, CARGO_DENY},
    vm::verdict,
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

/// Runs Rust tests through cargo; tells their count, and by name those that failed or were skipped.
pub(crate) fn rust_tests(name: &str, why: &str, command: &mut Command) -> Result<String> {
    // A backtrace of a failed assertion is longer than all that it tells.
    command.env_remove("RUST_BACKTRACE");
    let step = Step::start(name, why);
    let (status, log) = process::logged(&step, &name.replace([' ', ','], "-"), command)?;
    let verdict = verdict::read(&String::from_utf8_lossy(
        &std::fs::read(&log).unwrap_or_default(),
    ));
    let skipped = verdict.skipped.len();
    let mut result = format!("{} passed", verdict.passed);
    if skipped > 0 {
        result += &format!(", {skipped} skipped");
    }
    if status.success() {
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
    for failed in &verdict.failed {
        say("", &format!("failed {}", verdict.told(failed)));
    }
    if status.success() {
        return Ok(result);
    }
    if verdict.failed.is_empty() {
        return Err(process::failure(command, status, &log));
    }
    bail!(
        "{} tests failed; their output is in {}",
        verdict.failed.len(),
        workspace::short(&log)
    )
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
