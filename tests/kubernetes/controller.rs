//! The controller: from a job to traces of the right pods on the right nodes, and back to its status.

use crate::cluster::{Cluster, container_id, holds, job, word};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{io::Write, process::Stdio};
use tests::{Workload, until};

const OPENS: [&str; 6] = ["open-times", "50", "openat", "/dev/null", "0", "0"];

fn in_pod(pod: &crate::cluster::Pod) -> Workload {
    opens(pod, "50")
}

fn opens(pod: &crate::cluster::Pod, times: &str) -> Workload {
    let mut steps = OPENS;
    steps[1] = times;
    let workload = Workload::behind_gate(&steps);
    pod.add(&workload);
    workload
}

#[test]
fn a_job_traces_the_pods_that_it_selects_on_all_nodes_and_no_others() {
    let cluster = Cluster::start(2);
    let here = cluster.pod("shop", "here", 0, "checkout");
    let there = cluster.pod("shop", "there", 1, "checkout");
    let other = cluster.pod("shop", "other", 0, "cart");
    let foreign = cluster.pod("bank", "foreign", 1, "checkout");
    let selector = json!({"matchLabels": {"app": "checkout"}});
    let spec = json!({"tracer": {"open": {}}, "selector": selector, "activeDeadlineSeconds": 600, "limits": {"maxEvents": 50}});
    cluster.apply(&job("shop", "opens", spec));
    let running = cluster.until_runs("shop", "opens", 2);
    assert_eq!(running["status"]["pods"], 2);
    assert_eq!(running["status"]["tracer"], "open");
    assert_eq!(word(&running), "Running");
    // Those that are not to be seen come first: the job ends with the others.
    let workloads = [&other, &foreign, &here, &there].map(in_pod);
    for mut workload in workloads {
        workload.finish();
    }
    let over = cluster.until_over("shop", "opens");
    let status = &over["status"];
    assert_eq!(word(&over), "Complete", "{status:#}");
    assert!(holds(&over, "Complete") && !holds(&over, "Failed") && !holds(&over, "Partial"));
    assert_eq!(status["events"]["produced"], 100, "{status:#}");
    assert_eq!(
        (&status["events"]["delivered"], &status["events"]["lost"]),
        (&json!(100), &json!(0))
    );
    assert_eq!(
        status["nodes"],
        json!({"desired": 2, "running": 0, "ended": 2, "failed": 0})
    );
    assert!(status["completionTime"].is_string() && status["startTime"].is_string());
    assert_eq!(status["observedGeneration"], 1);
    let wait = cluster.plane.kubectl(&[
        "wait",
        "--for=condition=Complete",
        "tj/opens",
        "-n",
        "shop",
        "--timeout=5s",
    ]);
    assert!(wait.status.success());
}

#[test]
fn a_pod_that_comes_while_a_job_runs_is_traced_from_its_first_instruction() {
    let cluster = Cluster::start(2);
    let spec = json!({"tracer": {"open": {}}, "selector": {"matchLabels": {"app": "checkout"}}, "activeDeadlineSeconds": 600, "limits": {"maxEvents": 50}});
    cluster.apply(&job("shop", "late", spec));
    let nowhere = cluster.until("to wait for pods", "shop", "late", |job| {
        !job["status"]["startTime"].is_null()
    });
    assert_eq!(nowhere["status"]["nodes"]["desired"], 0);
    let mut pod = cluster.bind("shop", "late-0", 1, "checkout");
    cluster.until_runs("shop", "late", 1);
    // Its cgroup, its container and its first instruction, without a wait between them.
    let mut workload = Workload::behind_gate(&OPENS);
    cluster.run("shop", &mut pod);
    pod.add(&workload);
    workload.finish();
    let over = cluster.until_over("shop", "late");
    assert_eq!(word(&over), "Complete");
    assert_eq!(over["status"]["events"]["delivered"], 50);
}

