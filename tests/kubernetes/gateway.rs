//! The gateway: the rows of a job from all its nodes through one call, for permitted users.

mod attacks;
mod connections;
mod faults;
mod foreign;
pub(crate) mod reader;
mod soak;

use crate::cluster::{Cluster, Pod, job};
use reader::{Reader, raw};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, Weak};
use tests::Workload;

/// A cluster of a test's own with two nodes, a pod on each, and a gateway.
fn cluster() -> (Cluster, [Pod; 2]) {
    let mut cluster = Cluster::start(2);
    cluster.start_gateways(1);
    let pods = pods(&cluster, "shop");
    (cluster, pods)
}

/// One that all tests have which break nothing, with a namespace of a test's own.
pub(crate) fn shared(namespace: &str) -> (Arc<Cluster>, [Pod; 2]) {
    static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
    let cluster = {
        let mut shared = SHARED.lock().unwrap_or_else(|broken| broken.into_inner());
        shared.upgrade().unwrap_or_else(|| {
            let mut cluster = Cluster::start(2);
            cluster.start_gateways(1);
            let cluster = Arc::new(cluster);
            *shared = Arc::downgrade(&cluster);
            cluster
        })
    };
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    cluster.plane.apply(&[object]).unwrap();
    let pods = pods(&cluster, namespace);
    (cluster, pods)
}

fn pods(cluster: &Cluster, namespace: &str) -> [Pod; 2] {
    [
        cluster.pod(namespace, "a", 0, "checkout"),
        cluster.pod(namespace, "b", 1, "checkout"),
    ]
}

fn opens(pod: &Pod, times: &str) {
    let mut workload =
        Workload::behind_gate(&["open-times", times, "openat", "/dev/null", "0", "0"]);
    pod.add(&workload);
    workload.finish();
}

fn events(namespace: &str, name: &str) -> String {
    format!(
        "/apis/subresources.tracejob.dev/v1alpha1/watch/namespaces/{namespace}/tracejobs/{name}/events"
    )
}

fn until_end(limit: u64) -> Value {
    json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 120, "limits": {"maxEvents": limit}})
}

#[test]
fn rows_of_all_nodes_come_by_one_call_of_kubectl_in_the_order_of_their_times_with_their_accounts() {
    const NS: &str = "rows";
    let (cluster, pods) = shared(NS);
    cluster.apply(&job(NS, "opens", until_end(50)));
    let reader = Reader::start(&cluster, &cluster.plane.admin(), &events(NS, "opens"));
    cluster.until_runs(NS, "opens", 2);
    std::thread::scope(|scope| {
        pods.iter()
            .for_each(|pod| drop(scope.spawn(|| opens(pod, "50"))));
    });
    let read = reader.finish();
    assert_eq!(read.rows.len(), 100, "{read:?}");
    let times: Vec<u64> = read
        .rows
        .iter()
        .map(|row| row["time"].as_u64().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    for (node, pod) in [("node-0", "a"), ("node-1", "b")] {
        let of = |row: &&Value| row["node"] == node && row["pod"] == pod && row["namespace"] == NS;
        assert_eq!(read.rows.iter().filter(of).count(), 50, "{node}");
    }
    let account = &read.account;
    assert_eq!(
        (&account["produced"], &account["delivered"]),
        (&json!(100), &json!(100))
    );
    assert_eq!(
        (&account["complete"], &account["missed_rows"]),
        (&json!(true), &json!(0))
    );
    let nodes = account["nodes"].as_array().unwrap();
    let of_nodes: Vec<_> = nodes
        .iter()
        .map(|node| (&node["node"], &node["state"], &node["produced"]))
        .collect();
    let ended = json!("ended");
    assert_eq!(
        of_nodes,
        [
            (&json!("node-0"), &ended, &json!(50)),
            (&json!("node-1"), &ended, &json!(50))
        ]
    );
    // What has ended is still there to be read, and only a part of it where only that is wanted.
    let path = events(NS, "opens") + "?nodes=node-1&limit=7&format=csv";
    let text = raw(&cluster, &cluster.plane.admin(), &path).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), 1 + 7, "{text}");
    assert!(
        lines[0].starts_with("node,namespace,pod,container,time,"),
        "{}",
        lines[0]
    );
    assert!(lines[1].starts_with("node-1,rows,b,"), "{}", lines[1]);
}

