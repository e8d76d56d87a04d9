//! Clients of the agent that are not ours: grpcurl, and Python's grpcio. They are set up at pinned versions by Go's and Python's own
//! tools, everything under `target/tools`, and run by the commands that docs/grpc.md prints.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    check, process,
    screen::{Step, say},
    setup, test, toolchain, workspace,
};

/// The test program.
pub(crate) const TEST: &str = "foreign";
/// What its tests' names begin with.
pub(crate) const PREFIX: &str = "foreign_";

const GRPCURL: &str = "1.9.4";
/// The first Go that fetches the version that a module asks for.
const OLDEST_GO: u32 = 21;
const GRPCIO: &str = "1.85.1";
/// What grpcio-tools' code needs to run.
const PROTOBUF: &str = "7.36.2";

/// A client, or why there is none.
type Client = Result<PathBuf, String>;

/// The stage by itself, for `cargo xtask foreign`.
pub(crate) fn alone() -> Result<()> {
    setup::build()?;
    test::build()?;
    run().map(drop)
}

/// The stage.
pub(crate) fn run() -> Result<String> {
    test::require_root()?;
    let clients = [("GRPCURL", grpcurl()?), ("PYTHON", python()?)];
    let mut command = toolchain::cargo();
    command.args(["test", "--locked", "--package", "tests", "--test", TEST]);
    command.args(["--", "--show-output"]);
    command
        .env("TRACEJOB_BIN", workspace::target().join("debug/tracejob"))
        .env_remove("TRACEJOB_TEST_CAPS");
    for (name, client) in clients {
        match client {
            Ok(path) => command.env(format!("TRACEJOB_{name}"), path),
            Err(why) => command.env(format!("TRACEJOB_NO_{name}"), why),
        };
    }
    check::rust_tests(
        "foreign clients",
        "the agent by grpcurl and Python, as docs/grpc.md says",
        &mut command,
    )
}

fn grpcurl() -> Result<Client> {
    let name = format!("grpcurl {GRPCURL}");
    let folder = workspace::tools().join(format!("grpcurl-{GRPCURL}"));
    let program = folder.join("bin/grpcurl");
    if program.is_file() {
        say(&name, "here");
        return Ok(Ok(program));
    }
    let version = process::output(Command::new("go").args(["env", "GOVERSION"]));
    let version = version.unwrap_or_default();
    if minor(&version).is_none_or(|minor| minor < OLDEST_GO) {
        let have = match version.trim() {
            "" => "there is none".to_owned(),
            version => format!("this is {version}"),
        };
        return Ok(Err(format!(
            "grpcurl takes Go 1.{OLDEST_GO} or newer on PATH, and {have}"
        )));
    }
    let step = Step::start(
        &name,
        "building with Go: a client that is not ours; 2 min, once",
    );
    let cache = folder.join("cache");
    let mut command = Command::new("go");
    command
        .arg("install")
        .arg(format!(
            "github.com/fullstorydev/grpcurl/cmd/grpcurl@v{GRPCURL}"
        ))
        .env("GOBIN", folder.join("bin"))
        .env("GOPATH", cache.join("path"))
        .env("GOCACHE", cache.join("build"))
        // What Go keeps read-only could not be removed below.
        .env(
            "GOFLAGS",
            format!(
                "{} -modcacherw",
                std::env::var("GOFLAGS").unwrap_or_default()
            ),
        )
        .current_dir(workspace::root());
    fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    process::quietly(&step, "grpcurl", &mut command)?;
    // Half a gigabyte that nobody reads again; if it stays, it is only in the way.
    let _ = fs::remove_dir_all(&cache);
    step.done("installed");
    Ok(Ok(program))
}

/// `go1.26.8`: 26.
fn minor(version: &str) -> Option<u32> {
    let rest = version.trim().strip_prefix("go1.")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn python() -> Result<Client> {
    let name = format!("grpcio {GRPCIO}");
    let folder = workspace::tools().join(format!("grpcio-{GRPCIO}"));
    let python = folder.join("bin/python");
    if works(&python) {
        say(&name, "here");
        return Ok(Ok(python));
    }
    let step = Step::start(&name, "installing with pip: clients in Python");
    // What an interrupted installation left is no environment.
    let _ = fs::remove_dir_all(&folder);
    let made = process::output(Command::new("python3").args(["-m", "venv"]).arg(&folder));
    if made.is_err() {
        step.done("there is no python3 with venv");
        return Ok(Err(
            "there is no python3 with its venv module (Debian's package python3-venv) on PATH"
                .to_owned(),
        ));
    }
    let mut command = Command::new(&python);
    command
        .args([
            "-m",
            "pip",
            "install",
            "--no-cache-dir",
            "--only-binary=:all:",
        ])
        .arg(format!("grpcio=={GRPCIO}"))
        .arg(format!("grpcio-tools=={GRPCIO}"))
        .arg(format!("protobuf=={PROTOBUF}"));
    process::quietly(&step, "grpcio", &mut command)?;
    step.done("installed");
    Ok(Ok(python))
}

fn works(python: &Path) -> bool {
    let mut command = Command::new(python);
    process::output(command.args(["-c", "import grpc, grpc_tools"])).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_version_is_read() {
        assert_eq!(minor("go1.26.8\n"), Some(26));
        assert_eq!(minor("go1.21rc2"), Some(21));
        assert_eq!(minor("devel"), None);
        assert_eq!(minor(""), None);
    }
}
