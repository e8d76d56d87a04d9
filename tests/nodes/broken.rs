//! What is taken away from the cluster: one after the other, and each puts it back.

use crate::{
    cluster::{Cluster, FOREVER, GATE, Namespace, Test, until},
    jobs::{connections, tcp},
};
use serde_json::json;
use tests::SYSTEM;

pub(crate) const TESTS: [Test; 8] = [
    Test::long("broken::helm_test_has_its_own_pod_traced", helm_test),
    Test::long(
        "broken::an_agent_that_is_replaced_has_its_traces_again",
        agent_replaced,
    ),
    Test::long(
        "broken::another_controller_goes_on_when_the_leader_is_gone",
        leader_gone,
    ),
    Test::short(
        "broken::agents_go_on_while_the_api_server_is_away",
        api_away,
    ),
    Test::short(
        "broken::a_trace_that_ends_while_the_api_server_is_away_keeps_its_account",
        ends_without_api,
    ),
    Test::short(
        "broken::a_node_without_power_is_named_and_one_that_is_back_traces_again",
        power,
    ),
    Test::long(
        "broken::jobs_survive_an_upgrade_and_a_new_installation",
        upgrade,
    ),
    // The last: there is no TraceJob after it.
    Test::short(
        "broken::an_uninstall_leaves_jobs_and_nothing_that_runs",
        uninstall,
    ),
];

fn helm_test(cluster: &Cluster) {
    let out = cluster
        .kubectl()
        .helm()
        .args(["test", "tracejob", "-n", SYSTEM, "--timeout", "10m"])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let logs = || {
        cluster
            .kubectl()
            .output_of(&["logs", "-n", "default", "tracejob-check"])
    };
    assert!(out.status.success(), "{}{}", text(&out.stderr), logs());
    let output = text(&out.stdout);
    assert!(
        output.contains("Phase:") && output.contains("Succeeded"),
        "{output}"
    );
    // It takes away what it made.
    let left = cluster
        .kubectl()
        .get("/api/v1/namespaces/default/pods/tracejob-check");
    assert!(left.is_none());
}

fn agent_replaced(cluster: &Cluster) {
    let namespace = cluster.namespace("agent");
    namespace.pod("one", 0, "pause-forever");
    namespace.until_pod_runs("one");
    namespace.job("agent", 180, None, tcp(), "one");
    namespace.until_runs("agent", 1);
    let path =
        format!("/api/v1/namespaces/{SYSTEM}/pods?labelSelector=app.kubernetes.io/component=agent");
    let agents = cluster.kubectl().get(&path).unwrap();
    let agents = agents["items"].as_array().unwrap();
    let one = agents
        .iter()
        .find(|pod| pod["spec"]["nodeName"] == cluster.nodes[0].as_str())
        .unwrap();
    cluster.kubectl().output_of(&[
        "delete",
        "pod",
        "-n",
        SYSTEM,
        one["metadata"]["name"].as_str().unwrap(),
    ]);
    // Its pod is gone; the next one has its traces ten seconds after it is ready, at most.
    cluster.kubectl().output_of(&[
        "rollout",
        "status",
        "daemonset/tracejob-agent",
        "-n",
        SYSTEM,
        "--timeout=120s",
    ]);
    namespace.pod(
        "one-more",
        0,
        &format!("nanosleep 12000 1 , {} , pause-forever", connections(30)),
    );
    namespace.until_delivered("agent", 30);
}

fn leader_gone(cluster: &Cluster) {
    let namespace = cluster.namespace("leader");
    namespace.job("leader", 300, None, tcp(), "steady");
    namespace.pod(
        "steady-0",
        0,
        &format!("{} , pause-forever", connections(30)),
    );
    namespace.until_delivered("leader", 30);
    let lease = || {
        let path =
            format!("/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/tracejob-controller");
        let lease = cluster.kubectl().get(&path)?;
        lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
    };
    let leader = until(|| "a leader".to_owned(), lease);
    cluster
        .kubectl()
        .output_of(&["delete", "pod", "-n", SYSTEM, &leader]);
    until(
        || "another leader".to_owned(),
        || lease().filter(|now| *now != leader),
    );
    namespace.pod(
        "steady-1",
        1,
        &format!("{} , pause-forever", connections(30)),
    );
    namespace.until_delivered("leader", 60);
}

fn api_away(cluster: &Cluster) {
    let namespace = cluster.namespace("api");
    without_api(cluster, &namespace, None);
    namespace.until_delivered("api", 40);
}

fn ends_without_api(cluster: &Cluster) {
    let namespace = cluster.namespace("api-end");
    without_api(cluster, &namespace, Some(40));
    let over = namespace.until_over("api", "Complete");
    assert_eq!(over["status"]["events"]["delivered"], 40);
}

