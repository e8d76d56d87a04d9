//! Many nodes, and many jobs: the real API server and the real controller; the agents are simulated.
//!
//! `cargo xtask cluster scale` runs these at full size, and shows what they measured.

use crate::{
    cluster::{Cluster, holds, job, word},
    gateway::reader::{Tally, bind, connect, in_network, open, raw, stream_request, token},
    simulated::{Agents, CALLS, Recorded, record},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};
use tests::{SYSTEM, until_within};

/// Default numbers of nodes, jobs and rows.
const SMALL: Size = Size {
    nodes: 150,
    jobs: 60,
    rows: 60_000,
};
/// How many objects one call makes, so that several make them side by side.
const CHUNK: usize = 500;
const NAMESPACES: usize = 20;
/// Flags of the queue of the controller.
const QUOTA: (usize, usize) = (5, 50);
/// Addresses of simulated agents.
const PREFIX: &str = "10.128.0.0/16";
/// As the API server has it, and Kubernetes' own controller uses it.
const ENDPOINTS_PER_SLICE: usize = 100;
/// Address of the metrics of the controller.
const METRICS: &str = "127.0.0.1:9464";

struct Size {
    nodes: usize,
    jobs: usize,
    /// Of one job, of all its nodes.
    rows: usize,
}

impl Size {
    fn from_environment() -> Self {
        let number = |name: &str, small: usize| match std::env::var(name) {
            Ok(text) => text.parse().unwrap(),
            Err(_) => small,
        };
        Self {
            nodes: number("TRACEJOB_SCALE_NODES", SMALL.nodes),
            jobs: number("TRACEJOB_SCALE_JOBS", SMALL.jobs),
            rows: number("TRACEJOB_SCALE_ROWS", SMALL.rows),
        }
    }
}

/// Prints a measurement.
fn show(what: &str, value: impl std::fmt::Display) {
    println!("MEASURED {what}: {value}");
}

pub(crate) struct Fleet {
    pub(crate) cluster: Cluster,
    pub(crate) agents: std::sync::Arc<Agents>,
    pub(crate) recorded: Recorded,
}

/// A cluster whose nodes are names and addresses, each with a pod of `shop`; their messages are recorded from a real agent with the calls that
/// [`CALLS`] names.
fn fleet(nodes: usize) -> Fleet {
    let calls = CALLS.1.to_string();
    fleet_of(nodes, |cluster| {
        record(
            &cluster.plane,
            "10.77.1.1",
            "syscall_count",
            &[CALLS.0, &calls],
        )
    })
}

fn fleet_of(nodes: usize, record: impl FnOnce(&Cluster) -> Recorded) -> Fleet {
    fleet_with(nodes, record, |_| HashMap::new())
}

/// Starts such a fleet, with some agents that send other messages.
pub(crate) fn fleet_with(
    nodes: usize,
    record: impl FnOnce(&Cluster) -> Recorded,
    others: impl FnOnce(&Recorded) -> HashMap<IpAddr, Recorded>,
) -> Fleet {
    // For both ends of each connection.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let all = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, all).unwrap();
    let mut cluster = Cluster::start(1);
    let recorded = record(&cluster);
    cluster.kill_controller();
    cluster.kill_agent(0);
    cluster.plane.net().all_of(PREFIX);
    let others = others(&recorded);
    let agents = Agents::serve_with(&cluster.plane, recorded.clone(), others);
    let names: Vec<String> = (0..nodes).map(|node| format!("simulated-{node}")).collect();
    let all = names.iter();
    create(
        &cluster,
        all.map(|name| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})),
    );
    let addresses = names.iter().enumerate().collect::<Vec<_>>();
    let slices = addresses.chunks(ENDPOINTS_PER_SLICE).map(|nodes| {
        let endpoints = nodes.iter().map(|(node, name)| json!({"addresses": [address(*node)], "nodeName": name}));
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"generateName": "simulated-", "namespace": SYSTEM, "labels": {"kubernetes.io/service-name": "tracejob-agent"}},
            "ports": [{"name": "grpc", "port": 4040}], "endpoints": endpoints.collect::<Vec<_>>(),
        })
    });
    create(&cluster, slices);
    let pods = names
        .iter()
        .map(|name| pod("shop", &format!("load-{name}"), name));
    create(&cluster, pods);
    Fleet {
        cluster,
        agents,
        recorded,
    }
}

