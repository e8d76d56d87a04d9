//! Builds every program and test program of the workspace in one invocation of cargo.
//!
//! One invocation, because each selection of packages gives the dependencies other features, and cargo would build them again.
//! The same files run on this kernel, on the test kernels and in the images: they are linked without a shared library.
//! Clippy is the compiler of the workspace's own crates, so that nothing is compiled for its lints alone.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::{process, screen::Step, toolchain, workspace};

/// A program that cargo built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The target's name.
    pub(crate) name: String,
    /// The package that it belongs to.
    pub(crate) package: String,
    /// The package's folder, in which cargo runs its tests.
    pub(crate) folder: PathBuf,
    /// The file.
    pub(crate) path: PathBuf,
    kind: Kind,
}

/// The purpose of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A program that is shipped or that tests start.
    Binary,
    /// Tests inside a library or a program.
    UnitTests,
    /// A file below `tests/` of a package.
    IntegrationTests,
    /// An example or a benchmark.
    Other,
}

/// All programs of one build.
#[derive(Debug)]
pub(crate) struct Programs(Vec<Program>);

impl Programs {
    /// The file of a program or example.
    pub(crate) fn file(&self, name: &str) -> Result<&Path> {
        let found = self.0.iter().find(|program| {
            program.name == name && matches!(program.kind, Kind::Binary | Kind::Other)
        });
        let found = found.with_context(|| format!("cargo built no program `{name}`"))?;
        Ok(&found.path)
    }

    /// A test program of the package `tests`.
    pub(crate) fn test(&self, name: &str) -> Result<&Program> {
        let found = self.0.iter().find(|program| {
            program.name == name
                && program.package == "tests"
                && program.kind == Kind::IntegrationTests
        });
        found.with_context(|| format!("the package `tests` has no test program `{name}`"))
    }

    /// Test programs of all other packages.
    pub(crate) fn unit_tests(&self) -> Vec<&Program> {
        let is_test = |program: &&Program| {
            let kinds = [Kind::UnitTests, Kind::IntegrationTests];
            kinds.contains(&program.kind) && program.package != "tests"
        };
        self.0.iter().filter(is_test).collect()
    }

    /// Programs of the package `tests` that its tests start.
    pub(crate) fn started_by_tests(&self) -> Vec<&Program> {
        let is_one =
            |program: &&Program| program.package == "tests" && program.kind == Kind::Binary;
        self.0.iter().filter(is_one).collect()
    }
}

/// The programs of this run; the first caller builds them, and the lints are errors.
pub(crate) fn built() -> Result<&'static Programs> {
    static BUILT: OnceLock<Result<Programs, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.as_ref().map_err(|error| anyhow!("{error}"))
}

/// The stage of `built`.
pub(crate) fn stage() -> Result<String> {
    Ok(format!("{} programs", built()?.0.len()))
}

fn build() -> Result<Programs> {
    let step = Step::start(
        "build and lint",
        "every program and test, with clippy's lints as errors; minutes when cold",
    );
    let mut command = toolchain::cargo();
    command.args(["build", "--all-targets"]);
    command.args(["--workspace", "--exclude", "agent-ebpf"]);
    for_this_machine(&mut command, TESTED);
    // What `cargo clippy` does, which however only checks.
    command
        .env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver")
        .env("CLIPPY_CONF_DIR", workspace::root())
        .env(
            "CLIPPY_ARGS",
            "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__",
        );
    let built = parse(&process::captured(&step, "build", &mut command)?)?;
    step.done(&format!("{} programs", built.0.len()));
    Ok(built)
}

/// Flags of released programs: no shared libraries, and a random load address.
const SHIPPED: &str = "-C target-feature=+crt-static";

/// Flags of programs that are tested: at a fixed address. At any other, each start writes 120,000 addresses into `tracejob`,
/// which takes longer than most tests do on an emulated processor.
const TESTED: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// Builds released programs of these packages, optimized, in one invocation for the same reason.
pub(crate) fn shipped(packages: &[&str]) -> Result<Programs> {
    of_packages(packages, &["--release"], SHIPPED)
}