#[test]
fn tables_of_all_nodes_are_one_table_by_those_keys_that_a_reader_wants() {
    const NS: &str = "tables";
    let (cluster, pods) = shared(NS);
    let spec = json!({"tracer": {"syscallCount": {}}, "activeDeadlineSeconds": 25});
    cluster.apply(&job(NS, "calls", spec));
    let admin = cluster.plane.admin();
    let by_call = Reader::start(
        &cluster,
        &admin,
        &(events(NS, "calls") + "?by=syscall&interval=1s"),
    );
    let whole = Reader::start(&cluster, &admin, &events(NS, "calls"));
    cluster.until_runs(NS, "calls", 2);
    for (pod, calls) in pods.iter().zip(["700", "300"]) {
        let mut workload = Workload::behind_gate(&["getppid", calls]);
        pod.add(&workload);
        workload.finish();
    }
    let (by_call, whole) = (by_call.finish(), whole.finish());
    let of = |rows: &[Value]| -> Vec<Value> {
        rows.iter()
            .filter(|row| row["syscall"] == "getppid")
            .cloned()
            .collect()
    };
    let last = of(&by_call.rows).pop().unwrap();
    assert_eq!(last["count"], 1000, "{last}");
    assert!(last["node"].is_null() && last["elapsed_ns"].as_u64().unwrap() > 0);
    // Of each second one, which grows.
    let counts: Vec<u64> = of(&by_call.rows)
        .iter()
        .map(|row| row["count"].as_u64().unwrap())
        .collect();
    assert!(counts.len() > 2 && counts.is_sorted(), "{counts:?}");
    let mut each: Vec<_> = of(&whole.rows)
        .iter()
        .map(|row| (row["node"].clone(), row["count"].clone()))
        .collect();
    each.sort_by_key(|(node, _)| node.to_string());
    assert_eq!(
        each,
        [(json!("node-0"), json!(700)), (json!("node-1"), json!(300))]
    );
    assert_eq!(whole.account["complete"], true, "{}", whole.account);
    let job = cluster.until_over(NS, "calls");
    assert_eq!(
        whole.account["produced"],
        job["status"]["events"]["produced"]
    );
    let message = raw(&cluster, &admin, &(events(NS, "calls") + "?by=count")).unwrap_err();
    assert!(
        message.contains(
            "is not a key column; the key columns are node, namespace, pod, container, syscall"
        ),
        "{message}"
    );
}

#[test]
fn kubectl_finds_what_there_is_and_has_nothing_to_complain_of() {
    const NS: &str = "finds";
    let (cluster, _pods) = shared(NS);
    let run = |arguments: &[&str]| {
        let out = cluster.plane.kubectl(arguments);
        let message = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            out.status.success() && message.is_empty(),
            "{arguments:?}: {message}"
        );
        String::from_utf8(out.stdout).unwrap()
    };
    let resources = run(&["api-resources", "--api-group=tracejob.dev"]);
    assert!(resources.contains("clustertracejobs"), "{resources}");
    let versions = run(&["api-versions"]);
    assert!(
        versions.contains("subresources.tracejob.dev/v1alpha1"),
        "{versions}"
    );
    let group = run(&["get", "--raw", "/apis/subresources.tracejob.dev/v1alpha1"]);
    assert!(group.contains("tracejobs/events"), "{group}");
    let service = run(&["get", "apiservice", "v1alpha1.subresources.tracejob.dev"]);
    assert!(service.contains("True"), "{service}");
    run(&["explain", "tracejob.spec"]);
    tests::until("its OpenAPI document", || {
        let index = cluster.plane.get("/openapi/v3")?;
        let of_ours = &index["paths"]["apis/subresources.tracejob.dev/v1alpha1"];
        let path = of_ours["serverRelativeURL"].as_str()?;
        cluster
            .plane
            .get(path)
            .filter(|document| document["openapi"] == "3.0.0")
    });
}

#[test]
fn what_cannot_be_is_an_error_that_kubectl_shows() {
    const NS: &str = "errors";
    let (cluster, _pods) = shared(NS);
    let admin = cluster.plane.admin();
    let refused = |path: &str| raw(&cluster, &admin, path).unwrap_err();
    let none = refused(&events(NS, "none"));
    assert_eq!(
        none.trim(),
        "Error from server (NotFound): tracejobs.tracejob.dev \"errors/none\" not found"
    );
    cluster.apply(&job(
        NS,
        "opens",
        json!({"tracer": {"open": {}}, "suspend": true}),
    ));
    for (query, words) in [
        ("?format=xml", "format: json, csv or protobuf"),
        ("?by=node", "by: rows of events are not merged"),
        ("?resume=AAAA", "resume is not a token"),
        ("?limit=-1", "limit: a number of rows, from 1"),
        ("?lmit=1", "unknown parameter \"lmit\""),
    ] {
        let message = refused(&(events(NS, "opens") + query));
        assert!(
            message.contains("BadRequest") && message.contains(words),
            "{query}: {message}"
        );
    }
}
