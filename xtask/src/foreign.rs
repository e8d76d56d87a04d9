//! Clients of other projects for the agent: grpcurl, and Python's grpcio. They are set up at pinned versions by Go's and Python's own
//! tools, everything under `target/tools`, and run by the commands that docs/grpc.md prints.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{
    go, process, programs,
    screen::{Step, print_line},
    suite, test, workspace,
};

/// The test program.
const TEST: &str = "foreign";

const GRPCURL: &str = "1.9.4";
const GRPCIO: &str = "1.85.1";
/// Dependency of the code that grpcio-tools generates.
const PROTOBUF: &str = "7.36.2";

/// A client, or why there is none.
type Client = Result<PathBuf, String>;

/// The stage.
pub(crate) fn run() -> Result<String> {
    test::require_root()?;
    let programs = programs::built()?;
    let tracejob = programs.file("tracejob")?;
    let clients = clients()?;
    suite::run(
        "foreign clients",
        "the agent by grpcurl and Python, as in docs/grpc.md",
        &[programs.test(TEST)?],
        |command| {
            suite::harness(command, 2);
            command.envs(clients.clone());
            command
                .env("TRACEJOB_BIN", tracejob)
                .env_remove("TRACEJOB_TEST_CAPS");
        },
    )
}

/// Sets up the clients, and returns the variables by which tests find them: a path, or the reason for its absence.
pub(crate) fn clients() -> Result<Vec<(&'static str, OsString)>> {
    let named = |found: Client, path: &'static str, none: &'static str| match found {
        Ok(file) => (path, file.into_os_string()),
        Err(why) => (none, why.into()),
    };
    Ok(vec![
        named(grpcurl()?, "TRACEJOB_GRPCURL", "TRACEJOB_NO_GRPCURL"),
        named(python()?, "TRACEJOB_PYTHON", "TRACEJOB_NO_PYTHON"),
    ])
}

fn grpcurl() -> Result<Client> {
    let build = go::Build {
        name: format!("grpcurl {GRPCURL}"),
        folder: workspace::tools().join(format!("grpcurl-{GRPCURL}")),
        about: "building with Go: a client of another project; 2 min, once",
        from: workspace::root(),
        flags: &[],
        package: &format!("github.com/fullstorydev/grpcurl/cmd/grpcurl@v{GRPCURL}"),
    };
    Ok(build.ensure()?.map(|bin| bin.join("grpcurl")))
}

fn python() -> Result<Client> {
    let name = format!("grpcio {GRPCIO}");
    let folder = workspace::tools().join(format!("grpcio-{GRPCIO}"));
    let python = folder.join("bin/python");
    if works(&python) {
        print_line(&name, "here");
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
