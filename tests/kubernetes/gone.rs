//! Deleted jobs, with and without a controller: they are deleted at once, and their traces end.

use crate::cluster::{Cluster, job};
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::until;

fn runs(cluster: &Cluster, name: &str) {
    let spec = json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600});
    cluster.apply(&job("shop", name, spec));
    cluster.until_runs("shop", name, 1);
}

/// Deletes something, which has to go without a controller's help.
fn delete(cluster: &Cluster, arguments: &[&str]) {
    let all = [&["delete", "--timeout=30s"], arguments].concat();
    let out = cluster.plane.kubectl(&all);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// Waits until the agent has ended this number of traces on request.
fn until_stopped(cluster: &Cluster, traces: usize) {
    let log = cluster.agent_log(0);
    until("the agent to stop the trace", || {
        let log = std::fs::read_to_string(&log).unwrap();
        // A record within a line of the log.
        (log.matches(r#"\"ended\":\"stopped\""#).count() == traces).then_some(())
    });
}

#[test]
fn a_job_is_deleted_without_a_controller_and_the_next_controller_stops_its_trace() {
    let mut cluster = Cluster::start(1);
    let _pod = cluster.pod("shop", "a", 0, "x");
    runs(&cluster, "left");
    cluster.kill_controller();
    delete(&cluster, &["tj", "left", "-n", "shop"]);
    // No job needs that agent any more: its trace is stopped all the same.
    cluster.start_controller();
    until_stopped(&cluster, 1);
}

#[test]
fn the_definitions_are_deleted_with_a_running_job_and_no_controller() {
    let mut cluster = Cluster::start(1);
    let _pod = cluster.pod("shop", "a", 0, "x");
    runs(&cluster, "left");
    cluster.kill_controller();
    delete(&cluster, &["crd", "tracejobs.tracejob.dev"]);
}

#[test]
fn an_agent_that_does_not_answer_when_a_job_is_deleted_stops_its_trace_when_it_does() {
    let cluster = Cluster::start(1);
    let _pod = cluster.pod("shop", "a", 0, "x");
    runs(&cluster, "cut");
    cluster.signal_agent(0, Signal::STOP);
    delete(&cluster, &["tj", "cut", "-n", "shop"]);
    cluster.signal_agent(0, Signal::CONT);
    until_stopped(&cluster, 1);
}

#[test]
fn a_job_with_the_finalizer_of_version_0_1_is_released() {
    let mut cluster = Cluster::start(1);
    let _pod = cluster.pod("shop", "a", 0, "x");
    let spec = json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600});
    let old = |name: &str| {
        let mut job = job("shop", name, spec.clone());
        job["metadata"]["finalizers"] = json!(["tracejob.dev/stop", "example.org/other"]);
        job
    };
    let finalizers = |cluster: &Cluster, name: &str| -> Option<Value> {
        Some(cluster.job("shop", name)?["metadata"]["finalizers"].clone())
    };
    let others = json!(["example.org/other"]);
    cluster.apply(&old("runs"));
    cluster.until_runs("shop", "runs", 1);
    assert_eq!(finalizers(&cluster, "runs"), Some(others.clone()));
    // A job that is being deleted, as version 0.1 left it; its trace ends although another finalizer keeps the object.
    cluster.kill_controller();
    cluster.apply(&old("goes"));
    for name in ["runs", "goes"] {
        delete(&cluster, &["tj", name, "-n", "shop", "--wait=false"]);
    }
    cluster.start_controller();
    until("the finalizer to go", || {
        (finalizers(&cluster, "goes")? == others).then_some(())
    });
    until_stopped(&cluster, 1);
}
