//! Faults while a job is read, and the messages to its readers.

use super::{
    cluster, events, opens,
    reader::{Reader, Tally, bind, connect, in_network, open, stream_request, token},
    shared, until_end,
};
use crate::cluster::{Cluster, job};
use proto::v1::NodeState;
use serde_json::json;
use std::fs;
use tests::{resident, until};

/// A token that reads jobs of `shop`.
fn reader(cluster: &Cluster, namespace: &str) -> String {
    let token = token(cluster, namespace, "reader", "tracejob.dev");
    bind(
        cluster,
        namespace,
        "tracejob-reader",
        json!({"kind": "ServiceAccount", "name": "reader", "namespace": namespace}),
    );
    token
}

#[test]
fn a_job_that_is_deleted_under_its_reader_ends_with_its_account() {
    const NS: &str = "deleted";
    let (cluster, pods) = shared(NS);
    cluster.apply(&job(NS, "opens", until_end(1_000_000)));
    let reader = Reader::start(&cluster, &cluster.plane.admin(), &events(NS, "opens"));
    cluster.until_runs(NS, "opens", 2);
    pods.iter().for_each(|pod| opens(pod, "50"));
    super::reader::until_seen(&cluster, NS, "opens", 100);
    cluster
        .plane
        .output_of(&["delete", "tj", "opens", "-n", NS]);
    let read = reader.finish();
    assert_eq!(
        (read.rows.len(), &read.account["ended"]),
        (100, &json!("deleted"))
    );
    assert_eq!(
        (&read.account["produced"], &read.account["missed_rows"]),
        (&json!(100), &json!(0))
    );
}

#[test]
fn an_agent_that_is_killed_and_comes_back_goes_on_in_the_same_stream_which_is_partial() {
    let (mut cluster, pods) = cluster();
    let spec =
        json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 600, "limits": {"maxEvents": 100}});
    cluster.apply(&job("shop", "again", spec));
    let reader = Reader::start(&cluster, &cluster.plane.admin(), &events("shop", "again"));
    cluster.until_runs("shop", "again", 2);
    pods.iter().for_each(|pod| opens(pod, "50"));
    super::reader::until_seen(&cluster, "shop", "again", 100);
    cluster.kill_agent(0);
    cluster.until("to miss it", "shop", "again", |job| {
        job["status"]["nodes"]["running"] == 1
    });
    cluster.start_agent(0);
    cluster.until_runs("shop", "again", 2);
    // The first node's trace is a new one, with a limit of its own.
    opens(&pods[0], "100");
    opens(&pods[1], "50");
    let read = reader.finish();
    assert_eq!(read.rows.len(), 250, "{:?}", read.others);
    let account = &read.account;
    assert_eq!(
        (&account["complete"], &account["delivered"]),
        (&json!(false), &json!(250)),
        "{account:#}"
    );
    let node = &account["nodes"][0];
    assert_eq!(
        (&node["node"], &node["state"], &node["reason"]),
        (&json!("node-0"), &json!("left"), &json!("AgentRestarted"))
    );
    assert_eq!(account["nodes"][1]["state"], "ended");
}

#[test]
fn a_node_that_is_lost_is_named_and_the_others_rows_are_there() {
    let (cluster, pods) = cluster();
    let spec = json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 20});
    cluster.apply(&job("shop", "lost", spec));
    let reader = Reader::start(&cluster, &cluster.plane.admin(), &events("shop", "lost"));
    cluster.until_runs("shop", "lost", 2);
    pods.iter().for_each(|pod| opens(pod, "50"));
    super::reader::until_seen(&cluster, "shop", "lost", 100);
    cluster.signal_agent(1, rustix::process::Signal::STOP);
    let read = reader.finish();
    cluster.signal_agent(1, rustix::process::Signal::CONT);
    assert_eq!(read.rows.len(), 100);
    assert_eq!(read.account["complete"], false);
    let node = &read.account["nodes"][1];
    assert_eq!(
        (&node["node"], &node["state"], &node["reason"]),
        (&json!("node-1"), &json!("left"), &json!("AgentUnreachable")),
        "{node:#}"
    );
}

