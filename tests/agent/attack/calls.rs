//! Callers with a role that attack: each is held to its bounds, and others are served.

use super::{
    callers::{
        Over, adds, capabilities, empty_targets, endless_requests, failing_updates, steal, stop,
        target, update,
    },
    started,
};
use crate::{
    daemon::{Daemon, process, spec},
    reason, start,
    tls::{CONTROLLER, Files, READER, dns, uri},
};
use proto::v1::{self, target::Target as TargetKind};
use std::{
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};
use tests::{Cgroup, Workload, needs, resident};
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt;

/// Memory beside what is admitted, KiB: docs/security.md.
const BESIDE: i64 = 64 << 10;

/// Does something, and returns the agent's maximum memory meanwhile, KiB.
async fn most_resident<T>(daemon: &Daemon, attack: impl Future<Output = T>) -> (i64, T) {
    let mut most = 0;
    tokio::pin!(attack);
    loop {
        most = most.max(resident(daemon.pid()).unwrap());
        tokio::select! {
            done = &mut attack => return (most, done),
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
}

#[tokio::test]
async fn failed_updates_with_the_longest_names_leave_watchers_served_and_the_audit_and_memory_small()
 {
    needs!("open");
    let folder = tests::folder();
    let audit = folder.join("audit.log");
    let daemon = Daemon::start(&format!("audit: {}", audit.display())).await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let small = v1::TraceSpec {
        ring_bytes: 1 << 16,
        ..spec("open", &workload)
    };
    let uids = ["a", "b", "c"];
    for uid in uids {
        started(&daemon, uid, small.clone()).await;
    }
    let before = resident(daemon.pid()).unwrap();
    // As the attack was found: an id of a megabyte.
    let mut client = daemon.client().await;
    for long in [
        TargetKind::Container("\x01".repeat(1_000_000)),
        TargetKind::Pod("\x01".repeat(1_000_000)),
        TargetKind::Cgroup("\x01".repeat(1_000_000)),
    ] {
        let refused = update(&mut client, "a", 1, adds([target(long)])).await;
        assert_eq!(reason(&refused.unwrap_err()), "InvalidRequest");
    }
    let over = Over::default();
    let mut attacks = JoinSet::new();
    for uid in uids {
        let client = daemon.client().await;
        attacks.spawn(failing_updates(client, uid.to_owned(), over.clone()));
    }
    let (most, ()) = most_resident(&daemon, async {
        let enough = async |daemon: &Daemon| {
            // A default client takes 4 MiB.
            let traces = daemon.traces().await;
            let largest = traces.iter().map(prost::Message::encoded_len).max();
            assert!(largest.unwrap() <= 20 << 10, "{largest:?}");
            traces.iter().all(|trace| trace.targets_failed >= 300)
        };
        daemon.until("failures", enough).await;
    })
    .await;
    over.set();
    let mut updates = 0;
    while let Some(attack) = attacks.join_next().await {
        updates += attack.unwrap();
    }
    // Whatever was admitted was there before.
    assert!(most <= before + BESIDE, "{most} KiB, {before} before");
    // A path of 4 KiB of which each byte takes six as JSON, and the message of why it was refused.
    let written = std::fs::metadata(&audit).unwrap().len();
    assert!(
        written <= (updates + 10) * (34 << 10),
        "{written} for {updates}"
    );
    std::fs::remove_dir_all(folder).unwrap();
}

/// Certificates of a second caller that may start traces.
const OTHER: &str = "spiffe://example.org/other";

fn two_controllers(files: &Files) -> String {
    let config = files.config("");
    config.replace("control: [", &format!("control: ['{OTHER}', "))
}

#[tokio::test]
async fn only_its_owner_changes_or_replaces_a_trace_and_only_its_owner_and_root_stop_it() {
    needs!("open");
    let files = Files::new();
    let (daemon, port) = Daemon::over_tcp(&two_controllers(&files)).await;
    let mut workload =
        Workload::behind_gate(&["open-times", "10", "openat", "/dev/null", "0", "0"]);
    let mut owner = files.client(port, uri(CONTROLLER)).await.unwrap();
    let other = files.client(port, uri(OTHER)).await.unwrap();
    let asked = start("a", 1, spec("open", &workload));
    owner.start_trace(asked.clone()).await.unwrap();
    // A call's trace, of the same owner.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender
        .send(crate::call(spec("open", &workload)))
        .await
        .unwrap();
    let call = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut call = owner.trace(call).await.unwrap().into_inner();
    call.message().await.unwrap().unwrap();
    let all = vec!["a".to_owned(), "call:1".to_owned()];
    steal(other, all, Over::already()).await;
    // A call's trace is not even its own caller's, by another call.
    steal(owner.clone(), vec!["call:1".to_owned()], Over::already()).await;
    // A reader may do none of it, as before.
    let mut reader = files.client(port, dns(READER)).await.unwrap();
    assert!(stop(&mut reader, "a").await.is_err());
    // Root over the socket may stop it, and no more.
    let mut root = daemon.client().await;
    let refused = update(&mut root, "a", 1, vec![]).await.unwrap_err();
    assert_eq!(reason(&refused), "NotAllowed");
    // The owner is identified by its name, with any certificate and connection.
    let mut again = files.client(port, uri(CONTROLLER)).await.unwrap();
    again.start_trace(asked).await.unwrap();
    let here = adds([process(workload.pid())]);
    update(&mut again, "a", 5, here.clone()).await.unwrap();
    for old in [5, 4, 0] {
        let refused = update(&mut owner, "a", old, here.clone())
            .await
            .unwrap_err();
        let info = refused.get_details_error_info().unwrap();
        assert_eq!(
            (&*info.reason, &*info.metadata["known"]),
            ("OldVersion", "5")
        );
    }
    workload.finish();
    let mut rows = 0;
    while let Some(message) = call.message().await.unwrap() {
        if let Some(v1::stream_events_response::Item::Batch(batch)) = message.item {
            rows += batch.rows;
        }
    }
    assert_eq!(rows, 10, "no caller has emptied it");
    let account = stop(&mut root, "a")
        .await
        .unwrap()
        .unwrap()
        .account
        .unwrap();
    assert!(account.complete || account.ended.is_empty(), "{account:?}");
    daemon.until_over("a").await;
}

#[tokio::test]
async fn a_certificate_of_several_names_is_the_caller_that_the_configuration_lists_first() {
    needs!("open");
    let files = Files::new();
    let (_daemon, port) = Daemon::over_tcp(&two_controllers(&files)).await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let asked = start("a", 1, spec("open", &workload));
    let names = [uri(CONTROLLER), uri(OTHER)];
    let mut both = files.client_of(port, &names).await.unwrap();
    both.start_trace(asked.clone()).await.unwrap();
    let [first, second] = names;
    let mut turned = files
        .client_of(port, &[second.clone(), first.clone()])
        .await
        .unwrap();
    turned.start_trace(asked.clone()).await.unwrap();
    // As the configuration has it, the other one comes first.
    let mut other = files.client_of(port, &[second]).await.unwrap();
    other.start_trace(asked.clone()).await.unwrap();
    let mut controller = files.client_of(port, &[first]).await.unwrap();
    let refused = controller.start_trace(asked).await.unwrap_err();
    assert_eq!(reason(&refused), "NotAllowed");
}

#[tokio::test]
async fn a_hundred_and_fifty_concurrent_requests_of_capabilities_share_one_probe_of_the_kernel() {
    let files = Files::new();
    let (daemon, port) = Daemon::over_tcp(&files.config("")).await;
    let mut one = daemon.client().await;
    let began = Instant::now();
    one.get_capabilities(v1::GetCapabilitiesRequest {})
        .await
        .unwrap();
    let one_probe = began.elapsed();
    let reader = files.client(port, dns(READER)).await.unwrap();
    // The result is cached for 5 s: there are at most two probes in 5 s, at any time of the start.
    let began = Instant::now();
    capabilities(reader, 150, Over::already()).await;
    let all = began.elapsed();
    // One after the other by four threads they take 37 times as long.
    let limit = one_probe * 10 + Duration::from_millis(500);
    assert!(all < limit, "{all:?}, and one takes {one_probe:?}");
}

#[tokio::test]
async fn starts_of_ten_thousand_targets_are_refused_before_any_is_searched() {
    let daemon = Daemon::start("").await;
    let many = v1::TraceSpec {
        tracer: "open".to_owned(),
        targets: vec![target(TargetKind::Cgroup("a".to_owned())); 10_000],
        ..v1::TraceSpec::default()
    };
    let mut client = daemon.client().await;
    let refused = client.start_trace(start("a", 1, many.clone())).await;
    let refused = refused.unwrap_err();
    let wrong = refused.get_details_bad_request().unwrap().field_violations;
    assert_eq!(wrong[0].field, "spec.targets");
    let refused = daemon.trace(many.clone()).await.err().unwrap();
    assert_eq!(reason(&refused), "InvalidRequest");
    let refused = update(&mut client, "a", 1, adds(many.targets)).await;
    assert_eq!(reason(&refused.unwrap_err()), "InvalidRequest");
}

#[tokio::test]
async fn two_hundred_requests_of_half_a_million_empty_targets_take_no_memory() {
    let daemon = Daemon::start("").await;
    let attack = empty_targets(daemon.channel().await, 500_000, 200, Over::already());
    let (most, ()) = most_resident(&daemon, attack).await;
    assert!(most <= BESIDE, "{most} KiB");
    assert!(daemon.traces().await.is_empty());
}

#[tokio::test]
async fn requests_that_never_end_hold_no_more_than_their_callers_share() {
    let files = Files::new();
    let (daemon, port) = Daemon::over_tcp(&files.config("")).await;
    let reader = files.client(port, dns(READER)).await.unwrap();
    let over = Over::default();
    let stream = UnixStream::connect(daemon.socket()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let stop = over.clone();
    let attack = move || endless_requests(stream, 150, || stop.is());
    let attack = tokio::task::spawn_blocking(attack);
    let began = Instant::now();
    let (most, ()) = most_resident(&daemon, async {
        while !attack.is_finished() && began.elapsed() < Duration::from_secs(4) {
            // Another caller is served meanwhile.
            let mut reader = reader.clone();
            let watch = reader.watch_traces(v1::WatchTracesRequest::default());
            let first = watch.await.unwrap().into_inner().message().await;
            assert!(first.unwrap().unwrap().traces.is_empty());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    over.set();
    let sent = attack.await.unwrap();
    assert!(sent > 7 << 20, "{sent} bytes were sent");
    assert!(most <= BESIDE, "{most} KiB for {sent} bytes");
}

#[tokio::test]
async fn labels_of_a_trace_take_no_more_than_was_admitted() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let group = Cgroup::new();
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let all = ["node", "namespace", "pod", "container"];
    let labelled = v1::TraceSpec {
        label_columns: all.map(str::to_owned).to_vec(),
        ring_bytes: 1 << 16,
        ..spec("open", &workload)
    };
    started(&daemon, "a", labelled).await;
    let before = resident(daemon.pid()).unwrap();
    let mut client = daemon.client().await;
    let (most, ()) = most_resident(&daemon, async {
        for version in 1..=16 {
            let changes = adds((0..900).map(|number| {
                let label = format!("{version:03}{number:0250}");
                v1::Target {
                    labels: Some(v1::Labels {
                        node: label.clone(),
                        namespace: label.clone(),
                        pod: label.clone(),
                        container: label,
                    }),
                    ..target(TargetKind::Cgroup(group.path().display().to_string()))
                }
            }));
            update(&mut client, "a", version, changes).await.unwrap();
        }
    })
    .await;
    let status = daemon.traces().await.remove(0);
    let failure = status.target_failures.last().unwrap();
    assert_eq!(failure.reason, "ResourceExhausted");
    assert!(failure.message.contains("labels"), "{}", failure.message);
    // 4 MiB of labels, 1 of failures, and a request of 1 with all that it becomes; the labels alone have 14.
    assert!(most <= before + (24 << 10), "{most} KiB, {before} before");
}

#[tokio::test]
async fn a_caller_that_watches_again_and_again_is_refused_and_others_watch() {
    let files = Files::new();
    let (daemon, port) = Daemon::over_tcp(&files.config("")).await;
    let reader = files.client(port, dns(READER)).await.unwrap();
    // What it names is kept for as long as it watches.
    let long = v1::WatchTracesRequest {
        uid: "a".repeat(1_000_000),
    };
    let refused = reader.clone().watch_traces(long).await.unwrap_err();
    assert_eq!(reason(&refused), "UnknownTrace");
    assert!(refused.message().len() < 1024);
    let mut held = Vec::new();
    let refused = loop {
        let mut reader = reader.clone();
        match reader.watch_traces(v1::WatchTracesRequest::default()).await {
            Ok(watch) => held.push(watch),
            Err(refused) => break refused,
        }
        assert!(held.len() <= 64);
    };
    assert_eq!(reason(&refused), "ResourceExhausted");
    assert_eq!(held.len(), 64);
    assert!(daemon.traces().await.is_empty());
    drop(held);
    daemon
        .until("a watch to be free again", async |_| {
            let mut reader = reader.clone();
            let watch = reader.watch_traces(v1::WatchTracesRequest::default());
            watch.await.is_ok()
        })
        .await;
}

#[tokio::test]
async fn out_of_descriptors_a_start_fails_with_the_reason_and_the_remedy() {
    needs!("open");
    let daemon = Daemon::by_shell("ulimit -n 64", "");
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let small = v1::TraceSpec {
        ring_bytes: 1 << 16,
        ..spec("open", &workload)
    };
    let mut client = daemon.client().await;
    let mut running = 0;
    let refused = loop {
        let uid = format!("trace-{running}");
        match client.start_trace(start(&uid, 1, small.clone())).await {
            Ok(_) => running += 1,
            Err(refused) => break refused,
        }
        assert!(running < 20);
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(reason(&refused), "ResourceExhausted");
    assert!(refused.message().contains("LimitNOFILE"), "{refused}");
    // Those that run go on, and a place that becomes free can be taken.
    assert_eq!(daemon.traces().await.len(), running);
}