/// Has the job `api` trace 40 connections of one pod while there is no API server.
fn without_api(cluster: &Cluster, namespace: &Namespace<'_>, events: Option<u64>) {
    namespace.pod(
        "on-0",
        0,
        &format!("{GATE} , {} , {FOREVER}", connections(40)),
    );
    let pod = namespace.until_pod_runs("on-0");
    namespace.job("api", 300, events, tcp(), "on");
    namespace.until_runs("api", 1);
    let agent = cluster.agent(0);
    let before = cluster.produced(&agent);
    cluster.parts().plane_mut().stop_api();
    cluster.open_gate(&pod);
    until(
        || "the agent to trace without an API server".to_owned(),
        || (cluster.produced(&agent) == before + 40).then_some(()),
    );
    cluster.parts().plane_mut().start_api();
}

fn power(cluster: &Cluster) {
    let namespace = cluster.namespace("power");
    namespace.pod(
        "dark-0",
        0,
        &format!("{GATE} , {} , {FOREVER}", connections(25)),
    );
    namespace.pod("dark-1", 1, FOREVER);
    let stays = namespace.until_pod_runs("dark-0");
    namespace.until_pod_runs("dark-1");
    namespace.job("dark", 30, None, tcp(), "dark");
    namespace.until_runs("dark", 2);
    cluster.parts().power_off(2);
    cluster.open_gate(&stays);
    let over = namespace.until_over("dark", "Partial");
    let status = &over["status"];
    assert_eq!(status["events"]["delivered"], 25, "{status:#}");
    assert_eq!(status["failures"][0]["node"], "node-2", "{status:#}");
    // It comes back, as a new machine of its name.
    cluster.parts().boot(2);
    namespace.job("light", 400, None, tcp(), "light");
    cluster.kubectl().output_of(&[
        "delete",
        "pod",
        "dark-1",
        "-n",
        &namespace.name,
        "--force",
        "--grace-period=0",
    ]);
    // Its pods start in any order: the agent may be the last.
    namespace.pod(
        "light",
        1,
        &format!("{GATE} , {} , {FOREVER}", connections(15)),
    );
    let pod = namespace.until_pod_runs("light");
    namespace.until_runs("light", 1);
    cluster.open_gate(&pod);
    namespace.until_delivered("light", 15);
    cluster.parts().until_ready(2);
}

fn upgrade(cluster: &Cluster) {
    let namespace = cluster.namespace("upgrade");
    namespace.pod(
        "up",
        0,
        &format!("{GATE} , {} , {FOREVER}", connections(10)),
    );
    let pod = namespace.until_pod_runs("up");
    namespace.job("up", 400, None, tcp(), "up");
    namespace.until_runs("up", 1);
    // Another configuration for all of it: pods are replaced, the job goes on.
    cluster.parts().install(&["--set", "controller.annotations.a=b,agent.annotations.a=b,agent.updateStrategy.rollingUpdate.maxUnavailable=100%"]);
    cluster.open_gate(&pod);
    namespace.until_delivered("up", 10);
    cluster.uninstall();
    // No controller can stop it: its agents ended it when they ended.
    cluster
        .kubectl()
        .output_of(&["delete", "tj", "up", "-n", &namespace.name, "--timeout=60s"]);
    cluster.parts().install(&[]);
}

fn uninstall(cluster: &Cluster) {
    let namespace = cluster.namespace("uninstall");
    namespace.pod("left", 0, FOREVER);
    namespace.until_pod_runs("left");
    namespace.job("left", 400, None, tcp(), "left");
    namespace.until_runs("left", 1);
    cluster.uninstall();
    for kind in ["daemonsets", "deployments"] {
        let left = cluster
            .kubectl()
            .get(&format!("/apis/apps/v1/namespaces/{SYSTEM}/{kind}"));
        assert_eq!(left.unwrap()["items"], json!([]), "{kind}");
    }
    until(
        || "the pods of TraceJob to end".to_owned(),
        || {
            let path = format!("/api/v1/namespaces/{SYSTEM}/pods");
            let left = cluster.kubectl().get(&path)?;
            (left["items"] == json!([])).then_some(())
        },
    );
    // The definitions, and with them the jobs, stay.
    let job = format!(
        "/apis/tracejob.dev/v1alpha1/namespaces/{}/tracejobs/left",
        namespace.name
    );
    assert!(cluster.kubectl().get(&job).is_some());
    // A job that ran does not delay the deletion of its namespace.
    cluster
        .kubectl()
        .output_of(&["delete", "namespace", &namespace.name, "--timeout=60s"]);
}