#[test]
fn a_replica_that_dies_costs_a_reader_one_resume_and_no_row() {
    let mut cluster = Cluster::start(2);
    cluster.start_gateways(2);
    let pods = [
        cluster.pod("shop", "a", 0, "x"),
        cluster.pod("shop", "b", 1, "x"),
    ];
    let token = reader(&cluster, "shop");
    cluster.apply(&job("shop", "opens", until_end(100)));
    cluster.until_runs("shop", "opens", 2);
    let first = {
        let (cluster, pods, token) = (&cluster, &pods, &token);
        in_network(cluster, async move {
            let mut client = connect(cluster, 0).await;
            let mut stream = open(&mut client, token, stream_request("shop", "opens"))
                .await
                .unwrap();
            let mut tally = Tally::default();
            tokio::task::block_in_place(|| pods.iter().for_each(|pod| opens(pod, "60")));
            // Until it has received its position after the last of them.
            loop {
                let before = std::mem::take(&mut tally.resume);
                assert!(tally.take(&mut stream).await.unwrap());
                match tally.resume.is_empty() {
                    true => tally.resume = before,
                    false if tally.rows == 120 => break,
                    false => {}
                }
            }
            tally
        })
    };
    cluster.kill_gateway(0);
    pods.iter().for_each(|pod| opens(pod, "40"));
    let second = in_network(&cluster, async {
        let mut client = connect(&cluster, 1).await;
        let request = proto::v1::StreamJobEventsRequest {
            resume: first.resume.clone(),
            ..stream_request("shop", "opens")
        };
        let mut stream = open(&mut client, &token, request).await.unwrap();
        Tally::all(&mut stream).await.unwrap()
    });
    assert_eq!((second.rows, second.gap), (80, 0), "{:?}", second.account);
    assert_eq!(
        (second.closed().produced, second.closed().complete),
        (200, true)
    );
}

#[test]
fn the_api_server_may_be_started_anew_while_a_job_is_read() {
    let (mut cluster, pods) = cluster();
    let token = reader(&cluster, "shop");
    cluster.apply(&job("shop", "opens", until_end(100)));
    cluster.until_runs("shop", "opens", 2);
    let name = cluster.plane.net().name().to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(move || tests::enter_net(&name))
        .enable_all()
        .build()
        .unwrap();
    let mut stream = opened(&runtime, &cluster, &token);
    pods.iter().for_each(|pod| opens(pod, "50"));
    cluster.plane.stop_api();
    pods.iter().for_each(|pod| opens(pod, "25"));
    cluster.plane.start_api();
    pods.iter().for_each(|pod| opens(pod, "25"));
    let tally = runtime.block_on(async { Tally::all(&mut stream).await.unwrap() });
    assert_eq!((tally.rows, tally.gap), (200, 0));
    assert!(tally.closed().complete, "{:?}", tally.closed());
}

/// A stream that is read by a runtime which goes on.
fn opened(
    runtime: &tokio::runtime::Runtime,
    cluster: &Cluster,
    token: &str,
) -> tonic::Streaming<proto::v1::StreamEventsResponse> {
    std::thread::scope(|scope| {
        let opened = scope.spawn(|| {
            cluster.plane.net().enter();
            runtime.block_on(async {
                let mut client = connect(cluster, 0).await;
                open(&mut client, token, stream_request("shop", "opens"))
                    .await
                    .unwrap()
            })
        });
        opened.join().unwrap()
    })
}