#[test]
fn a_container_that_is_gone_is_in_the_status_and_the_rest_of_its_node_is_traced() {
    let cluster = Cluster::start(1);
    let here = cluster.pod("shop", "here", 0, "x");
    // Its status in the API server is running. It has ended, and its kubelet has not reported that yet.
    let gone = cluster.bind("shop", "gone", 0, "x");
    cluster.report("shop", &gone, &container_id());
    let spec = json!({"tracer": {"open": {}}, "containers": ["main"], "activeDeadlineSeconds": 600, "limits": {"maxEvents": 50}});
    cluster.apply(&job("shop", "rest", spec));
    let running = cluster.until("to name the one that is gone", "shop", "rest", |job| {
        job["status"]["untracedTargets"] == 1
    });
    let status = &running["status"];
    assert_eq!(status["nodes"]["running"], 1, "{status:#}");
    let failure = &status["targetFailures"][0];
    let named = ["node", "namespace", "pod", "container", "reason"].map(|key| failure[key].clone());
    assert_eq!(named, ["node-0", "shop", "gone", "main", "TargetNotFound"]);
    in_pod(&here).finish();
    let over = cluster.until_over("shop", "rest");
    assert_eq!(word(&over), "Partial", "{:#}", over["status"]);
    assert!(holds(&over, "Complete") && holds(&over, "Partial"));
    assert_eq!(over["status"]["events"]["delivered"], 50);
}

#[test]
fn a_pods_status_that_names_another_pods_container_shows_nobody_that_container() {
    let cluster = Cluster::start(1);
    let own = cluster.pod("shop", "own", 0, "x");
    let mut victim = cluster.bind("bank", "victim", 0, "x");
    let id = container_id();
    cluster.start_container(&mut victim, &id);
    cluster.report("bank", &victim, &id);
    // A writer of a pod's status sets the id of another container, or the first characters of it.
    let [liar, short] = ["liar", "short"].map(|name| cluster.bind("shop", name, 0, "x"));
    cluster.report("shop", &liar, &id);
    cluster.report("shop", &short, &id[..60]);
    let spec = json!({"tracer": {"open": {}}, "containers": ["main"], "activeDeadlineSeconds": 600, "limits": {"maxEvents": 50}});
    cluster.apply(&job("shop", "lies", spec));
    let running = cluster.until("to find neither of them", "shop", "lies", |job| {
        job["status"]["untracedTargets"] == 2 && job["status"]["nodes"]["running"] == 1
    });
    let failures = running["status"]["targetFailures"].as_array().unwrap();
    assert!(
        failures.iter().all(|one| one["reason"] == "TargetNotFound"),
        "{failures:#?}"
    );
    in_pod(&victim).finish();
    in_pod(&own).finish();
    let over = cluster.until_over("shop", "lies");
    let events = &over["status"]["events"];
    assert_eq!(
        (&events["produced"], &events["delivered"]),
        (&json!(50), &json!(50))
    );
}

#[test]
fn a_container_that_comes_back_is_traced_again() {
    let cluster = Cluster::start(1);
    let mut pod = cluster.pod("shop", "crashes", 0, "x");
    let spec = json!({"tracer": {"open": {}}, "containers": ["main"], "activeDeadlineSeconds": 600, "limits": {"maxEvents": 150}});
    cluster.apply(&job("shop", "back", spec));
    cluster.until_runs("shop", "back", 1);
    in_pod(&pod).finish();
    // By its new id, as soon as the pod's status has it.
    let id = container_id();
    cluster.start_container(&mut pod, &id);
    cluster.report("shop", &pod, &id);
    cluster.until_selected(0, &id);
    in_pod(&pod).finish();
    // And again while its status is running, although it does not exist at first.
    let id = container_id();
    cluster.report("shop", &pod, &id);
    cluster.until("to miss it", "shop", "back", |job| {
        job["status"]["untracedTargets"] == 1
    });
    cluster.start_container(&mut pod, &id);
    cluster.until("to have it", "shop", "back", |job| {
        job["status"]["untracedTargets"] == 0
    });
    in_pod(&pod).finish();
    let over = cluster.until_over("shop", "back");
    assert_eq!(word(&over), "Complete", "{:#}", over["status"]);
    assert_eq!(over["status"]["events"]["delivered"], 150);
}

