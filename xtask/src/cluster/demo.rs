//! `demo --cluster`: the commands of a cluster's user with their output, on the cluster that `cluster up` started.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::hand;
use crate::{
    process,
    screen::{Step, duration, table},
};

const OBJECTS: &str = "tests/cluster/demo.yaml";
const NAMESPACE: &str = "tracejob-demo";
/// Timeout of both jobs. Pods start in half a minute on emulated nodes.
const PATIENCE: Duration = Duration::from_secs(300);

/// Applies two jobs and two pods, waits for the end of the jobs, and shows their status.
pub(crate) fn demo() -> Result<()> {
    hand::must_be_up()?;
    println!("Two jobs, and two pods on two nodes, whose kernels are not the same:\n");
    shown(&["get", "nodes", "-o", "wide"])?;
    let began = Instant::now();
    shown(&["apply", "-f", OBJECTS])?;
    let step = Step::start(
        "jobs",
        "the pods start, and are traced from their first instruction",
    );
    let ran = loop {
        let jobs = json(&["get", "tracejobs", "-n", NAMESPACE, "-o", "json"])?;
        let jobs = jobs["items"].as_array().cloned().unwrap_or_default();
        let on = |job: &Value| job["status"]["nodes"]["running"] == 2;
        if !jobs.is_empty() && jobs.iter().all(on) {
            break began.elapsed();
        }
        if began.elapsed() > PATIENCE {
            step.failed();
            bail!(
                "the jobs do not run on both nodes; `cargo xtask cluster kubectl describe tj -n {NAMESPACE}` shows the reason"
            );
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    step.done(&format!(
        "both run on both nodes, {} after they were applied",
        duration(ran)
    ));
    let step = Step::start("jobs", "60 s");
    let wait = [
        "wait",
        "-n",
        NAMESPACE,
        "--for=condition=Complete",
        "--timeout=150s",
        "tj",
        "--all",
    ];
    process::output(&mut hand::command(&wait)?)?;
    step.done("complete");
    println!();
    shown(&["get", "tracejobs", "-n", NAMESPACE])?;
    println!(
        "What was called, on all nodes together: kubectl get tj calls -n {NAMESPACE} -o yaml, status.summary\n"
    );
    let job = json(&["get", "tj", "calls", "-n", NAMESPACE, "-o", "json"])?;
    let columns = [
        "node",
        "pod",
        "container",
        "syscall",
        "count",
        "errors",
        "latency",
    ];
    let rows = job["status"]["summary"]["rows"].as_array();
    let rows = rows.context("the job has no summary")?.iter();
    let cell = |row: &Value, name: &&str| row[*name].as_str().unwrap_or_default().to_owned();
    let rows = rows.map(|row| columns.iter().map(|name| cell(row, name)).collect());
    let header = columns.map(str::to_uppercase);
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    println!("{}", table(&header, &rows.collect::<Vec<_>>()));
    shown(&["events", "-n", NAMESPACE, "--for=tracejob/connections"])?;
    process::output(&mut hand::command(&[
        "delete",
        "namespace",
        NAMESPACE,
        "--wait=false",
    ])?)?;
    Ok(())
}

/// Prints a command of kubectl and its output.
fn shown(arguments: &[&str]) -> Result<()> {
    println!("$ kubectl {}", arguments.join(" "));
    println!("{}", process::output(&mut hand::command(arguments)?)?);
    Ok(())
}

fn json(arguments: &[&str]) -> Result<Value> {
    let text = process::output(&mut hand::command(arguments)?)?;
    serde_json::from_str(&text).context("reading the output of kubectl")
}