#[test]
fn a_reader_that_stops_costs_bounded_memory_and_receives_the_number_of_its_missing_rows() {
    // 60,000 rows are more than this gateway keeps; a burst is a tenth of what it keeps.
    const BURSTS: u64 = 30;
    const BURST: u64 = 1000;
    let mut cluster = Cluster::start(2);
    cluster.start_gateways_with(1, &["--log-bytes", "2097152"]);
    let pods = super::pods(&cluster, "shop");
    let token = reader(&cluster, "shop");
    let spec = json!({"tracer": {"open": {}}, "activeDeadlineSeconds": 300, "limits": {"maxEvents": BURSTS * BURST}});
    cluster.apply(&job("shop", "flood", spec));
    cluster.until_runs("shop", "flood", 2);
    let pid = cluster.gateway_pid(0);
    let before = resident(pid).unwrap();
    let (slow, fast) = in_network(&cluster, async {
        let mut client = connect(&cluster, 0).await;
        let mut stands_still = connect(&cluster, 0).await;
        let stream_request = || stream_request("shop", "flood");
        let mut slow = open(&mut stands_still, &token, stream_request())
            .await
            .unwrap();
        let mut stream = open(&mut client, &token, stream_request()).await.unwrap();
        let mut fast = Tally::default();
        for burst in 1..=BURSTS {
            let times = BURST.to_string();
            tokio::task::block_in_place(|| pods.iter().for_each(|pod| opens(pod, &times)));
            // However slow this machine is, the fast reader is never late: the next burst waits for it. Not for the last rows:
            // since Linux 7.0 the kernel may skip some runs of the programs.
            let wanted = (2 * burst - 1) * BURST;
            while fast.rows < wanted && fast.take(&mut stream).await.unwrap() {}
        }
        while fast.take(&mut stream).await.unwrap() {}
        (Tally::all(&mut slow).await.unwrap(), fast)
    });
    let grown = resident(pid).unwrap() - before;
    let (of_fast, of_slow) = (fast.closed(), slow.closed());
    assert_eq!((fast.gap, fast.rows), (0, of_fast.delivered), "{of_fast:?}");
    let ended = |node: &proto::v1::NodeAccount| node.state() == NodeState::Ended;
    assert!(of_fast.nodes.iter().all(ended), "{of_fast:?}");
    let lost: u64 = of_fast.lost.iter().map(|stage| stage.events).sum();
    assert_eq!(
        of_fast.produced,
        of_fast.delivered + of_fast.filtered + of_fast.beyond_limit + of_fast.sampled + lost
    );
    assert!(slow.gap > 0, "{slow:?}");
    assert_eq!(
        (slow.rows + slow.gap, slow.gap),
        (of_slow.delivered, of_slow.missed_rows)
    );
    assert!(!of_slow.complete);
    assert!(grown < 64 << 10, "{} MiB", grown >> 10);
}

#[test]
fn a_hundred_readers_of_one_job_read_the_same_and_its_agents_send_it_once() {
    const NS: &str = "hundred";
    let (cluster, pods) = shared(NS);
    let token = reader(&cluster, NS);
    cluster.apply(&job(NS, "opens", until_end(500)));
    cluster.until_runs(NS, "opens", 2);
    let tallies = in_network(&cluster, async {
        let mut readers = Vec::new();
        for _ in 0..10 {
            let client = connect(&cluster, 0).await;
            for _ in 0..10 {
                let (mut client, token) = (client.clone(), token.clone());
                readers.push(tokio::spawn(async move {
                    let mut stream = open(&mut client, &token, stream_request(NS, "opens"))
                        .await
                        .unwrap();
                    Tally::all(&mut stream).await.unwrap()
                }));
            }
        }
        tokio::task::block_in_place(|| pods.iter().for_each(|pod| opens(pod, "500")));
        let mut tallies = Vec::new();
        for reader in readers {
            tallies.push(reader.await.unwrap());
        }
        tallies
    });
    assert_eq!(tallies.len(), 100);
    for tally in tallies {
        assert_eq!(
            (tally.rows, tally.gap, tally.closed().complete),
            (1000, 0, true)
        );
        assert!(
            tally
                .nodes
                .iter()
                .any(|node| node.state() == NodeState::Ended)
        );
    }
}

#[test]
fn certificates_change_without_a_break() {
    let (cluster, pods) = cluster();
    let token = reader(&cluster, "shop");
    cluster.apply(&job("shop", "opens", until_end(100)));
    cluster.until_runs("shop", "opens", 2);
    let reader = Reader::start(&cluster, &cluster.plane.admin(), &events("shop", "opens"));
    pods.iter().for_each(|pod| opens(pod, "50"));
    cluster.certify();
    let folder = cluster.plane.folder().join("gateway-tls");
    for (from, to) in [("gateway.crt", "tls.crt"), ("gateway.key", "tls.key")] {
        fs::copy(cluster.plane.pki().file(from), folder.join(to)).unwrap();
    }
    let log = cluster.plane.folder().join("gateway-0.log");
    until("the gateway to see it", || {
        fs::read_to_string(&log)
            .unwrap()
            .contains("certificates reloaded")
            .then_some(())
    });
    pods.iter().for_each(|pod| opens(pod, "50"));
    let read = reader.finish();
    assert_eq!(
        (read.rows.len(), &read.account["complete"]),
        (200, &json!(true))
    );
    // A new client uses the new one.
    let late = in_network(&cluster, async {
        let mut client = connect(&cluster, 0).await;
        let mut stream = open(&mut client, &token, stream_request("shop", "opens"))
            .await
            .unwrap();
        Tally::all(&mut stream).await.unwrap()
    });
    assert_eq!(late.rows, 200);
}
