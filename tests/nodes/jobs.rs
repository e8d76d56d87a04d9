//! Jobs on pods that kubelets run.

use crate::cluster::{Cluster, Test, scaled};
use serde_json::{Value, json};
use tests::SYSTEM;

pub(crate) const TESTS: [Test; 7] = [
    Test::short(
        "jobs::agents_run_on_every_node_with_what_they_need_and_no_more",
        agents_run,
    ),
    Test::short(
        "jobs::pods_are_traced_from_their_first_instruction_on_every_node",
        first_instruction,
    ),
    Test::long(
        "jobs::every_tracer_runs_on_every_node_with_the_charts_capabilities",
        every_tracer,
    ),
    Test::long("jobs::a_container_that_restarts_is_traced_again", restarts),
    Test::long("jobs::tables_of_real_containers_are_one_summary", summary),
    Test::long("jobs::kubectl_applies_waits_and_shows", kubectl),
    Test::long("jobs::rows_of_all_nodes_come_by_one_call", rows),
];

/// In its pod only the workload opens connections.
pub(crate) fn connections(times: u32) -> String {
    format!("connect-times {times} 127.0.0.1:9")
}

pub(crate) fn tcp() -> Value {
    json!({"tcpConnect": {}})
}

fn agents_run(cluster: &Cluster) {
    let pods = |component: &str| {
        let path = format!(
            "/api/v1/namespaces/{SYSTEM}/pods?labelSelector=app.kubernetes.io/component={component}"
        );
        cluster.kubectl().get(&path).unwrap()["items"]
            .as_array()
            .unwrap()
            .clone()
    };
    let agents = pods("agent");
    let on: Vec<&str> = agents
        .iter()
        .map(|pod| pod["spec"]["nodeName"].as_str().unwrap())
        .collect();
    assert!(
        cluster.nodes.iter().all(|node| on.contains(&node.as_str())),
        "{on:?}"
    );
    let others = [pods("controller"), pods("gateway")].concat();
    for pod in agents.iter().chain(&others) {
        let status = &pod["status"]["containerStatuses"][0];
        assert_eq!(status["ready"], true, "{}", pod["metadata"]["name"]);
    }
    for pod in &agents {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let log = cluster.kubectl().output_of(&["logs", "-n", SYSTEM, name]);
        assert!(!log.contains("\"level\":\"ERROR\""), "{log}");
        if cluster.is_ours() {
            assert!(log.contains("tracejob-agent (enforce)"), "{log}");
        }
    }
}

pub(crate) fn started(job: &Value) -> bool {
    !job["status"]["startTime"].is_null()
}

fn first_instruction(cluster: &Cluster) {
    let namespace = cluster.namespace("first");
    namespace.job("first", 300, Some(50), tcp(), "early");
    namespace.until_job("first", "to wait for pods", started);
    let nodes = cluster.nodes.len();
    for node in 0..nodes {
        namespace.pod(
            &format!("early-{node}"),
            node,
            &format!("{} , pause-forever", connections(50)),
        );
    }
    namespace.pod("other", 1, &format!("{} , pause-forever", connections(50)));
    let all = 50 * nodes as u64;
    let over = namespace.until_over("first", "Complete");
    assert_eq!(over["status"]["events"]["produced"], all);
    assert_eq!(over["status"]["events"]["lost"], 0);
    assert_eq!(over["status"]["nodes"]["ended"], nodes as u64);
}

/// Reads rows through the gateway, with the certificate that the controller created.
fn rows(cluster: &Cluster) {
    let namespace = cluster.namespace("rows");
    namespace.job("rows", 300, Some(20), tcp(), "read");
    namespace.until_job("rows", "to wait for pods", started);
    for node in 0..cluster.nodes.len() {
        let steps = format!("{} , pause-forever", connections(20));
        namespace.pod(&format!("read-{node}"), node, &steps);
    }
    let path = format!(
        "/apis/subresources.tracejob.dev/v1alpha1/watch/namespaces/{}/tracejobs/rows/events",
        namespace.name
    );
    let text = cluster.kubectl().output_of(&["get", "--raw", &path]);
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    let rows = lines.iter().filter(|line| line["pod"].is_string());
    let pods: Vec<&str> = rows.map(|row| row["pod"].as_str().unwrap()).collect();
    for node in 0..cluster.nodes.len() {
        let name = format!("read-{node}");
        assert_eq!(
            pods.iter().filter(|pod| **pod == name).count(),
            20,
            "{text}"
        );
    }
    let account = &lines.last().unwrap()["account"];
    let all = 20 * cluster.nodes.len();
    assert_eq!(
        (&account["produced"], &account["complete"]),
        (&json!(all), &json!(true)),
        "{account:#}"
    );
}

