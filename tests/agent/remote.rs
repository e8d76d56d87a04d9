//! `tracejob --agent`: the same commands with the same output, by a daemon.

use crate::daemon::Daemon;
use proto::v1::State;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tests::{Outcome, Trace, Tracing, Workload, folder, needs, until};
use tracers::Source;

impl Daemon {
    fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Starts `tracejob --agent` and returns when its trace runs.
    async fn run(&self, trace: Trace) -> Tracing {
        let tracing = trace.with(&["--agent", &self.url()]).spawn();
        let runs = async |daemon: &Self| {
            let traces = daemon.traces().await;
            traces.iter().any(|trace| trace.state() == State::Running)
        };
        self.until("the trace to run", runs).await;
        tracing
    }

    /// What a trace here and one by the agent make of one workload, both attached before it goes.
    async fn both(&self, workload: &mut Workload, trace: impl Fn(&str) -> Trace) -> [Outcome; 2] {
        let here = trace("here").of_process(workload).start();
        let there = self.run(trace("there").of_process(workload)).await;
        workload.finish();
        [here.finish(), there.finish()]
    }
}

/// Returns a row without its times: two traces read the clock at different times.
fn timeless(row: &Value) -> Value {
    let mut row = row.clone();
    row.as_object_mut()
        .unwrap()
        .retain(|name, _| name != "time" && name != "latency" && !name.ends_with("_ns"));
    row
}

fn rows(outcome: &Outcome) -> Vec<Value> {
    outcome.complete();
    outcome.rows.iter().map(timeless).collect()
}

/// Where a trace writes besides.
fn files(folder: &Path, place: &str, forms: &[&str]) -> Vec<String> {
    let file = |form: &&str| {
        let path = folder.join(format!("{place}-{form}"));
        ["-o".to_owned(), format!("{form}={}", path.display())]
    };
    forms.iter().flat_map(file).collect()
}

/// Some words of each line of a file.
fn words(path: PathBuf, which: &[usize]) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let some = which.iter().filter_map(|at| words.get(*at));
            some.map(|word| (*word).to_owned()).collect()
        })
        .collect()
}