pub(crate) fn address(node: usize) -> String {
    let first = u32::from(Ipv4Addr::new(10, 128, 0, 1));
    Ipv4Addr::from(first + node as u32).to_string()
}

fn pod(namespace: &str, name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "load"}},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "none"}]},
    })
}

/// Makes objects, several calls side by side: kubectl keeps each of them to 50 a second.
fn create(cluster: &Cluster, objects: impl Iterator<Item = Value>) {
    let objects: Vec<Value> = objects.collect();
    std::thread::scope(|scope| {
        for chunk in objects.chunks(CHUNK) {
            scope.spawn(move || {
                let list = json!({"apiVersion": "v1", "kind": "List", "items": chunk});
                let arguments = ["create", "--validate=false", "-o", "name", "-f", "-"];
                let out = cluster.plane.kubectl_with(&list, &arguments);
                let stderr = String::from_utf8_lossy(&out.stderr);
                assert!(out.status.success(), "{stderr}");
            });
        }
    });
}

/// A field of `/proc/PID/status`, in bytes.
fn memory(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib: u64 = line
        .unwrap()
        .trim_matches([':', ' ', '\t'])
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .unwrap();
    kib << 10
}

/// CPU time of a process: fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms.
fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

/// What the controller counts of itself.
fn counted(cluster: &Cluster, series: &str) -> u64 {
    let text = cluster.controller_metrics(METRICS).unwrap();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no {series} in {text}"));
    value.parse().unwrap()
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[test]
fn one_job_on_many_nodes_is_one_status_of_the_same_size_by_as_many_writes() {
    let nodes = Size::from_environment().nodes;
    let Fleet {
        mut cluster,
        recorded,
        ..
    } = fleet(nodes);
    cluster.start_controller_with(&["--metrics", METRICS]);
    let pid = cluster.controller_pid();
    until_within(Duration::from_secs(120), "the controller to work", || {
        cluster.controller_metrics(METRICS)
    });
    show("nodes", nodes);
    show("controller's memory before", mib(memory(pid, "VmRSS")));
    let length = 20 + nodes / 50;
    let spec = json!({"tracer": {"syscallCount": {}}, "activeDeadlineSeconds": length, "selector": {"matchLabels": {"app": "load"}}});
    let since = Instant::now();
    let before = cpu(pid);
    cluster.apply(&job("shop", "wide", spec));
    let timeout = Duration::from_secs(length as u64);
    until_within(timeout, "all nodes to run it", || {
        let job = cluster.job("shop", "wide")?;
        (job["status"]["nodes"]["running"] == nodes).then_some(())
    });
    show(
        "applied until all run, s",
        format!("{:.1}", since.elapsed().as_secs_f64()),
    );
    show(
        "agents connected",
        counted(&cluster, "tracejob_agents_connected"),
    );
    show("controller's memory with all", mib(memory(pid, "VmRSS")));
    let over = until_within(timeout + Duration::from_secs(120), "its end", || {
        let job = cluster.job("shop", "wide")?;
        holds(&job, "Complete").then_some(job)
    });
    show(
        "applied until over, s",
        format!("{:.1} of {length}", since.elapsed().as_secs_f64()),
    );
    show("controller's most memory", mib(memory(pid, "VmHWM")));
    show(
        "controller's CPU, s",
        format!("{:.1}", (cpu(pid) - before).as_secs_f64()),
    );
    let writes = counted(&cluster, "tracejob_status_writes_total");
    show("status writes", writes);
    let size = over["status"].to_string().len();
    show("status, bytes", size);
    let status = &over["status"];
    assert_eq!(word(&over), "Complete", "{status:#}");
    assert_eq!(status["nodes"]["ended"], nodes);
    let each = recorded.account.produced;
    assert!(each > CALLS.1);
    assert_eq!(status["events"]["produced"], each * nodes as u64);
    let summary = &status["summary"];
    assert_eq!(summary["rows"].as_array().unwrap().len(), 20);
    assert_eq!(
        (&summary["cut"], &summary["rows"][0]["syscall"]),
        (&json!(true), &json!(CALLS.0))
    );
    let rows = summary["totalRows"].as_u64().unwrap();
    assert_eq!(rows % nodes as u64, 0, "{rows} rows of {nodes} nodes");
    assert!(size < 16 << 10, "{size}");
    // Starting, all running, at its end; and one in a second while nodes come or go, ten seconds while only counts do.
    let most = 10 + length as u64;
    assert!(writes <= most, "{writes}");
    // One reader of all of it.
    cluster.start_gateways(1);
    let pid = cluster.gateway_pid(0);
    let (began, before) = (Instant::now(), cpu(pid));
    let path = "/apis/subresources.tracejob.dev/v1alpha1/watch/namespaces/shop/tracejobs/wide/events?by=syscall&limit=20";
    let text = raw(&cluster, &cluster.plane.admin(), path).unwrap();
    show(
        "gateway: all nodes' tables as one, s",
        format!("{:.1}", began.elapsed().as_secs_f64()),
    );
    show(
        "gateway: CPU for it, with a TLS connection to each node, s",
        format!("{:.1}", (cpu(pid) - before).as_secs_f64()),
    );
    show("gateway: most memory", mib(memory(pid, "VmHWM")));
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_call = lines
        .iter()
        .find(|line| line["syscall"] == CALLS.0)
        .unwrap();
    assert_eq!(of_call["count"], CALLS.1 * nodes as u64);
    let account = &lines.last().unwrap()["account"];
    assert_eq!(
        (&account["produced"], &account["complete"]),
        (&json!(each * nodes as u64), &json!(true))
    );
}

#[test]
fn rows_of_few_and_of_many_nodes_are_one_stream_without_a_gap() {
    let Size { nodes, rows, .. } = Size::from_environment();
    for nodes in [2, nodes.min(200)] {
        let each = (rows / nodes) as u64;
        let Fleet {
            mut cluster,
            recorded,
            ..
        } = fleet_of(nodes, |cluster| {
            let work = ["open-times", "5000", "openat", "/dev/null", "0", "0"];
            record(&cluster.plane, "10.77.1.1", "open", &work).of_events(each)
        });
        cluster.start_controller();
        cluster.start_gateways(1);
        let pid = cluster.gateway_pid(0);
        let token = token(&cluster, "shop", "reader", "tracejob.dev");
        bind(
            &cluster,
            "shop",
            "tracejob-reader",
            json!({"kind": "ServiceAccount", "name": "reader", "namespace": "shop"}),
        );
        let spec = json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 30 + nodes / 10, "selector": {"matchLabels": {"app": "load"}}});
        cluster.apply(&job("shop", "rows", spec));
        cluster.until("to run", "shop", "rows", |job| {
            let counts = &job["status"]["nodes"];
            counts["desired"] == nodes
                && counts["running"].as_u64().unwrap() + counts["ended"].as_u64().unwrap()
                    == nodes as u64
        });
        let (began, before) = (Instant::now(), cpu(pid));
        let (tally, took) = in_network(&cluster, async {
            let mut client = connect(&cluster, 0).await;
            let mut stream = open(&mut client, &token, stream_request("shop", "rows"))
                .await
                .unwrap();
            let mut tally = Tally::default();
            let mut took = Duration::ZERO;
            while tally.take(&mut stream).await.unwrap() {
                if tally.account.is_none() && tally.rows > 0 {
                    took = began.elapsed();
                }
            }
            (tally, took)
        });
        let all = recorded.account.produced * nodes as u64;
        assert_eq!((tally.rows, tally.gap), (all, 0));
        assert_eq!(
            (tally.closed().produced, tally.closed().complete),
            (all, true)
        );
        let used = (cpu(pid) - before).as_secs_f64();
        show(&format!("gateway: rows of {nodes} nodes"), all);
        show(
            &format!("gateway: rows/s of {nodes} nodes, by one CPU's time"),
            format!("{:.0}", all as f64 / used.max(0.01)),
        );
        show(
            &format!("gateway: until the last row, s, of {nodes} nodes"),
            format!("{:.1}", took.as_secs_f64()),
        );
        show(
            &format!("gateway: most memory, {nodes} nodes"),
            mib(memory(pid, "VmHWM")),
        );
    }
}

