//! kubectl tracejob: jobs as a person makes, reads and ends them, by the real kubectl, which finds it on PATH.

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
    // Another test may have been quicker.
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

fn says(cluster: &Cluster, arguments: &[&str]) -> String {
    let out = plugin(cluster, &cluster.plane.admin(), arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{arguments:?}: {}", text(&out.stderr));
    text(&out.stdout)
}

/// One that runs, once it has said that tracing has begun, and the lines that it says after that.
#[expect(clippy::zombie_processes, reason = "who asks for it waits for it")]
fn started(command: &mut Command) -> (Child, String) {
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.as_mut().unwrap());
    let mut name = String::new();
    loop {
        let mut line = String::new();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended: {name}");
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
    let told = lines(&out.stderr);
    told.last().unwrap()["account"].clone()
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
    let table = says(&cluster, &attach);
    assert!(
        table.lines().any(|line| line.starts_with("getppid,900,")),
        "{table}"
    );
    cluster.until_over(NS, "calls");
    let list = says(&cluster, &["list", "-A"]);
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
    let described = says(&cluster, &["describe", "calls", "-n", NS]);
    assert!(
        described.contains("Complete") && described.contains("getppid"),
        "{described}"
    );
    assert!(says(&cluster, &["delete", "calls", "-n", NS]).contains("calls"));
    assert!(cluster.job(NS, "calls").is_none());
}

#[test]
fn who_lacks_a_right_is_told_which_and_what_gives_it() {
    const NS: &str = "lacks";
    let (cluster, _pods) = shared(NS);
    let bob = cluster.plane.kubeconfig("bob", &[]);
    let tries = |arguments: &[&str]| {
        let out = plugin(&cluster, &bob, arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code(), text(&out.stderr), text(&out.stdout))
    };
    let (code, said, _) = tries(&["run", "open", "-n", NS]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("you may not create tracejobs in namespace lacks"),
        "{said}"
    );
    assert!(
        said.contains("kubectl create rolebinding")
            && said.contains("--clusterrole=tracejob-editor"),
        "{said}"
    );
    let (code, said, doctor) = tries(&["doctor", "-n", NS]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        doctor.contains("gateway") && doctor.contains("create"),
        "{doctor}"
    );
    // By the role that is named it works.
    let subject = json!({"kind": "User", "name": "bob", "apiGroup": "rbac.authorization.k8s.io"});
    cluster.apply(&job(
        NS,
        "quiet",
        json!({"tracer": {"open": {}}, "suspend": true}),
    ));
    let (_, said, _) = tries(&["attach", "quiet", "-n", NS]);
    assert!(said.contains("you may not"), "{said}");
    bind(&cluster, NS, "tracejob-reader", subject);
    let (code, said, list) = tries(&["list", "-n", NS]);
    assert_eq!(code, Some(0), "{said}");
    assert!(list.contains("quiet"), "{list}");
}

#[test]
fn a_doctor_tells_on_which_nodes_each_tracer_works() {
    const NS: &str = "doctor";
    let (cluster, _pods) = shared(NS);
    let told = says(&cluster, &["doctor", "-n", NS]);
    for tracer in tracers::ALL {
        let line = told.lines().find(|line| line.starts_with(tracer.name()));
        let line = line.unwrap_or_else(|| panic!("{told}"));
        assert!(line.contains("2 of 2"), "{line}");
    }
    assert!(!told.contains("missing"), "{told}");
}