#[test]
fn a_static_pod_is_traced_from_the_uid_of_its_cgroup() {
    let cluster = Cluster::start(1);
    let mut pod = cluster.static_pod("shop", "etcd-node-0", 0);
    let spec =
        json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600, "limits": {"maxEvents": 50}});
    cluster.apply(&job("shop", "static", spec));
    cluster.until_runs("shop", "static", 1);
    // In a container that the kubelet has not reported yet: the cgroup of the pod selects it.
    cluster.start_container(&mut pod, &container_id());
    in_pod(&pod).finish();
    let over = cluster.until_over("shop", "static");
    assert_eq!(word(&over), "Complete", "{:#}", over["status"]);
    assert_eq!(over["status"]["events"]["delivered"], 50);
}

#[test]
fn tables_of_all_nodes_are_one_summary_without_text_of_the_traced() {
    let cluster = Cluster::start(2);
    let pods = [
        cluster.pod("shop", "a", 0, "x"),
        cluster.pod("shop", "b", 1, "x"),
    ];
    let spec = json!({"tracer": {"syscallCount": {}}, "activeDeadlineSeconds": 40, "output": {"summaryRows": 3}});
    cluster.apply(&job("shop", "calls", spec));
    cluster.until_runs("shop", "calls", 2);
    for (pod, calls) in pods.iter().zip(["700", "300"]) {
        let mut workload = Workload::behind_gate(&["getppid", calls]);
        pod.add(&workload);
        workload.finish();
    }
    let over = cluster.until_over("shop", "calls");
    assert_eq!(word(&over), "Complete", "{:#}", over["status"]);
    let summary = &over["status"]["summary"];
    let row = |at: usize| {
        let cell = |name: &str| summary["rows"][at][name].as_str().unwrap().to_owned();
        [cell("node"), cell("pod"), cell("syscall"), cell("count")]
    };
    assert_eq!(row(0), ["node-0", "a", "getppid", "700"], "{summary:#}");
    assert_eq!(row(1), ["node-1", "b", "getppid", "300"], "{summary:#}");
    assert_eq!(summary["rows"].as_array().unwrap().len(), 3);
    assert_eq!(summary["cut"], true);
}

#[test]
fn a_restarted_agent_gets_its_traces_again_and_the_job_is_not_complete() {
    comes_back(Cluster::kill_agent);
}

#[test]
fn an_agent_that_is_replaced_has_its_traces_again_and_the_job_does_not_end_with_the_old_one() {
    comes_back(Cluster::end_agent);
}

fn comes_back(end: fn(&mut Cluster, usize)) {
    let mut cluster = Cluster::start(1);
    let pod = cluster.pod("shop", "a", 0, "x");
    let spec =
        json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600, "limits": {"maxEvents": 60}});
    cluster.apply(&job("shop", "again", spec));
    cluster.until_runs("shop", "again", 1);
    in_pod(&pod).finish();
    cluster.until("to have seen", "shop", "again", |job| {
        job["status"]["events"]["delivered"] == 50
    });
    end(&mut cluster, 0);
    cluster.until("to miss its agent", "shop", "again", |job| {
        job["status"]["nodes"]["running"] == 0
    });
    cluster.start_agent(0);
    let began = std::time::Instant::now();
    cluster.until_runs("shop", "again", 1);
    eprintln!("it runs again after {:?}", began.elapsed());
    // The trace is a new one, with a limit of its own.
    opens(&pod, "60").finish();
    let over = cluster.until_over("shop", "again");
    assert_eq!(word(&over), "Partial", "{:#}", over["status"]);
    assert_eq!(over["status"]["events"]["delivered"], 110);
}

#[test]
fn a_controller_that_is_killed_goes_on_where_it_was_and_starts_nothing_twice() {
    let mut cluster = Cluster::start(1);
    let pod = cluster.pod("shop", "a", 0, "x");
    let spec =
        json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600, "limits": {"maxEvents": 150}});
    cluster.apply(&job("shop", "on", spec));
    cluster.until_runs("shop", "on", 1);
    in_pod(&pod).finish();
    cluster.kill_controller();
    in_pod(&pod).finish();
    cluster.start_controller();
    in_pod(&pod).finish();
    let over = cluster.until_over("shop", "on");
    assert_eq!(word(&over), "Complete", "{:#}", over["status"]);
    assert_eq!(over["status"]["events"]["produced"], 150);
}