#[test]
fn many_jobs_run_in_turn_and_no_namespace_has_more_than_its_share() {
    let jobs = Size::from_environment().jobs;
    let Fleet {
        mut cluster,
        agents,
        ..
    } = fleet(NAMESPACES);
    let (each, all) = QUOTA;
    let names: Vec<String> = (0..NAMESPACES).map(|at| format!("team-{at}")).collect();
    create(
        &cluster,
        names.iter().map(
            |name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        ),
    );
    let pods = names.iter().enumerate();
    create(
        &cluster,
        pods.map(|(at, name)| pod(name, "load", &format!("simulated-{at}"))),
    );
    // The first namespace has half of all. An agent that receives no request before the deadline starts no trace, and a busy machine is slow.
    let spec = json!({"tracer": {"syscallCount": {}}, "activeDeadlineSeconds": 3});
    let of = |at: usize| match at < jobs / 2 {
        true => &names[0],
        false => &names[1 + at % (NAMESPACES - 1)],
    };
    create(
        &cluster,
        (0..jobs).map(|at| job(of(at), &format!("job-{at}"), spec.clone())),
    );
    let since = Instant::now();
    cluster.start_controller_with(&[
        "--metrics",
        METRICS,
        "--max-jobs-per-namespace",
        &each.to_string(),
        "--max-jobs",
        &all.to_string(),
    ]);
    let pid = cluster.controller_pid();
    let all_jobs = || {
        let list = cluster
            .plane
            .get("/apis/tracejob.dev/v1alpha1/tracejobs")
            .unwrap();
        list["items"].as_array().unwrap().clone()
    };
    let over = |job: &Value| holds(job, "Complete");
    let small = |job: &&Value| job["metadata"]["namespace"] != names[0].as_str();
    let timeout = Duration::from_secs(120 + jobs as u64);
    until_within(timeout, "the others' jobs", || {
        std::thread::sleep(Duration::from_millis(500));
        all_jobs().iter().filter(small).all(over).then_some(())
    });
    let others = since.elapsed();
    let ended = all_jobs().iter().filter(|job| over(job)).count();
    until_within(timeout, "all jobs", || {
        std::thread::sleep(Duration::from_millis(500));
        all_jobs().iter().all(over).then_some(())
    });
    show("jobs", jobs);
    show(
        "until those of 19 namespaces were over, s",
        format!("{:.1}", others.as_secs_f64()),
    );
    show("jobs that were over then", ended);
    show(
        "until all were over, s",
        format!("{:.1}", since.elapsed().as_secs_f64()),
    );
    show("controller's most memory", mib(memory(pid, "VmHWM")));
    show(
        "controller's CPU, s",
        format!("{:.1}", cpu(pid).as_secs_f64()),
    );
    let writes = counted(&cluster, "tracejob_status_writes_total");
    show(
        "status writes a job",
        format!("{:.1}", writes as f64 / jobs as f64),
    );
    let load = agents.load();
    show("ran at once", load.most);
    assert!((1..=all).contains(&load.most), "{}", load.most);
    assert_eq!(load.most_of_one, each);
    // The namespace with half of all did not keep the others waiting for its own.
    assert!(ended < jobs);
}
