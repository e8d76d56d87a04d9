//! Clients that are not ours, grpcurl and Python's grpcio, by the very commands that docs/grpc.md prints.
//!
//! `cargo xtask test` names them by TRACEJOB_GRPCURL and TRACEJOB_PYTHON, or gives the reasons for their absence in TRACEJOB_NO_GRPCURL and
//! TRACEJOB_NO_PYTHON.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "tests fail by panics"
)]

mod docs;
mod row;

use docs::Docs;
use row::rows;
use serde_json::Value;
use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};
use tests::{Agent, needs, until};

/// The client that a variable names; without it the test is skipped aloud.
fn client(name: &str, test: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(format!("TRACEJOB_{name}")) {
        return Some(path.into());
    }
    let why = std::env::var(format!("TRACEJOB_NO_{name}"));
    let why = why.unwrap_or_else(|_| "`cargo xtask test` has not set it up".to_owned());
    println!("SKIPPED {test}: {why}");
    None
}

/// A program that fails to open a file, again and again, until it is dropped.
struct Busy(Child);

impl Busy {
    fn start() -> Self {
        let script = "while :; do true < /no/such/file; sleep 0.02; done 2>/dev/null";
        let mut command = Command::new("sh");
        // Folders of cargo and locales: every program would search them first.
        command.env_remove("LD_LIBRARY_PATH").env("LC_ALL", "C");
        Self(command.args(["-c", script]).spawn().unwrap())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that runs, and what it has printed so far.
struct Running {
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&output);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = stdout.read(&mut bytes) {
                into.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        });
        Self { child, output }
    }

    fn wait_for(&self, what: &str) {
        until(what, || {
            self.output.lock().unwrap().contains(what).then_some(())
        });
    }

    /// Waits for its end: all that it printed.
    fn finish(mut self) -> String {
        let status = until("a client to end", || self.child.try_wait().unwrap());
        // The thread that reads ends with the pipe, and holds the other reference.
        until("its last words", || {
            (Arc::strong_count(&self.output) == 1).then_some(())
        });
        let text = std::mem::take(&mut *self.output.lock().unwrap());
        assert!(status.success(), "{status}: {text}");
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The JSON messages of a text, one after the other.
fn messages(text: &str) -> Vec<Value> {
    let values = serde_json::Deserializer::from_str(text).into_iter();
    values
        .collect::<Result<_, _>>()
        .unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// grpcurl on PATH, as in the docs.
fn shell(line: &str, grpcurl: &Path, socket: &str) -> Command {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let ours = [grpcurl.parent().unwrap().to_owned()];
    let path = std::env::join_paths(ours.into_iter().chain(std::env::split_paths(&old))).unwrap();
    let mut command = Command::new("sh");
    // `exec`: what is killed is the client, and not only its shell.
    let line = line
        .strip_prefix("grpcurl")
        .map_or(line.to_owned(), |rest| format!("exec grpcurl{rest}"));
    command
        .args(["-ec", &line])
        .env("PATH", path)
        .env("S", socket);
    command
}

#[test]
fn grpcurl_starts_reads_and_stops_a_trace_as_the_docs_say() {
    let Some(grpcurl) = client(
        "GRPCURL",
        "grpcurl_starts_reads_and_stops_a_trace_as_the_docs_say",
    ) else {
        return;
    };
    needs!("open");
    let (agent, busy) = (Agent::start(""), Busy::start());
    let docs = Docs::of(&agent.socket(), busy.0.id());
    let commands = docs.commands("grpcurl");
    let find = |what: &str| {
        let found = commands.iter().find(|line| line.contains(what));
        found.unwrap_or_else(|| panic!("docs/grpc.md has no command with {what}"))
    };
    let start = |what: &str| Running::start(&mut shell(find(what), &grpcurl, &agent.url()));
    let run = |what: &str| start(what).finish();

    assert!(run("$S list").contains("tracejob.v1.Agent"));
    assert!(run("$S describe").contains("message TraceSpec"));
    assert!(run("Health/Check").contains("SERVING"));
    let tracers = &messages(&run("GetCapabilities"))[0]["tracers"];
    assert!(
        tracers
            .as_array()
            .unwrap()
            .iter()
            .any(|tracer| tracer["name"] == "open")
    );

    // One call.
    let received = messages(&run("Agent/Trace"));
    let found = rows(&received);
    assert_eq!(found.len(), 10, "{received:?}");
    assert!(
        found
            .iter()
            .all(|row| row["result"].as_str().unwrap().starts_with('-')),
        "{found:?}"
    );
    let file = |row: &Value| row["path"] == "/no/such/file" && row["result"] == "-2";
    assert!(found.iter().any(file), "{found:?}");
    assert_eq!(received.last().unwrap()["account"]["ended"], "max_events");

    // A trace of its own, that others read.
    let started = &messages(&run("StartTrace"))[0];
    assert_eq!(started["status"]["state"], "STATE_RUNNING", "{started}");
    let (events, watch) = (start("StreamEvents"), start("WatchTraces"));
    events.wait_for("batch");
    assert!(run("StopTrace").contains("\"uid\": \"a\""));
    let received = messages(&events.finish());
    assert!(!rows(&received).is_empty());
    assert_eq!(received.last().unwrap()["account"]["ended"], "stopped");
    watch.wait_for("STATE_ENDED");

    // Every command that is printed was run.
    let used = [
        "$S list",
        "$S describe",
        "Health/Check",
        "GetCapabilities",
        "Agent/Trace",
        "StartTrace",
        "StreamEvents",
        "WatchTraces",
        "StopTrace",
    ];
    let unused: Vec<_> = commands
        .iter()
        .filter(|line| !used.iter().any(|used| line.contains(used)))
        .collect();
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn grpcurl_receives_the_reason_of_a_refusal() {
    let Some(grpcurl) = client("GRPCURL", "grpcurl_receives_the_reason_of_a_refusal") else {
        return;
    };
    let agent = Agent::start("policy: {tracers: [exec]}");
    let docs = Docs::of(&agent.socket(), std::process::id());
    let commands = docs.commands("grpcurl");
    let trace = commands
        .iter()
        .find(|line| line.contains("Agent/Trace"))
        .unwrap();
    let output = shell(trace, &grpcurl, &agent.url()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    for what in [
        "PermissionDenied",
        "PolicyDenied",
        "tracejob.dev",
        "policy.tracers",
    ] {
        assert!(stderr.contains(what), "{stderr}");
    }
}

#[test]
fn python_starts_reads_and_stops_a_trace_as_the_docs_say() {
    let Some(python) = client(
        "PYTHON",
        "python_starts_reads_and_stops_a_trace_as_the_docs_say",
    ) else {
        return;
    };
    needs!("open");
    let (agent, busy) = (Agent::start(""), Busy::start());
    let docs = Docs::of(&agent.socket(), busy.0.id());
    let run = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let mut command = Command::new(&python);
        // It writes the code that it generates from our .proto to this folder, and imports it from there.
        command
            .args(words)
            .current_dir(agent.folder())
            .env("PYTHONPATH", agent.folder());
        Running::start(&mut command).finish()
    };
    let commands = docs.commands("venv/bin/python");
    let [generate, trace] = commands.as_slice() else {
        panic!("docs/grpc.md has {} commands of Python", commands.len());
    };
    run(generate);
    let received = messages(&run(trace));
    let (account, rows) = received.split_last().unwrap();
    assert!(rows.len() >= 10, "{rows:?}");
    assert!(
        rows.iter()
            .any(|row| row["path"] == "/no/such/file" && row["result"] == -2),
        "{rows:?}"
    );
    assert_eq!(account["account"]["ended"], "stopped", "{account}");
    assert_eq!(account["account"]["delivered"], rows.len().to_string());

    // The packages that the docs name are installed here.
    let version = "import importlib.metadata as m; print(*(f'{n}=={m.version(n)}' for n in ('grpcio', 'grpcio-tools')))";
    let installed = Command::new(&python)
        .args(["-c", version])
        .output()
        .unwrap();
    let installed = String::from_utf8(installed.stdout).unwrap();
    let pip = docs.commands("venv/bin/pip");
    assert!(
        pip[0].ends_with(installed.trim()),
        "{pip:?} and not {installed}"
    );
}