/// Builds a program or example of one package, without lints and tests: for unfinished code.
pub(crate) fn of_package(package: &str, name: &str) -> Result<PathBuf> {
    Ok(of_packages(&[package], &[], TESTED)?.file(name)?.to_owned())
}

fn of_packages(packages: &[&str], options: &[&str], flags: &str) -> Result<Programs> {
    let names = packages.join(" ");
    let step = Step::start(&format!("build {names}"), "minutes when cold");
    let mut command = toolchain::cargo();
    command.args(["build", "--bins", "--examples"]);
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    command.args(options);
    for_this_machine(&mut command, flags);
    let log = format!("build-{}", packages.join("-"));
    let messages = process::captured(&step, &log, &mut command)?;
    step.done("built");
    parse(&messages)
}

/// The target is named so that the flags are not for build scripts and macros, too.
fn for_this_machine(command: &mut Command, flags: &str) {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    command
        .args(["--locked", "--target", &target])
        .args(["--message-format", "json-render-diagnostics"])
        .env("RUSTFLAGS", flags);
}

/// The programs in cargo's JSON messages, sorted: cargo names them in the order in which it happened to build them.
pub(crate) fn parse(messages: &str) -> Result<Programs> {
    let mut built = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Value = serde_json::from_str(line).context("reading cargo's messages")?;
        let (Some(path), Some(name), Some(manifest)) = (
            message["executable"].as_str(),
            message["target"]["name"].as_str(),
            message["manifest_path"].as_str(),
        ) else {
            continue;
        };
        let kind = message["target"]["kind"][0].as_str().unwrap_or_default();
        let is_test = message["profile"]["test"].as_bool().unwrap_or_default();
        let kind = match (kind, is_test) {
            ("test", _) => Kind::IntegrationTests,
            ("bin", false) => Kind::Binary,
            ("lib" | "bin" | "proc-macro" | "example", true) => Kind::UnitTests,
            ("example", false) | ("bench", _) => Kind::Other,
            _ => bail!("cargo built {path}, of a kind that xtask does not know: {kind}"),
        };
        let folder = Path::new(manifest).parent().unwrap_or(Path::new("/"));
        let package = folder.file_name().unwrap_or_default();
        built.push(Program {
            name: name.to_owned(),
            package: package.to_string_lossy().into_owned(),
            folder: folder.to_owned(),
            path: PathBuf::from(path),
            kind,
        });
    }
    built.sort_by(|one, other| (&one.package, &one.name).cmp(&(&other.package, &other.name)));
    Ok(Programs(built))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml","target":{"name":"tests","kind":["lib"]},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml","target":{"name":"tracers","kind":["test"]},"profile":{"test":true},"executable":"/t/tracers-2"}
{"reason":"compiler-artifact","manifest_path":"/w/agent/Cargo.toml","target":{"name":"agent","kind":["lib"]},"profile":{"test":true},"executable":"/t/agent-1"}
{"reason":"compiler-artifact","manifest_path":"/w/agent/Cargo.toml","target":{"name":"tracejob-agent","kind":["bin"]},"profile":{"test":true},"executable":"/t/tracejob_agent-1"}
{"reason":"compiler-artifact","manifest_path":"/w/agent/Cargo.toml","target":{"name":"tracejob-agent","kind":["bin"]},"profile":{"test":false},"executable":"/t/tracejob-agent"}
{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml","target":{"name":"workload","kind":["bin"]},"profile":{"test":false},"executable":"/t/workload"}
{"reason":"build-finished","success":true}"#;
        let found = parse(messages).unwrap();
        assert_eq!(found.0.len(), 5);
        assert_eq!(
            found.file("tracejob-agent").unwrap(),
            Path::new("/t/tracejob-agent")
        );
        assert_eq!(found.test("tracers").unwrap().folder, Path::new("/w/tests"));
        let names = |programs: Vec<&Program>| -> Vec<String> {
            programs
                .iter()
                .map(|program| program.name.clone())
                .collect()
        };
        assert_eq!(names(found.unit_tests()), ["agent", "tracejob-agent"]);
        assert_eq!(names(found.started_by_tests()), ["workload"]);
        assert!(found.file("nothing").is_err());
    }
}
