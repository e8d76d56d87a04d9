//! A job under attack: floods of connections on its agents and its gateway, bad tokens and readers without a right, until it ends.

use super::{
    cluster,
    connections::{hold_silent_tls, send_bad_tokens},
    events,
    reader::{Reader, in_network, raw},
};
use crate::cluster::{Cluster, gateway_address, job, word};
use serde_json::{Value, json};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};
use tests::{Attack, Workload, hold_silent_connections, most_resident};

/// How long it goes on. TRACEJOB_SOAK_SECONDS=1800 is half an hour.
const SECONDS: u64 = 15;
/// Files that each of the two pods opens each second.
const RATE: u64 = 50;
/// What an agent or a gateway may take, KiB, beside what was there and what is admitted: docs/security.md.
const BESIDE: i64 = 64 << 10;
/// What is admitted for this job, KiB: a trace of opened files, on the agents; a log of its rows, in the gateway.
const ADMITTED: i64 = 48 << 10;

/// Connections in the network of the cluster that send `begin` and nothing else.
fn hold_silent(cluster: &Cluster, to: SocketAddr, begin: &[u8], attack: &Attack) {
    cluster.plane.net().enter();
    let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    hold_silent_connections(&[any], to, 300, begin, attack);
}

/// Asks for other namespaces' jobs by names that lead elsewhere, and for what is not there.
fn read_what_is_not_theirs(cluster: &Cluster, attack: &Attack) {
    let unbound = cluster.plane.kubeconfig("unbound", &[]);
    for name in ["opens", "..%2Fopens", "no-such-job"].iter().cycle() {
        if !attack.goes_on() {
            return;
        }
        raw(cluster, &unbound, &events("shop", name)).unwrap_err();
        attack.count(1);
    }
}

#[test]
fn a_job_ends_complete_and_is_read_whole_while_its_agents_and_its_gateway_are_attacked() {
    const NS: &str = "shop";
    let seconds = std::env::var("TRACEJOB_SOAK_SECONDS");
    let seconds = seconds.map_or(SECONDS, |text| text.parse().unwrap());
    let (cluster, pods) = cluster();
    let spec = json!({"tracer": {"open": {}}, "activeDeadlineSeconds": seconds + 30});
    cluster.apply(&job(NS, "opens", spec));
    let reader = Reader::start(&cluster, &cluster.plane.admin(), &events(NS, "opens"));
    cluster.until_runs(NS, "opens", 2);
    let pids = [
        cluster.gateway_pid(0),
        cluster.agent_pid(0),
        cluster.agent_pid(1),
    ];
    let before = pids.map(|pid| most_resident(pid).unwrap());
    let at = |address: &str, port: u16| SocketAddr::new(address.parse().unwrap(), port);
    let gateway = gateway_address(0);
    let node = cluster.agent_address(0);
    let (attack, cluster_of) = (Attack::default(), &cluster);
    let opened: u64 = thread::scope(|scope| {
        // A failed check must not wait for attacks that run on.
        let _ends = Ends(&attack);
        scope.spawn(|| hold_silent_tls(cluster_of, 300, &attack));
        scope.spawn(|| hold_silent(cluster_of, at(&gateway, 8443), b"", &attack));
        scope.spawn(|| hold_silent(cluster_of, at(&gateway, 9464), b"G", &attack));
        scope.spawn(|| hold_silent(cluster_of, at(&node, 4040), b"", &attack));
        scope.spawn(|| in_network(cluster_of, send_bad_tokens(cluster_of, &attack)));
        scope.spawn(|| read_what_is_not_theirs(cluster_of, &attack));
        let began = Instant::now();
        let steps = [
            "open-paced",
            &seconds.to_string(),
            &RATE.to_string(),
            "/dev/null",
        ];
        let mut workloads = pods.each_ref().map(|pod| {
            let workload = Workload::behind_gate(&steps);
            pod.add(&workload);
            workload
        });
        workloads.iter_mut().for_each(Workload::go);
        let rounds = workloads.map(|mut workload| workload.end().number("rounds"));
        assert!(began.elapsed() >= Duration::from_secs(seconds));
        rounds.iter().sum()
    });
    let over = cluster.until_over(NS, "opens");
    assert_eq!(word(&over), "Complete", "{:#}", over["status"]);
    assert_eq!(over["status"]["events"]["delivered"], json!(opened));
    let read = reader.finish();
    assert_eq!(read.rows.len() as u64, opened);
    let account = &read.account;
    assert_eq!(account["complete"], Value::Bool(true), "{account:#}");
    let most = pids.map(|pid| most_resident(pid).unwrap());
    println!(
        "{seconds} s: {opened} rows, complete; {} attempts; KiB at most, of the gateway and two agents: {most:?}, {before:?} before",
        attack.done(),
    );
    for (most, before) in most.iter().zip(before) {
        assert!(
            *most <= before + ADMITTED + BESIDE,
            "{most} KiB, {before} before"
        );
    }
}

/// Ends all attacks.
struct Ends<'a>(&'a Attack);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
