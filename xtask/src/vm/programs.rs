//! What runs inside a test kernel, built without a shared library: `tracejob` and the test programs.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{process, screen::Step, test::KERNEL_TESTS, toolchain, workspace};

/// The machine that the test kernels are for.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Static programs, where cargo put them.
#[derive(Debug)]
pub(crate) struct Programs {
    /// What is under test: `tracejob` and `tracejob-agent`.
    pub(crate) ours: Vec<PathBuf>,
    /// Test programs, each with the name of its target.
    pub(crate) tests: Vec<(PathBuf, String)>,
    /// Other programs of the tests' package, which the tests start.
    pub(crate) others: Vec<PathBuf>,
    /// The tests' package, where cargo would run them.
    pub(crate) folder: PathBuf,
}

/// Builds them; warm it takes a second.
pub(crate) fn build() -> Result<Programs> {
    let step = Step::start(
        "static programs",
        "building tracejob and the tests for the test kernels; minutes when cold",
    );
    let built = cargo_json(
        &step,
        &["build", "--package", "cli", "--package", "agent", "--bins"],
    )?;
    let ours: Vec<PathBuf> = executables(&built)?
        .into_iter()
        .map(|built| built.path)
        .collect();
    for name in ["tracejob", "tracejob-agent"] {
        if !ours.iter().any(|path| path.ends_with(name)) {
            bail!("cargo built no program `{name}`");
        }
    }
    let built = executables(&cargo_json(
        &step,
        &["test", "--package", "tests", "--no-run"],
    )?)?;
    let (tests, others): (Vec<_>, Vec<_>) = built.into_iter().partition(|built| built.is_test);
    if tests.is_empty() {
        bail!("the package `tests` has no test program");
    }
    let mut tests: Vec<_> = tests
        .into_iter()
        .map(|built| (built.path, built.name))
        .collect();
    tests.retain(|(_, name)| KERNEL_TESTS.contains(&name.as_str()));
    // Cargo names them in the order in which it happened to build them.
    tests.sort_by(|one, other| one.1.cmp(&other.1));
    step.done(&format!(
        "built: tracejob and {} test programs",
        tests.len()
    ));
    let others = others.into_iter().map(|built| built.path).collect();
    Ok(Programs {
        ours,
        tests,
        others,
        folder: workspace::root().join("tests"),
    })
}

/// A program as it is shipped in an image.
pub(crate) fn shipped(package: &str, name: &str) -> Result<PathBuf> {
    let step = Step::start(
        &format!("static {package}"),
        "building it; minutes when cold",
    );
    let built = cargo_json(&step, &["build", "--package", package, "--bin", name])?;
    let built = executables(&built)?.into_iter().map(|built| built.path);
    let program = built.into_iter().find(|path| path.ends_with(name));
    let program = program.with_context(|| format!("cargo built no program `{name}`"))?;
    step.done("built");
    Ok(program)
}

fn cargo_json(step: &Step, args: &[&str]) -> Result<String> {
    let mut command = toolchain::cargo();
    command.args(args).args([
        "--release",
        "--target",
        TARGET,
        "--message-format",
        "json-render-diagnostics",
    ]);
    // Its own folder: other flags than the workspace's builds, which would throw each other's results away.
    command
        .arg("--target-dir")
        .arg(workspace::target().join("static"));
    command.env("RUSTFLAGS", "-C target-feature=+crt-static");
    // Three quarters of each program: a test kernel's memory has all of them twice, as it came and unpacked. Names of functions stay.
    command.env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    process::captured(step, "static-programs", &mut command)
}

/// A program that cargo says it built.
#[derive(Debug, PartialEq, Eq)]
struct Built {
    name: String,
    path: PathBuf,
    is_test: bool,
}

/// The programs in cargo's JSON messages.
fn executables(messages: &str) -> Result<Vec<Built>> {
    let mut built = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Value = serde_json::from_str(line).context("reading cargo's messages")?;
        if let (Some(path), Some(name)) = (
            message["executable"].as_str(),
            message["target"]["name"].as_str(),
        ) {
            // A library's unit tests and an integration test may have the same name.
            let kind = message["target"]["kind"][0].as_str().unwrap_or_default();
            let is_test = message["profile"]["test"].as_bool().unwrap_or_default();
            let name = if is_test && kind != "test" {
                format!("{name}-{kind}")
            } else {
                name.to_owned()
            };
            built.push(Built {
                name,
                path: PathBuf::from(path),
                is_test,
            });
        }
    }
    Ok(built)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_found_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"tests","kind":["lib"]},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","target":{"name":"tests","kind":["lib"]},"profile":{"test":true},"executable":"/t/tests-1"}
{"reason":"compiler-artifact","target":{"name":"tracers","kind":["test"]},"profile":{"test":true},"executable":"/t/tracers-2"}
{"reason":"compiler-artifact","target":{"name":"workload","kind":["bin"]},"profile":{"test":false},"executable":"/t/workload"}
{"reason":"build-finished","success":true}"#;
        let found = executables(messages).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|built| (built.name.as_str(), built.is_test))
            .collect();
        assert_eq!(
            names,
            [("tests-lib", true), ("tracers", true), ("workload", false)]
        );
    }
}