#[test]
fn agents_end_traces_by_themselves_without_the_controller_and_it_gets_their_accounts_later() {
    let cluster = Cluster::start(1);
    let pod = cluster.pod("shop", "a", 0, "x");
    let spec = json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 15});
    cluster.apply(&job("shop", "alone", spec));
    cluster.until_runs("shop", "alone", 1);
    cluster.signal_controller(Signal::STOP);
    in_pod(&pod).finish();
    // The agent reports it to every reader.
    let agent = cluster.agent_log(0);
    until("the agent to end the trace", || {
        let log = std::fs::read_to_string(&agent).unwrap();
        // A record within a line of the log.
        log.contains(r#"\"ended\":\"duration\""#).then_some(())
    });
    let seen = cluster.job("shop", "alone").unwrap();
    assert_eq!(seen["status"]["nodes"]["ended"], 0);
    cluster.signal_controller(Signal::CONT);
    let over = cluster.until_over("shop", "alone");
    assert_eq!(word(&over), "Complete", "{:#}", over["status"]);
    assert_eq!(over["status"]["events"]["delivered"], 50);
}

#[test]
fn a_trace_that_ends_while_the_api_server_is_away_has_its_account_in_the_status_later() {
    let mut cluster = Cluster::start(1);
    let pod = cluster.pod("shop", "a", 0, "x");
    let spec =
        json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600, "limits": {"maxEvents": 50}});
    cluster.apply(&job("shop", "away", spec));
    cluster.until_runs("shop", "away", 1);
    cluster.plane.stop_api();
    in_pod(&pod).finish();
    // More than one write fails.
    let log = cluster.controller_log();
    until("the controller to try again", || {
        let log = std::fs::read_to_string(&log).unwrap();
        (log.matches("writing a status").count() > 2).then_some(())
    });
    cluster.plane.start_api();
    let over = cluster.until_over("shop", "away");
    assert_eq!(word(&over), "Complete", "{:#}", over["status"]);
    assert_eq!(over["status"]["events"]["delivered"], 50);
}

#[test]
fn a_node_that_does_not_answer_for_a_while_goes_on_tracing_and_nothing_is_missing() {
    let cluster = Cluster::start(1);
    let pod = cluster.pod("shop", "a", 0, "x");
    let spec =
        json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600, "limits": {"maxEvents": 100}});
    cluster.apply(&job("shop", "cut", spec));
    cluster.until_runs("shop", "cut", 1);
    cluster.signal_agent(0, Signal::STOP);
    in_pod(&pod).finish();
    let away = cluster.until("to miss its agent", "shop", "cut", |job| {
        job["status"]["nodes"]["running"] == 0
    });
    let failure = &away["status"]["failures"][0];
    assert_eq!(
        (&failure["node"], &failure["reason"]),
        (&json!("node-0"), &json!("AgentUnreachable"))
    );
    cluster.signal_agent(0, Signal::CONT);
    cluster.until_runs("shop", "cut", 1);
    in_pod(&pod).finish();
    let over = cluster.until_over("shop", "cut");
    assert_eq!(word(&over), "Complete", "{:#}", over["status"]);
    assert_eq!(over["status"]["events"]["delivered"], 100);
    assert_eq!(over["status"]["failures"], Value::Null);
}

#[test]
fn certificates_that_change_during_a_job_cost_it_nothing() {
    let mut cluster = Cluster::start(1);
    let pod = cluster.pod("shop", "a", 0, "x");
    let spec =
        json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600, "limits": {"maxEvents": 150}});
    cluster.apply(&job("shop", "certified", spec));
    cluster.until_runs("shop", "certified", 1);
    in_pod(&pod).finish();
    cluster.certify();
    in_pod(&pod).finish();
    // It has to connect anew, by a new certificate to a new one.
    cluster.kill_controller();
    cluster.start_controller();
    in_pod(&pod).finish();
    let over = cluster.until_over("shop", "certified");
    assert_eq!(word(&over), "Complete", "{:#}", over["status"]);
    assert_eq!(over["status"]["events"]["produced"], 150);
}