/// Debian's own perf_event_paranoid is 3 there.
fn every_tracer(cluster: &Cluster) {
    let namespace = cluster.namespace("tracers");
    let nodes = cluster.nodes.len();
    for node in 0..nodes {
        let name = format!("all-{node}");
        namespace.pod(&name, node, "pause-forever");
        namespace.until_pod_runs(&name);
    }
    for tracer in tracers::ALL {
        let name = tracer.name().replace('_', "-");
        let spec = json!({tracers::camel(tracer.name()): {}});
        namespace.job(&name, 300, None, spec, "all");
        namespace.until_runs(&name, nodes as u64);
        cluster
            .kubectl()
            .output_of(&["delete", "tj", &name, "-n", &namespace.name]);
    }
}

fn restarts(cluster: &Cluster) {
    let namespace = cluster.namespace("again");
    namespace.job("again", 300, Some(40), tcp(), "again");
    // It ends, and the kubelet starts it anew, later each time.
    namespace.pod("again", 1, &connections(20));
    let over = namespace.until_over("again", "Complete");
    assert_eq!(over["status"]["events"]["delivered"], 40);
}

fn summary(cluster: &Cluster) {
    let namespace = cluster.namespace("calls");
    namespace.job("late", 90, None, json!({"syscallCount": {}}), "late");
    namespace.until_job("late", "to wait for pods", started);
    for node in 0..cluster.nodes.len() {
        let name = format!("late-{node}");
        namespace.pod(&name, node, "getppid 30000 , pause-forever");
    }
    let over = namespace.until_over("late", "Complete");
    let rows = over["status"]["summary"]["rows"].as_array().unwrap();
    for node in 0..cluster.nodes.len() {
        let name = format!("late-{node}");
        // Its first calls are of a container without a reported name.
        let of_it = rows
            .iter()
            .filter(|row| row["pod"] == name.as_str() && row["syscall"] == "getppid");
        let mut count = 0;
        for row in of_it {
            assert_eq!(row["node"], cluster.nodes[node].as_str());
            count += row["count"].as_str().unwrap().parse::<u64>().unwrap();
        }
        // The container's runtime calls getppid, too.
        assert!(
            (30_000..30_010).contains(&count),
            "{count}: {:#}",
            over["status"]
        );
    }
}

fn kubectl(cluster: &Cluster) {
    let namespace = cluster.namespace("kubectl");
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/checkout.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let mut job: Value = serde_yaml::from_str(&text).unwrap();
    job["metadata"]["namespace"] = json!(namespace.name);
    job["spec"]["activeDeadlineSeconds"] = json!(scaled(300));
    job["spec"]["limits"] = json!({"maxEvents": 7});
    namespace.apply(job);
    namespace.pod(
        "checkout",
        1,
        "connect-times 7 127.0.0.1:5432 , connect-times 5 127.0.0.1:80 , pause-forever",
    );
    let name = namespace.name.as_str();
    cluster.kubectl().output_of(&[
        "wait",
        "-n",
        name,
        "--for=condition=Complete",
        "--timeout=150s",
        "tj/checkout-db",
    ]);
    let table = cluster.kubectl().output_of(&["get", "tj", "-n", name]);
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        row[..4],
        ["checkout-db", "tcpConnect", "1/1", "7"],
        "{table}"
    );
    let events = cluster
        .kubectl()
        .output_of(&["events", "-n", name, "--for=tracejob/checkout-db"]);
    assert!(events.contains("Complete"), "{events}");
}
