//! What is taken away from the cluster: one after the other, and each puts it back.

use crate::{
    cluster::{Cluster, Test, until},
    jobs::{connections, tcp},
};
use serde_json::json;
use std::time::Duration;
use tests::SYSTEM;

pub(crate) const TESTS: [Test; 6] = [
    ("broken::helm_test_has_its_own_pod_traced", helm_test),
    (
        "broken::an_agent_that_is_replaced_has_its_traces_again",
        agent_replaced,
    ),
    (
        "broken::another_controller_goes_on_when_the_leader_is_gone",
        leader_gone,
    ),
    (
        "broken::agents_go_on_while_the_api_server_is_away",
        api_away,
    ),
    (
        "broken::a_node_without_power_is_named_and_one_that_is_back_traces_again",
        power,
    ),
    (
        "broken::an_upgrade_keeps_jobs_and_an_uninstall_leaves_nothing_that_runs",
        upgrade,
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
            .says(&["logs", "-n", "default", "tracejob-check"])
    };
    assert!(out.status.success(), "{}{}", text(&out.stderr), logs());
    let said = text(&out.stdout);
    assert!(
        said.contains("Phase:") && said.contains("Succeeded"),
        "{said}"
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
    cluster.kubectl().says(&[
        "delete",
        "pod",
        "-n",
        SYSTEM,
        one["metadata"]["name"].as_str().unwrap(),
    ]);
    // Its pod is gone; the next one has its traces ten seconds after it is ready, at most.
    cluster.kubectl().says(&[
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
        .says(&["delete", "pod", "-n", SYSTEM, &leader]);
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
    // It connects while the API server is away.
    namespace.pod(
        "on-0",
        0,
        "nanosleep 25000 1 , connect-times 40 127.0.0.1:9 , pause-forever",
    );
    namespace.until_pod_runs("on-0");
    namespace.job("api", 300, Some(40), tcp(), "on");
    namespace.until_runs("api", 1);
    let mut parts = cluster.parts();
    parts.plane_mut().stop_api();
    std::thread::sleep(Duration::from_secs(25));
    parts.plane_mut().start_api();
    drop(parts);
    namespace.until_delivered("api", 40);
    namespace.until_over("api", "Complete");
}

fn power(cluster: &Cluster) {
    let namespace = cluster.namespace("power");
    for node in 0..2 {
        let name = format!("dark-{node}");
        namespace.pod(&name, node, "pause-forever");
        namespace.until_pod_runs(&name);
    }
    namespace.job("dark", 70, None, tcp(), "dark");
    namespace.until_runs("dark", 2);
    cluster.parts().power_off(2);
    namespace.pod(
        "dark-more",
        0,
        "connect-times 25 127.0.0.1:9 , pause-forever",
    );
    let over = namespace.until_over("dark", "Partial");
    let status = &over["status"];
    assert_eq!(status["events"]["delivered"], 25, "{status:#}");
    assert_eq!(status["failures"][0]["node"], "node-2", "{status:#}");
    // It comes back, as a new machine of its name.
    cluster.parts().boot(2);
    namespace.job("light", 400, None, tcp(), "light");
    cluster.kubectl().says(&[
        "delete",
        "pod",
        "dark-1",
        "-n",
        &namespace.name,
        "--force",
        "--grace-period=0",
    ]);
    namespace.pod("light", 1, "connect-times 15 127.0.0.1:9 , pause-forever");
    namespace.until_delivered("light", 15);
    cluster.parts().until_ready(2);
}

fn upgrade(cluster: &Cluster) {
    let namespace = cluster.namespace("upgrade");
    namespace.pod("up", 0, "pause-forever");
    namespace.until_pod_runs("up");
    namespace.job("up", 400, None, tcp(), "up");
    namespace.until_runs("up", 1);
    // Another configuration for all of it: pods are replaced, the job goes on.
    cluster.parts().install(&["--set", "controller.annotations.a=b,agent.annotations.a=b,agent.updateStrategy.rollingUpdate.maxUnavailable=100%"]);
    namespace.pod("up-more", 0, "connect-times 10 127.0.0.1:9 , pause-forever");
    namespace.until_delivered("up", 10);
    let out = cluster.parts().uninstall();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    for kind in ["daemonsets", "deployments"] {
        let left = cluster
            .kubectl()
            .get(&format!("/apis/apps/v1/namespaces/{SYSTEM}/{kind}"));
        assert_eq!(left.unwrap()["items"], json!([]), "{kind}");
    }
    // The definitions, and with them the jobs, stay; and one can be removed, though nobody is there for its finalizer.
    let job = format!(
        "/apis/tracejob.dev/v1alpha1/namespaces/{}/tracejobs/up",
        namespace.name
    );
    assert!(cluster.kubectl().get(&job).is_some());
    cluster.parts().install(&[]);
    cluster
        .kubectl()
        .says(&["delete", "tj", "up", "-n", &namespace.name, "--timeout=60s"]);
}