#[test]
fn a_suspended_job_stops_and_starts_anew_when_it_is_resumed() {
    let cluster = Cluster::start(1);
    let pod = cluster.pod("shop", "a", 0, "x");
    let spec = |suspend: bool| json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600, "limits": {"maxEvents": 50}, "suspend": suspend});
    cluster.apply(&job("shop", "pause", spec(true)));
    let paused = cluster.until("to be suspended", "shop", "pause", |job| {
        holds(job, "Suspended")
    });
    assert!(paused["status"]["startTime"].is_null());
    cluster.apply(&job("shop", "pause", spec(false)));
    cluster.until_runs("shop", "pause", 1);
    opens(&pod, "30").finish();
    cluster.apply(&job("shop", "pause", spec(true)));
    cluster.until("to be suspended", "shop", "pause", |job| {
        holds(job, "Suspended")
    });
    in_pod(&pod).finish();
    cluster.apply(&job("shop", "pause", spec(false)));
    cluster.until_runs("shop", "pause", 1);
    in_pod(&pod).finish();
    let over = cluster.until_over("shop", "pause");
    assert_eq!(word(&over), "Complete", "{:#}", over["status"]);
    assert_eq!(
        over["status"]["events"]["delivered"], 50,
        "what came before it was resumed is not its"
    );
}

#[test]
fn a_job_that_is_deleted_or_old_enough_is_gone_with_its_traces() {
    let mut cluster = Cluster::start(1);
    let _pod = cluster.pod("shop", "a", 0, "x");
    cluster.apply(&job(
        "shop",
        "gone",
        json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600}),
    ));
    cluster.until_runs("shop", "gone", 1);
    let delete = |name: &str| {
        let out = cluster
            .plane
            .kubectl(&["delete", "tj", name, "-n", "shop", "--timeout=30s"]);
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    };
    delete("gone");
    let log = cluster.agent_log(0);
    until("the agent to stop its trace", || {
        let log = std::fs::read_to_string(&log).unwrap();
        // A record within a line of the log.
        log.contains(r#"\"ended\":\"stopped\""#).then_some(())
    });
    let old =
        json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 1, "ttlSecondsAfterFinished": 2});
    cluster.apply(&job("shop", "old", old));
    cluster.until_over("shop", "old");
    until("it to be gone", || {
        cluster.job("shop", "old").is_none().then_some(())
    });
    // A node that does not answer keeps nothing.
    cluster.apply(&job(
        "shop",
        "dead",
        json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600}),
    ));
    cluster.until_runs("shop", "dead", 1);
    cluster.kill_agent(0);
    let out = cluster
        .plane
        .kubectl(&["delete", "tj", "dead", "-n", "shop", "--timeout=30s"]);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn a_node_that_is_lost_is_named_and_the_others_results_are_there() {
    let mut cluster = Cluster::start(2);
    let pods = [
        cluster.pod("shop", "a", 0, "x"),
        cluster.pod("shop", "b", 1, "x"),
    ];
    cluster.apply(&job(
        "shop",
        "lost",
        json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600, "limits": {"maxEvents": 50}}),
    ));
    cluster.until_runs("shop", "lost", 2);
    opens(&pods[1], "30").finish();
    cluster.kill_agent(1);
    let out = cluster.plane.kubectl(&["delete", "node", "node-1"]);
    assert!(out.status.success());
    in_pod(&pods[0]).finish();
    let over = cluster.until_over("shop", "lost");
    assert_eq!(word(&over), "Partial", "{:#}", over["status"]);
    assert_eq!(over["status"]["nodes"]["failed"], 1);
    assert_eq!(over["status"]["failures"][0]["node"], "node-1");
    assert_eq!(over["status"]["failures"][0]["reason"], "NodeGone");
    assert!(over["status"]["events"]["delivered"].as_u64().unwrap() >= 50);
}

