//! Checks of a change without kernel programs: format, dependencies, lints of the kernel side, unit tests.

#[path = "../../engine/build/flags.rs"]
mod flags;

use std::process::Command;

use anyhow::Result;

use crate::{process, programs, screen::Step, suite, toolchain, workspace};

/// Checks the format of every file.
pub(crate) fn format() -> Result<String> {
    quiet(
        "format",
        "compares with rustfmt; `cargo fmt` makes it so",
        toolchain::cargo().args(["fmt", "--all", "--", "--check"]),
    )
}

/// Checks licenses, sources and bans of deny.toml, and known advisories if their database can be fetched.
pub(crate) fn dependencies() -> Result<String> {
    let deny = |what: &[&str]| {
        let mut command = toolchain::cargo();
        command.args(["deny", "--all-features", "--locked", "check"]);
        command.args(what);
        command
    };
    quiet(
        "dependencies",
        "licences, sources and bans of deny.toml",
        &mut deny(&["bans", "licenses", "sources"]),
    )?;
    let step = Step::start("advisories", "known vulnerabilities of the dependencies");
    let mut command = deny(&["advisories"]);
    let (status, log) = process::logged(&step, "advisories", &mut command)?;
    if status.success() {
        step.done("none");
        return Ok("ok".to_owned());
    }
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    if text.contains("failed to fetch advisory database") {
        // Not every machine reaches it, and the code is no worse for it.
        step.done("NOT CHECKED: the advisory database cannot be fetched from here");
        return Ok(
            "ok; advisories NOT CHECKED: their database cannot be fetched from here".to_owned(),
        );
    }
    step.failed();
    Err(process::failure(&command, status, &log))
}

/// Clippy on the kernel programs; everything else is linted as it is built.
pub(crate) fn kernel_side() -> Result<String> {
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
    // The folder of engine/build.rs, which contains the built dependencies.
    let folder = workspace::target().join("bpf");
    flags::for_the_kernel(&mut command, &folder, std::env::consts::ARCH);
    command.args(["--", "-D", "warnings"]);
    quiet(
        "lint kernel side",
        "clippy on the kernel programs",
        &mut command,
    )
}

/// Tests that need no kernel program.
pub(crate) fn unit_tests() -> Result<String> {
    let programs = programs::built()?.unit_tests();
    // The tests of the macros are linked with the compiler, which has its libraries in both folders.
    let libraries = process::output(toolchain::rustc().args(["--print", "target-libdir"]))?;
    let sysroot = process::output(toolchain::rustc().args(["--print", "sysroot"]))?;
    let libraries = format!("{}:{}/lib", libraries.trim(), sysroot.trim());
    suite::run(
        "unit tests",
        "tests without a kernel program",
        &programs,
        |command| {
            // Some wait for what takes too long.
            suite::harness(command, 4);
            command.env("LD_LIBRARY_PATH", &libraries);
        },
    )
}

fn quiet(name: &str, why: &str, command: &mut Command) -> Result<String> {
    let step = Step::start(name, why);
    let result = process::quietly(&step, &name.replace(' ', "-"), command);
    match result {
        Ok(()) => step.done("ok"),
        Err(error) => {
            step.failed();
            return Err(error);
        }
    }
    Ok("ok".to_owned())
}
