//! `kubectl tracejob`: jobs that a user creates, reads and ends, with the real kubectl, which finds the plugin on PATH.

use crate::{
    cluster::{Cluster, Pod, job, ours},
    gateway::{reader::bind, shared},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, Output, Stdio},
};
use tests::{Workload, cluster_program, until};

fn plugin(cluster: &Cluster, kubeconfig: &Path, arguments: &[&str]) -> Command {
    let mut kubectl = cluster.plane.beside(cluster_program("kubectl"));
    let path = std::env::var("PATH").unwrap();
    let folder = cluster.plane.folder().join("bin");
    fs::create_dir_all(&folder).unwrap();
    // Another test may have created it already.
    let _ = symlink(ours("tracejob"), folder.join("kubectl-tracejob"));
    kubectl
        .arg("tracejob")
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .env("PATH", format!("{}:{path}", folder.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    kubectl
}

fn output_of(cluster: &Cluster, arguments: &[&str]) -> String {
    let out = plugin(cluster, &cluster.plane.admin(), arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{arguments:?}: {}", text(&out.stderr));
    text(&out.stdout)
}

/// Starts a command, and returns it with the name of its job when tracing has begun.
#[expect(clippy::zombie_processes, reason = "the caller waits for it")]
fn started(command: &mut Command) -> (Child, String) {
    let mut child = command.spawn().unwrap();
    let mut messages = BufReader::new(child.stderr.as_mut().unwrap());
    let mut name = String::new();
    loop {
        let mut line = String::new();
        assert!(
            messages.read_line(&mut line).unwrap() > 0,
            "it ended: {name}"
        );
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
        if let Some(created) = line["created"]["name"].as_str() {
            created.clone_into(&mut name);
        }
        if line["started"].is_object() {
            return (child, name);
        }
    }
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

fn account(out: &Output) -> Value {
    let messages = lines(&out.stderr);
    messages.last().unwrap()["account"].clone()
}

fn opens(pods: &[Pod], times: &str) {
    for pod in pods {
        let mut workload =
            Workload::behind_gate(&["open-times", times, "openat", "/dev/null", "0", "0"]);
        pod.add(&workload);
        workload.finish();
    }
}

fn run(namespace: &str) -> [&str; 10] {
    [
        "run",
        "open",
        "-n",
        namespace,
        "-l",
        "app=checkout",
        "--duration",
        "2m",
        "-o",
        "json",
    ]
}

#[test]
fn a_run_shows_the_rows_of_all_nodes_and_leaves_no_job() {
    const NS: &str = "run";
    let (cluster, pods) = shared(NS);
    let bounded = [&run(NS)[..], &["--max-events", "40"]].concat();
    let (child, name) = started(&mut plugin(&cluster, &cluster.plane.admin(), &bounded));
    cluster.until_runs(NS, &name, 2);
    opens(&pods, "40");
    let out = child.wait_with_output().unwrap();
    assert_eq!(
        out.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let rows = lines(&out.stdout);
    assert_eq!(rows.len(), 80);
    assert!(
        rows.iter().any(|row| row["pod"] == "a") && rows.iter().any(|row| row["node"] == "node-1")
    );
    let account = account(&out);
    assert_eq!(
        (&account["produced"], &account["complete"]),
        (&json!(80), &json!(true)),
        "{account:#}"
    );
    assert_eq!(account["nodes"].as_array().unwrap().len(), 2);
    assert!(cluster.job(NS, &name).is_none(), "it is deleted");
}

#[test]
fn an_interrupt_ends_the_job_and_its_account_comes_all_the_same() {
    const NS: &str = "interrupt";
    let (cluster, pods) = shared(NS);
    let (child, name) = started(&mut plugin(&cluster, &cluster.plane.admin(), &run(NS)));
    cluster.until_runs(NS, &name, 2);
    opens(&pods, "30");
    crate::gateway::reader::until_seen(&cluster, NS, &name, 60);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let out = child.wait_with_output().unwrap();
    let account = account(&out);
    assert_eq!(
        (lines(&out.stdout).len(), &account["produced"]),
        (60, &json!(60)),
        "{account:#}"
    );
    until("the job to be gone", || {
        cluster.job(NS, &name).is_none().then_some(())
    });
}

#[test]
fn a_run_with_where_and_columns_shows_matching_rows_in_these_columns() {
    const NS: &str = "where";
    let (cluster, pods) = shared(NS);
    let condition = "path == \"/dev/null\"";
    let flags = ["--where", condition, "--columns", "path,pod"];
    let arguments = [&run(NS)[..], &flags].concat();
    let (child, name) = started(&mut plugin(&cluster, &cluster.plane.admin(), &arguments));
    let output = &cluster.until_runs(NS, &name, 2)["spec"]["output"];
    // The API server adds the default of summaryRows.
    let wanted = json!({"where": condition, "columns": ["path", "pod"], "summaryRows": 20});
    assert_eq!(*output, wanted);
    for pod in &pods {
        let steps = "open-times 30 openat /dev/null 0 0 , open-times 70 openat /dev/zero 0 0";
        let mut workload = Workload::behind_gate(steps);
        pod.add(&workload);
        workload.finish();
    }
    crate::gateway::reader::until_seen(&cluster, NS, &name, 60);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let out = child.wait_with_output().unwrap();
    let account = account(&out);
    let text = String::from_utf8(out.stdout).unwrap();
    for pod in ["a", "b"] {
        let row = format!(r#"{{"path":"/dev/null","pod":"{pod}"}}"#);
        let rows = text.lines().filter(|line| *line == row).count();
        assert_eq!(rows, 30, "{text}");
    }
    assert_eq!(text.lines().count(), 60, "{text}");
    assert_eq!(
        (&account["delivered"], &account["filtered"]),
        (&json!(60), &json!(140)),
        "{account:#}"
    );
}

#[test]
fn attach_shows_a_job_by_its_output_and_flags_replace_each_part() {
    const NS: &str = "output";
    let (cluster, pods) = shared(NS);
    let output = json!({"columns": ["syscall", "count"], "sort": ["-count"], "top": 1});
    let spec =
        json!({"tracer": {"syscallCount": {}}, "activeDeadlineSeconds": 15, "output": output});
    cluster.apply(&job(NS, "shaped", spec));
    cluster.until_runs(NS, "shaped", 2);
    let mut workload = Workload::behind_gate("getppid 900 , open-times 300 openat /dev/null 0 0");
    pods[0].add(&workload);
    workload.finish();
    let attach = |flags: &[&str]| {
        let arguments = ["attach", "shaped", "-n", NS, "-o", "json"];
        output_of(&cluster, &[&arguments[..], flags].concat())
    };
    let first = "{\"syscall\":\"getppid\",\"count\":900}\n";
    assert_eq!(attach(&[]), first);
    assert_eq!(
        attach(&["--top", "2", "--sort", "-count,-syscall"]),
        format!("{first}{{\"syscall\":\"openat\",\"count\":300}}\n")
    );
    assert_eq!(
        attach(&["--columns", "count,pod"]),
        "{\"count\":900,\"pod\":\"a\"}\n"
    );
    let least = attach(&["--sort", "count"]);
    assert!(
        !least.contains("getppid") && !least.contains("openat"),
        "{least}"
    );
    assert_eq!(least.lines().count(), 1, "{least}");
}

#[test]
fn the_view_of_a_run_is_the_output_of_its_job() {
    const NS: &str = "view";
    let (cluster, pods) = shared(NS);
    let arguments = "run syscall_count -n view -l app=checkout --duration 15s -o json --keep \
         --columns syscall,count --sort -count --top 1";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let (child, name) = started(&mut plugin(&cluster, &cluster.plane.admin(), &arguments));
    let output = &cluster.until_runs(NS, &name, 2)["spec"]["output"];
    let wanted =
        json!({"columns": ["syscall", "count"], "sort": ["-count"], "top": 1, "summaryRows": 20});
    assert_eq!(*output, wanted);
    let mut workload = Workload::behind_gate(&["getppid", "900"]);
    pods[0].add(&workload);
    workload.finish();
    let out = child.wait_with_output().unwrap();
    let account = account(&out);
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(
        text, "{\"syscall\":\"getppid\",\"count\":900}\n",
        "{account:#}"
    );
    // A later reader of the job has the same view.
    let attach = ["attach", &name, "-n", NS, "-o", "json"];
    assert_eq!(output_of(&cluster, &attach), text);
    output_of(&cluster, &["delete", &name, "-n", NS]);
}

#[test]
fn a_job_that_is_there_is_read_listed_described_and_deleted() {
    const NS: &str = "there";
    let (cluster, pods) = shared(NS);
    let spec = json!({"tracer": {"syscallCount": {}}, "activeDeadlineSeconds": 15});
    cluster.apply(&job(NS, "calls", spec));
    cluster.until_runs(NS, "calls", 2);
    let mut workload = Workload::behind_gate(&["getppid", "900"]);
    pods[0].add(&workload);
    workload.finish();
    let attach = ["attach", "calls", "-n", NS, "--by", "syscall", "-o", "csv"];
    let table = output_of(&cluster, &attach);
    assert!(
        table.lines().any(|line| line.starts_with("getppid,900,")),
        "{table}"
    );
    cluster.until_over(NS, "calls");
    let list = output_of(&cluster, &["list", "-A"]);
    let line = list
        .lines()
        .find(|line| line.starts_with(NS))
        .unwrap_or_else(|| panic!("{list}"));
    assert!(
        line.starts_with(NS)
            && line.contains("syscallCount")
            && line.contains("2/2")
            && line.contains("Complete"),
        "{list}"
    );
    let described = output_of(&cluster, &["describe", "calls", "-n", NS]);
    assert!(
        described.contains("Complete") && described.contains("getppid"),
        "{described}"
    );
    assert!(output_of(&cluster, &["delete", "calls", "-n", NS]).contains("calls"));
    assert!(cluster.job(NS, "calls").is_none());
}

#[test]
fn a_missing_right_is_reported_with_the_command_that_grants_it() {
    const NS: &str = "lacks";
    let (cluster, _pods) = shared(NS);
    let bob = cluster.plane.kubeconfig("bob", &[]);
    let tries = |arguments: &[&str]| {
        let out = plugin(&cluster, &bob, arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code(), text(&out.stderr), text(&out.stdout))
    };
    let (code, message, _) = tries(&["run", "open", "-n", NS]);
    assert_eq!(code, Some(1));
    assert!(
        message.contains("you may not create tracejobs in namespace lacks"),
        "{message}"
    );
    assert!(
        message.contains("kubectl create rolebinding")
            && message.contains("--clusterrole=tracejob-editor"),
        "{message}"
    );
    let (code, message, doctor) = tries(&["doctor", "-n", NS]);
    assert_eq!(code, Some(1), "{message}");
    assert!(
        doctor.contains("gateway") && doctor.contains("create"),
        "{doctor}"
    );
    // With the role of the message it works.
    let subject = json!({"kind": "User", "name": "bob", "apiGroup": "rbac.authorization.k8s.io"});
    cluster.apply(&job(
        NS,
        "quiet",
        json!({"tracer": {"open": {}}, "suspend": true}),
    ));
    let (_, message, _) = tries(&["attach", "quiet", "-n", NS]);
    assert!(message.contains("you may not"), "{message}");
    bind(&cluster, NS, "tracejob-reader", subject);
    let (code, message, list) = tries(&["list", "-n", NS]);
    assert_eq!(code, Some(0), "{message}");
    assert!(list.contains("quiet"), "{list}");
}

#[test]
fn a_doctor_lists_the_number_of_nodes_where_each_tracer_works() {
    const NS: &str = "doctor";
    let (cluster, _pods) = shared(NS);
    let doctor = output_of(&cluster, &["doctor", "-n", NS]);
    for tracer in tracers::ALL {
        let line = doctor.lines().find(|line| line.starts_with(tracer.name()));
        let line = line.unwrap_or_else(|| panic!("{doctor}"));
        assert!(line.contains("2 of 2"), "{line}");
    }
    assert!(!doctor.contains("missing"), "{doctor}");
}