#[test]
fn what_is_denied_or_too_much_is_said_in_the_condition() {
    let mut cluster = Cluster::start(1);
    cluster.kill_controller();
    cluster.start_controller_with(&[
        "--denied-namespaces",
        "bank",
        "--max-jobs-per-namespace",
        "1",
    ]);
    let _pod = cluster.pod("shop", "a", 0, "x");
    let spec = json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600});
    cluster.apply(&job("bank", "denied", spec.clone()));
    let denied = cluster.until_over("bank", "denied");
    assert_eq!(word(&denied), "NamespaceDenied");
    cluster.apply(&job("shop", "first", spec.clone()));
    cluster.until_runs("shop", "first", 1);
    cluster.apply(&job("shop", "second", spec));
    let queued = cluster.until("to wait", "shop", "second", |job| holds(job, "Progressing"));
    assert_eq!(word(&queued), "Queued");
    let message = |job: &Value| {
        job["status"]["conditions"][0]["message"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(
        message(&queued).contains("1 jobs of namespace shop are running"),
        "{}",
        message(&queued)
    );
    let out = cluster
        .plane
        .kubectl(&["delete", "tj", "first", "-n", "shop", "--timeout=30s"]);
    assert!(out.status.success());
    cluster.until_runs("shop", "second", 1);
    let host = json!({
        "apiVersion": "tracejob.dev/v1alpha1", "kind": "ClusterTraceJob", "metadata": {"name": "all"},
        "spec": {"tracer": {"open": {}}, "host": true},
    });
    cluster.apply(&host);
    let path = "/apis/tracejob.dev/v1alpha1/clustertracejobs/all";
    let refused = until("it to be refused", || {
        cluster.plane.get(path).filter(|job| holds(job, "Failed"))
    });
    assert_eq!(word(&refused), "HostDenied");
}

#[test]
fn a_pod_that_its_node_denies_is_in_the_status_and_the_nodes_other_pods_and_jobs_go_on() {
    let cluster = Cluster::start_with(1, "deniedNamespaces: [bank]");
    let _first = cluster.pod("shop", "first", 0, "x");
    let limits = json!({"maxEvents": 50});
    let spec = json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600, "limits": limits});
    cluster.apply(&json!({
        "apiVersion": "tracejob.dev/v1alpha1", "kind": "ClusterTraceJob", "metadata": {"name": "all"}, "spec": spec,
    }));
    cluster.apply(&job("shop", "other", spec));
    cluster.until_runs("shop", "other", 1);
    let path = "/apis/tracejob.dev/v1alpha1/clustertracejobs/all";
    let all = |what: &str, holds: fn(&Value) -> bool| {
        until(what, || cluster.plane.get(path).filter(holds))
    };
    all("to run", |job| job["status"]["nodes"]["running"] == 1);
    let _denied = cluster.pod("bank", "denied", 0, "x");
    let denied = all("to name what is denied", |job| {
        job["status"]["untracedTargets"] == 1
    });
    let failure = &denied["status"]["targetFailures"][0];
    let named = ["node", "namespace", "pod", "reason"].map(|key| failure[key].clone());
    assert_eq!(named, ["node-0", "bank", "denied", "PolicyDenied"]);
    // It comes after what is denied, and both jobs have it.
    let late = cluster.pod("shop", "late", 0, "x");
    in_pod(&late).finish();
    let other = cluster.until_over("shop", "other");
    assert_eq!(word(&other), "Complete", "{:#}", other["status"]);
    let over = all("to be over", |job| holds(job, "Complete"));
    assert_eq!(word(&over), "Partial", "{:#}", over["status"]);
    for job in [over, other] {
        assert_eq!(job["status"]["events"]["delivered"], 50);
    }
}

#[test]
fn the_pod_of_helm_test_is_traced_and_prints_its_counted_calls() {
    let cluster = Cluster::start(1);
    let pod = cluster.pod("shop", "checker", 0, "check");
    let run = |namespace: &str| {
        let mut command = cluster.plane.net().command("sh");
        command
            .args(["-c", "read go; exec \"$0\" check"])
            .arg(crate::cluster::ours("tracejob-controller"))
            .env("KUBECONFIG", cluster.plane.admin())
            .envs([("POD_NAMESPACE", namespace), ("POD_NAME", "checker")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        pod.add_process(child.id());
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        child.wait_with_output().unwrap()
    };
    let out = run("shop");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&out.stdout), text(&out.stderr));
    assert!(out.status.success(), "{stdout}{stderr}");
    assert!(
        stdout.contains("10000 of 10000 calls of getppid counted"),
        "{stdout}"
    );
    // If it does not run in the pod of its flag, it prints an error.
    let out = run("bank");
    assert!(!out.status.success());
    let wrong = text(&out.stderr);
    assert!(
        wrong.contains("timeout while waiting") && wrong.contains("no selected pod"),
        "{wrong}"
    );
    assert!(cluster.job("shop", "check-checker").is_none());
}