#[tokio::test]
async fn events_are_the_same_by_an_agent_as_here() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let folder = folder();
    let steps = "comm a\x1b[2Jname , open openat /dev/null 0 0 , open openat /no/such 1 0 , open-times 1500 openat /dev/zero 0 0";
    let steps: Vec<&str> = steps.split(' ').collect();
    let mut workload = Workload::behind_gate(&steps);
    let forms = ["table", "wide", "csv"];
    let trace = |place: &str| Trace::of("open").with(&files(&folder, place, &forms));
    let [here, there] = daemon.both(&mut workload, trace).await;
    assert!(here.rows.len() > 1500);
    assert_eq!(rows(&here), rows(&there));
    // All but the time and the latency.
    let rest: Vec<usize> = (2..20).collect();
    for form in forms {
        let words = |place| words(folder.join(format!("{place}-{form}")), &rest);
        assert_eq!(words("here"), words("there"), "{form}");
    }
    let ended = |outcome: &Outcome| outcome.account().ended.clone();
    assert_eq!(ended(&here), ended(&there));
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn counts_are_the_same_by_an_agent_as_here() {
    needs!("syscall_count");
    let daemon = Daemon::start("").await;
    let folder = folder();
    let mut workload =
        Workload::behind_gate(&["getppid", "1234", ",", "open", "openat", "/no", "0", "0"]);
    let trace = |place: &str| {
        let trace = Trace::of("syscall_count").with(&["--per-process"]);
        trace.with(&files(&folder, place, &["table"]))
    };
    let [here, there] = daemon.both(&mut workload, trace).await;
    assert_eq!(rows(&here), rows(&there));
    assert_eq!(there.row_where("syscall", "getppid")["count"], 1234);
    // The name, the process and the count: all others are times.
    let words = |place| words(folder.join(format!("{place}-table")), &[0, 1, 2, 4]);
    assert_eq!(words("here"), words("there"));
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_trace_without_a_row_is_the_same_by_an_agent_as_here_in_every_form() {
    let test = "remote::a_trace_without_a_row_is_the_same_by_an_agent_as_here_in_every_form";
    let daemon = Daemon::start("").await;
    let folder = folder();
    // At its gate it does nothing.
    let workload = Workload::behind_gate(&["getppid", "1"]);
    for name in tests::tracers() {
        if !tests::runs_here(&name, test) {
            continue;
        }
        let tracer = tracers::find(&name).unwrap();
        match tracer.source() {
            Source::Ring | Source::PerCpu | Source::Shared => {}
            // The process has its row whether anything happens or not.
            Source::Snapshot => continue,
        }
        let mut points = tracer.points().into_iter().flatten();
        if points.any(|point| point.at.is_iterator()) {
            // As it has where the trace also looks at what had begun before.
            continue;
        }
        let columns = tracer.columns();
        let forms: &[&str] = match columns.iter().any(|column| column.kind.is_stack()) {
            true => &["table", "csv", "folded", "flamegraph", "pprof"],
            false => &["table", "csv"],
        };
        let trace = |place: &str| {
            let trace = Trace::of(&name).of_process(&workload);
            let trace = trace.with(&["--duration", "300ms"]);
            trace.with(&files(&folder, place, forms))
        };
        let here = trace("here").run();
        let there = daemon.run(trace("there")).await.finish();
        for outcome in [&here, &there] {
            assert_eq!(rows(outcome), Vec::<Value>::new(), "{name}");
            let account = outcome.account();
            let (produced, ended) = (account.produced, account.ended.as_str());
            assert_eq!((produced, ended), (0, "duration"), "{name}");
        }
        let file = |place: &str, form: &str| fs::read(folder.join(format!("{place}-{form}")));
        for form in forms {
            let [here, there] = ["here", "there"].map(|place| file(place, form).unwrap());
            match *form {
                // They have their times.
                "pprof" => assert!(!here.is_empty() && !there.is_empty(), "{name}"),
                _ => assert_eq!(
                    String::from_utf8(here),
                    String::from_utf8(there),
                    "{name} {form}"
                ),
            }
        }
    }
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn stacks_are_the_same_by_an_agent_as_here() {
    needs!("page_fault");
    let daemon = Daemon::start("").await;
    let folder = folder();
    // It stays until its trace has seen it: stacks of ended processes have no names.
    let steps = "comm a_writer , touch 1234 write , say touched , gate";
    let steps: Vec<&str> = steps.split(' ').collect();
    let forms = ["folded", "flamegraph", "pprof"];
    // One after the other: a trace's own reading of stacks faults, which the other would see.
    let mut seen = Vec::new();
    for place in ["here", "there"] {
        let mut workload = Workload::behind_gate(&steps);
        let trace = Trace::of("page_fault").of_process(&workload);
        let trace = trace.with(&files(&folder, place, &forms));
        let tracing = match place {
            "here" => trace.start(),
            _ => daemon.run(trace).await,
        };
        // It handles Ctrl-C only after it has opened its files.
        until("its files", || {
            let files = fs::read_dir(&folder).unwrap().flatten();
            let new = files.filter(|file| file.file_name().to_string_lossy().ends_with(".part"));
            (new.count() == forms.len()).then_some(())
        });
        workload.go();
        workload.wait_for("touched");
        let outcome = tracing.stop();
        let file = |form: &str| fs::read(folder.join(format!("{place}-{form}"))).unwrap();
        let text = |form: &str| String::from_utf8(file(form)).unwrap();
        // Other faults depend on the machine: a page of its program that was not in memory before.
        let ours = |line: &&str| line.ends_with(" 1234");
        let folded = text("folded").lines().find(ours).map(str::to_owned);
        assert!(text("flamegraph").contains("(1,234 faults"));
        assert!(!file("pprof").is_empty());
        let mut rows = rows(&outcome);
        rows.retain(|row| row["faults"] == 1234);
        rows.iter_mut().for_each(|row| row["pid"] = "any".into());
        assert_eq!(rows.len(), 1);
        seen.push((rows, folded.unwrap()));
    }
    assert_eq!(seen[0], seen[1]);
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn ctrl_c_ends_a_trace_elsewhere_with_all_its_rows_and_its_account() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let steps = ["open", "openat", "/dev/null", "0", "0", ",", "gate"];
    let mut workload = Workload::behind_gate(&steps);
    let tracing = daemon.run(Trace::of("open").of_process(&workload)).await;
    workload.go();
    tracing.wait_for_rows(1);
    let outcome = tracing.stop();
    outcome.complete();
    assert_eq!(outcome.account().ended, "stopped");
    assert_eq!(
        outcome.row_where("path", "/dev/null")["pid"],
        workload.pid()
    );
    daemon
        .until("no trace to be left", async |daemon| {
            daemon.traces().await.is_empty()
        })
        .await;
}

#[tokio::test]
async fn a_tracer_of_another_class_is_refused_to_the_command_line_by_the_line_to_change() {
    needs!("exec");
    let daemon = Daemon::start("policy: {classes: [observe]}").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let pid = workload.pid().to_string();
    let url = daemon.url();
    let run = |arguments: &[&str]| {
        let mut tracejob = tests::tracejob(&[&["--agent", &*url], arguments].concat());
        let out = tracejob.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let (code, _, stderr) = run(&["run", "exec", "--pid", &pid, "--duration", "5s"]);
    assert_eq!(code, Some(1), "{stderr}");
    for words in ["whose class is payload", "policy.classes", "PolicyDenied"] {
        assert!(stderr.contains(words), "{words}: {stderr}");
    }
    let (_, listed, _) = run(&["list", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let tracers = listed["tracers"].as_array().unwrap();
    let exec = tracers.iter().find(|one| one["name"] == "exec").unwrap();
    assert_eq!(
        (&exec["class"], &exec["supported"]),
        (&"payload".into(), &false.into())
    );
    assert!(
        exec["remedy"]
            .as_str()
            .unwrap()
            .contains("add payload to policy.classes")
    );
    let (_, page, _) = run(&["describe", "exec"]);
    assert!(page.contains("CLASS  payload"), "{page}");
}

#[tokio::test]
async fn an_agents_refusal_has_its_reason_its_url_and_a_remedy() {
    needs!("open");
    let config = "policy: {tracers: [open], maxRingBytes: 1048576, maxDurationSeconds: 60}";
    let daemon = Daemon::start(config).await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let pid = workload.pid().to_string();
    let cases: [(&str, &[&str], i32, [&str; 2]); 6] = [
        (
            "open",
            &["--host", "--ring", "64KiB"],
            1,
            ["PolicyDenied, from the agent", "policy.host"],
        ),
        (
            "exec",
            &["--pid", &pid],
            1,
            ["PolicyDenied", "policy.tracers"],
        ),
        (
            "open",
            &["--pid", &pid],
            1,
            ["PolicyDenied", "policy.maxRingBytes"],
        ),
        (
            "open",
            &["--pid", "3999999", "--ring", "64KiB"],
            1,
            [
                "process 3999999 does not exist",
                "containers of the agent's host",
            ],
        ),
        (
            "open",
            &["--container", "!", "--ring", "64KiB"],
            2,
            ["is not a container id", "InvalidRequest"],
        ),
        (
            "open",
            &["--pid", &pid, "--ring", "64KiB", "-o", "folded=/dev/null"],
            2,
            ["requires stacks", "page_fault"],
        ),
    ];
    for (tracer, options, status, messages) in cases {
        let trace = Trace::of(tracer)
            .with(options)
            .with(&["--agent", &daemon.url()]);
        let outcome = trace.run();
        assert_eq!(outcome.status, Some(status), "{}", outcome.stderr);
        for message in messages {
            assert!(outcome.stderr.contains(message), "{}", outcome.stderr);
        }
    }
    let command = Trace::of("open").with(&["--agent", &daemon.url()]);
    let outcome = command.workload(&["getppid", "1"]).run();
    assert_eq!(outcome.status, Some(2), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("an agent does not start commands"),
        "{}",
        outcome.stderr
    );
    let none = |daemon: Vec<_>| daemon.is_empty();
    assert!(
        none(daemon.traces().await),
        "nothing that was refused is left"
    );
}

#[tokio::test]
async fn an_agent_that_vanishes_is_one_error_and_what_came_until_then() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let steps = ["open", "openat", "/dev/null", "0", "0", ",", "gate"];
    let mut workload = Workload::behind_gate(&steps);
    let url = daemon.url();
    let tracing = daemon.run(Trace::of("open").of_process(&workload)).await;
    workload.go();
    tracing.wait_for_rows(1);
    // It is killed.
    drop(daemon);
    let outcome = tracing.finish();
    assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
    assert_eq!(outcome.account().ended, "agent_gone");
    assert!(!outcome.account().complete);
    assert!(!outcome.rows_where("path", "/dev/null").is_empty());
    assert_eq!(
        outcome.stderr.matches("error: ").count(),
        1,
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains(" was lost: "), "{}", outcome.stderr);

    let late = Trace::of("open")
        .of_process(&workload)
        .with(&["--agent", &url])
        .run();
    assert_eq!(late.status, Some(1));
    assert!(
        late.stderr.contains("cannot reach the agent"),
        "{}",
        late.stderr
    );
    assert!(
        late.stderr.contains("start tracejob-agent"),
        "{}",
        late.stderr
    );
}

#[tokio::test]
async fn a_slow_reader_reports_the_number_of_its_missing_rows() {
    needs!("open");
    let daemon = Daemon::start("policy: {replayBytes: 65536}").await;
    // More than what lies on the way between the two can hold.
    let mut workload =
        Workload::behind_gate(&["open-times", "150000", "openat", "/dev/null", "0", "0"]);
    let tracing = daemon
        .run(Trace::of("open").of_process(&workload).counting())
        .await;
    tracing.while_stopped(|| workload.finish());
    let outcome = tracing.finish();
    let gaps = &outcome.account().raw["gaps"];
    assert!(
        gaps["rows"].as_u64().unwrap() > 0,
        "{}",
        outcome.account().raw
    );
    assert_eq!(outcome.status, Some(3));
}

#[tokio::test]
async fn list_and_doctor_are_the_same_for_an_agent_and_its_machine() {
    let daemon = Daemon::start("").await;
    let json = |args: &[&str]| -> [Value; 2] {
        let output = |agent: &[&str]| {
            let args: Vec<&str> = args
                .iter()
                .chain(&["-o", "json"])
                .chain(agent)
                .copied()
                .collect();
            let output = tests::tracejob(&args).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| panic!("{error}: {stderr}"))
        };
        [output(&[]), output(&["--agent", &daemon.url()])]
    };
    let [here, mut there] = json(&["list"]);
    assert_eq!(
        there.as_object_mut().unwrap().remove("agent"),
        Some(env!("CARGO_PKG_VERSION").into())
    );
    assert_eq!(here, there);
    for tracer in here["tracers"].as_array().unwrap() {
        let [here, there] = json(&["describe", tracer["name"].as_str().unwrap()]);
        assert_eq!(here, there);
    }
    let [here, mut there] = json(&["doctor"]);
    let first = there["checks"].as_array_mut().unwrap().remove(0);
    assert_eq!(
        (&first["name"], &first["verdict"]),
        (&"agent".into(), &"ok".into())
    );
    // What it may do is less than what this test may: only what the machine has is the same.
    let values = |doctor: &Value, name: &str| -> Vec<Value> {
        let checks = doctor["checks"].as_array().unwrap().iter();
        checks.map(|check| check[name].clone()).collect()
    };
    assert_eq!(values(&here, "name"), values(&there, "name"));
    assert_eq!(values(&here, "detail")[0], values(&there, "detail")[0]);
    assert_eq!(here["tracers"], there["tracers"]);
}

#[tokio::test]
async fn an_agent_runs_a_tracejob_file() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let folder = folder();
    let file = folder.join("job.yaml");
    let job = "apiVersion: tracejob.dev/v1alpha1\nkind: TraceJob\nmetadata: {name: x}\nspec:\n  tracer: {open: {failedOnly: true}}\n  limits: {maxEvents: 3}\n";
    fs::write(&file, job).unwrap();
    let mut workload = Workload::behind_gate(&[
        "open",
        "openat",
        "/dev/null",
        "0",
        "0",
        ",",
        "open-times",
        "9",
        "openat",
        "/no",
        "0",
        "0",
    ]);
    let trace = Trace::of_file(&file).of_process(&workload);
    let tracing = daemon.run(trace).await;
    workload.finish();
    let outcome = tracing.finish();
    assert_eq!(outcome.account().ended, "max_events");
    assert_eq!(outcome.rows_where("path", "/no").len(), 3);
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn an_agent_may_be_named_by_the_environment() {
    let daemon = Daemon::start("").await;
    let mut command = tests::tracejob(&["doctor"]);
    let output = command
        .env("TRACEJOB_AGENT", daemon.url())
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with("agent "), "{stdout}");
    assert!(stdout.contains(&daemon.url()), "{stdout}");
}
