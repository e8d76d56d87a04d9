//! Clients that want more than there is, change their minds, and vanish at the worst moment.

use super::started;
use crate::{
    daemon::{Daemon, spec},
    reason, start,
    tally::{Tally, saw_all},
};
use proto::v1;
use std::time::Duration;
use tests::{Workload, held_by, in_vm, needs};
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt;

#[tokio::test]
async fn at_the_limit_the_next_trace_is_refused_and_all_others_keep_running() {
    needs!("open");
    // Where the kernel is emulated its verifier takes seconds for each.
    let most = if in_vm() { 4 } else { 20 };
    let daemon = Daemon::start(&format!("policy: {{maxTraces: {most}}}")).await;
    let mut workload = Workload::behind_gate(&["open-per-byte", "50", "/dev/null"]);
    let small = v1::TraceSpec {
        ring_bytes: 1 << 16,
        ..spec("open", &workload)
    };
    let mut readers = Vec::new();
    for n in 0..most {
        let uid = format!("trace-{n}");
        started(&daemon, &uid, small.clone()).await;
        readers.push(Tally::follow(&daemon, &uid).await);
    }
    let mut client = daemon.client().await;
    let refused = client
        .start_trace(start("one-more", 1, small.clone()))
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason(&refused), "ResourceExhausted");
    let quota = refused.get_details_quota_failure().unwrap().violations;
    assert_eq!(quota[0].subject, "traces");
    assert!(quota[0].description.contains("policy.maxTraces"));
    // One in a call counts as well.
    let refused = daemon.trace(small).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    workload.go();
    workload.go();
    workload.end();
    for reader in &mut readers {
        let account = reader.read_all().await.unwrap();
        saw_all(account, 50);
    }
}

#[tokio::test]
async fn a_namespace_takes_no_more_places_than_it_leaves_to_others() {
    needs!("open");
    let daemon = Daemon::start("policy: {maxTraces: 4}").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let of = |namespace: &str| {
        let mut spec = spec("open", &workload);
        spec.ring_bytes = 1 << 16;
        spec.targets[0].labels = Some(v1::Labels {
            namespace: namespace.to_owned(),
            ..v1::Labels::default()
        });
        spec
    };
    for uid in ["a", "b", "c"] {
        started(&daemon, uid, of("shop")).await;
    }
    let mut client = daemon.client().await;
    let refused = client.start_trace(start("d", 1, of("shop"))).await;
    let refused = refused.unwrap_err();
    assert_eq!(reason(&refused), "ResourceExhausted");
    let quota = refused.get_details_quota_failure().unwrap().violations;
    assert_eq!(quota[0].subject, "namespace");
    started(&daemon, "d", of("bank")).await;
}

#[tokio::test]
async fn more_traces_than_a_kernel_function_takes_programs_go_to_its_tracepoint() {
    needs!("oom_kill");
    // BPF_MAX_TRAMP_LINKS of include/linux/bpf.h is 38.
    const TRACES: usize = 40;
    let daemon = Daemon::start(&format!("policy: {{maxTraces: {TRACES}}}")).await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let small = v1::TraceSpec {
        ring_bytes: 1 << 12,
        ..spec("oom_kill", &workload)
    };
    for n in 0..TRACES {
        started(&daemon, &format!("trace-{n}"), small.clone()).await;
    }
    assert_eq!(daemon.traces().await.len(), TRACES);
}

#[tokio::test]
async fn a_client_that_vanishes_while_its_trace_starts_leaves_none() {
    needs!("tcp_connect");
    let daemon = Daemon::start("").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    // At every moment of a start, which takes some ten ms: before the request is read, while programs load, just before the trace runs.
    for ms in 0..40 {
        let trace = daemon.trace(spec("tcp_connect", &workload));
        // Whether it was in time or not: it is gone now.
        let _ = tokio::time::timeout(Duration::from_millis(ms), trace).await;
    }
    daemon
        .until("no trace to be left", async |daemon| {
            daemon.traces().await.is_empty()
        })
        .await;
    daemon
        .until("no program to be left", async |daemon| {
            daemon.programs() == 0
        })
        .await;
}

#[tokio::test]
async fn a_client_that_vanishes_before_its_trace_is_refused_takes_no_place() {
    needs!("open");
    let daemon = Daemon::start("policy: {maxTraces: 2, keepSeconds: 1}").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let gone = v1::TraceSpec {
        targets: vec![crate::daemon::process(4_000_000)],
        ..spec("open", &workload)
    };
    for n in 0..40u64 {
        let mut client = daemon.client().await;
        let uid = format!("gone-{n}");
        let start = client.start_trace(start(&uid, 1, gone.clone()));
        let _ = tokio::time::timeout(Duration::from_micros(n * 100), start).await;
    }
    daemon
        .until("what was refused to be forgotten", async |daemon| {
            daemon.traces().await.is_empty()
        })
        .await;
    started(&daemon, "a", spec("open", &workload)).await;
}

#[tokio::test]
async fn new_generations_in_a_row_never_make_more_traces_than_may_run() {
    needs!("tcp_connect");
    const MOST: usize = 2;
    let daemon = Daemon::start(&format!("policy: {{maxTraces: {MOST}}}")).await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    started(&daemon, "a", spec("tcp_connect", &workload)).await;
    let maps = || {
        let held = held_by(daemon.pid());
        held.iter().filter(|one| one.starts_with("map ")).count()
    };
    let maps_of_one = maps();
    let mut client = daemon.client().await;
    let mut starts = JoinSet::new();
    for generation in 2..=40 {
        let mut client = client.clone();
        let start = start("a", generation, spec("tcp_connect", &workload));
        starts.spawn(async move { client.start_trace(start).await });
    }
    let mut most = 0;
    while !starts.is_empty() {
        most = most.max(maps());
        if let Some(done) = starts.try_join_next()
            && let Err(refused) = done.unwrap()
        {
            let known = ["OldGeneration", "ResourceExhausted"];
            assert!(known.contains(&&*reason(&refused)), "{refused}");
        }
        tokio::task::yield_now().await;
    }
    // One more than may run: that which is replaced by the newest, until it is gone.
    assert!(
        most <= (MOST + 1) * maps_of_one,
        "{most} maps at once, and one trace has {maps_of_one}"
    );
    // The newest that was taken is the one that is there.
    let traces = daemon.traces().await;
    assert_eq!(traces.len(), 1);
    let newest = start("a", 100, spec("tcp_connect", &workload));
    let started = async |_: &Daemon| client.start_trace(newest.clone()).await.is_ok();
    daemon.until("room for the next one", started).await;
}

#[tokio::test]
async fn traces_that_ended_take_no_more_room_than_those_that_may_run() {
    needs!("tcp_connect");
    const MOST: usize = 3;
    let daemon = Daemon::start(&format!("policy: {{maxTraces: {MOST}, keepSeconds: 3600}}")).await;
    for n in 0..4 * MOST {
        let mut workload = Workload::behind_gate(&["getppid", "1"]);
        let uid = format!("trace-{n}");
        started(&daemon, &uid, spec("tcp_connect", &workload)).await;
        workload.finish();
        daemon.until_over(&uid).await;
    }
    let kept = daemon.traces().await;
    assert!(kept.len() <= 2 * MOST, "{} are kept", kept.len());
    let newest = format!("trace-{}", 4 * MOST - 1);
    assert!(kept.iter().any(|trace| trace.uid == newest));
}
