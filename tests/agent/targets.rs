//! Targets: the labels of their rows, and updates of targets.

use crate::{
    daemon::{Daemon, Events, process, spec},
    events, reason, start,
};
use proto::v1::{self, target::Target as TargetKind};
use tests::{Cgroup, Workload, needs};

mod hierarchies;
mod missing;
mod pods;

pub(crate) fn of(kind: TargetKind) -> v1::Target {
    v1::Target {
        target: Some(kind),
        ..v1::Target::default()
    }
}

pub(crate) fn cgroup(group: &Cgroup) -> v1::Target {
    of(TargetKind::Cgroup(group.path().display().to_string()))
}

pub(crate) fn labelled(target: v1::Target, pod: &str) -> v1::Target {
    let labels = v1::Labels {
        pod: pod.to_owned(),
        ..v1::Labels::default()
    };
    v1::Target {
        labels: Some(labels),
        ..target
    }
}

/// Returns the target with labels of a namespace that is not denied: targets in pods must have one.
pub(crate) fn in_shop(target: v1::Target, pod: &str) -> v1::Target {
    let mut target = labelled(target, pod);
    target.labels.as_mut().unwrap().namespace = "shop".to_owned();
    target
}

pub(crate) fn add(target: v1::Target) -> v1::Change {
    v1::Change {
        change: Some(v1::change::Change::Add(target)),
    }
}

fn remove(target: v1::Target) -> v1::Change {
    v1::Change {
        change: Some(v1::change::Change::Remove(target)),
    }
}

pub(crate) fn update(version: u64, changes: Vec<v1::Change>) -> v1::UpdateTargetsRequest {
    v1::UpdateTargetsRequest {
        uid: "a".to_owned(),
        generation: 1,
        update: Some(v1::Update { version, changes }),
    }
}

/// Sends these updates of trace "a", and waits until all are applied.
pub(crate) async fn apply(
    daemon: &Daemon,
    updates: Vec<v1::UpdateTargetsRequest>,
) -> v1::TraceStatus {
    let mut client = daemon.client().await;
    client
        .update_targets(tokio_stream::iter(updates))
        .await
        .unwrap();
    daemon.traces().await.remove(0)
}

pub(crate) async fn stop_and_read(daemon: &Daemon) -> Events {
    let stop = v1::StopTraceRequest {
        uid: "a".to_owned(),
    };
    daemon.client().await.stop_trace(stop).await.unwrap();
    let mut read = daemon.events(events("a", 0)).await.unwrap();
    read.read_all().await.unwrap();
    read
}

/// How many rows have this pod.
pub(crate) fn rows_of(read: &Events, pod: &str) -> usize {
    let batches = read.batches.iter();
    batches
        .map(|batch| {
            read.texts(batch, "pod")
                .filter(|text| *text == pod.as_bytes())
                .count()
        })
        .sum()
}

pub(crate) const OPENS: [&str; 6] = ["open-times", "50", "openat", "/dev/null", "0", "0"];

#[tokio::test]
async fn labels_of_targets_are_columns_of_their_rows() {
    needs!("syscall_count");
    let daemon = Daemon::start("").await;
    let mut one = Workload::behind_gate(&["getppid", "70"]);
    let mut two = Workload::behind_gate(&["getppid", "30"]);
    let spec = v1::TraceSpec {
        targets: vec![
            labelled(process(one.pid()), "one"),
            labelled(process(two.pid()), "two"),
        ],
        ..spec("syscall_count", &one)
    };
    let mut events = daemon.trace(spec).await.unwrap();
    one.finish();
    two.finish();
    events.read_all().await.unwrap();
    let first = &events.schema().columns[0];
    assert_eq!((first.name.as_str(), first.role()), ("pod", v1::Role::Key));
    let table = events.batches.last().unwrap();
    let count = |pod: &[u8]| {
        let pods = events.texts(table, "pod");
        let calls = events.texts(table, "syscall");
        let row = pods
            .zip(calls)
            .position(|row| row == (pod, b"getppid".as_slice()));
        events.number(table, "count", row.unwrap())
    };
    assert_eq!((count(b"one"), count(b"two")), (70, 30));
    assert_eq!(
        events.account().lost.iter().map(|s| s.events).sum::<u64>(),
        0
    );
}

#[tokio::test]
async fn a_container_that_comes_is_traced_from_its_update_on_and_one_that_goes_no_longer() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let (here, comes) = (Cgroup::new(), Cgroup::new());
    let mut first = Workload::behind_gate(&OPENS);
    let mut before = Workload::behind_gate(&OPENS);
    let mut between = Workload::behind_gate(&OPENS);
    let mut after = Workload::behind_gate(&OPENS);
    here.add(first.pid());
    for late in [&before, &between, &after] {
        comes.add(late.pid());
    }
    let spec = v1::TraceSpec {
        targets: vec![labelled(cgroup(&here), "here")],
        ..spec("open", &first)
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    before.finish();
    let coming = vec![add(labelled(cgroup(&comes), "comes"))];
    let status = apply(&daemon, vec![update(1, coming)]).await;
    assert_eq!(status.targets_version, 1);
    assert_eq!(status.target_failures, []);
    between.finish();
    first.finish();
    let status = apply(&daemon, vec![update(2, vec![remove(cgroup(&comes))])]).await;
    assert_eq!(status.targets_version, 2);
    after.finish();
    let read = stop_and_read(&daemon).await;
    // Each opens what it needs to start besides, before its gate.
    assert_eq!((rows_of(&read, "here"), rows_of(&read, "comes")), (50, 50));
    assert_eq!(read.account().produced, 100);
}

#[tokio::test]
async fn targets_are_those_that_are_named_and_no_others_and_get_labels_that_were_announced() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let groups = [Cgroup::new(), Cgroup::new(), Cgroup::new()];
    let [mut first, mut second, mut third] = [(); 3].map(|()| Workload::behind_gate(&OPENS));
    for (group, workload) in groups.iter().zip([&first, &second, &third]) {
        group.add(workload.pid());
    }
    let [one, two, three] = groups.each_ref().map(cgroup);
    let spec = v1::TraceSpec {
        targets: vec![labelled(one.clone(), "one"), labelled(two.clone(), "two")],
        label_columns: vec!["container".to_owned(), "node".to_owned()],
        ..spec("open", &first)
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    let named = v1::Target {
        labels: Some(v1::Labels {
            pod: "three".to_owned(),
            container: "c".to_owned(),
            ..v1::Labels::default()
        }),
        ..three
    };
    let only = v1::Change {
        change: Some(v1::change::Change::Only(v1::Targets {
            targets: vec![two.clone(), named.clone()],
        })),
    };
    let changes = vec![only, add(labelled(two, "two")), add(named)];
    let status = apply(&daemon, vec![update(1, changes)]).await;
    assert_eq!(
        (status.targets_version, status.target_failures),
        (1, vec![])
    );
    for workload in [&mut first, &mut second, &mut third] {
        workload.finish();
    }
    let read = stop_and_read(&daemon).await;
    let rows = ["one", "two", "three"].map(|pod| rows_of(&read, pod));
    assert_eq!(rows, [0, 50, 50]);
    let columns = read.schema().columns.iter().take(3);
    let columns: Vec<&str> = columns.map(|column| column.name.as_str()).collect();
    assert_eq!(columns, ["node", "pod", "container"]);
    let named = read.batches.iter().flat_map(|batch| {
        let containers = read.texts(batch, "container").collect::<Vec<_>>();
        read.texts(batch, "pod").zip(containers).collect::<Vec<_>>()
    });
    let right = |pod: &[u8]| if pod == b"three" { &b"c"[..] } else { b"" };
    assert!(
        named
            .into_iter()
            .all(|(pod, container)| container == right(pod))
    );
}

#[tokio::test]
async fn an_update_that_comes_while_its_trace_starts_is_applied() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let (here, comes) = (Cgroup::new(), Cgroup::new());
    let mut late = Workload::behind_gate(&OPENS);
    comes.add(late.pid());
    let spec = v1::TraceSpec {
        targets: vec![labelled(cgroup(&here), "here")],
        ..spec("open", &late)
    };
    let mut client = daemon.client().await;
    let starting = tokio::spawn(async move { client.start_trace(start("a", 1, spec)).await });
    daemon
        .until("the trace to be listed", async |daemon| {
            !daemon.traces().await.is_empty()
        })
        .await;
    let coming = vec![add(labelled(cgroup(&comes), "comes"))];
    let status = apply(&daemon, vec![update(1, coming)]).await;
    assert_eq!(status.targets_version, 1);
    starting.await.unwrap().unwrap();
    late.finish();
    let read = stop_and_read(&daemon).await;
    assert_eq!(rows_of(&read, "comes"), 50);
}

#[tokio::test]
async fn a_failed_change_is_reported_and_the_rest_of_its_update_is_applied() {
    needs!("open");
    let daemon = Daemon::start("policy: {host: true}").await;
    let [here, comes, other] = [(); 3].map(|()| Cgroup::new());
    let mut workload = Workload::behind_gate(&OPENS);
    comes.add(workload.pid());
    let spec = v1::TraceSpec {
        targets: vec![labelled(cgroup(&here), "here")],
        ..spec("open", &workload)
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    let node = v1::Target {
        labels: Some(v1::Labels {
            node: "n".to_owned(),
            ..v1::Labels::default()
        }),
        ..cgroup(&other)
    };
    let changes = vec![
        add(of(TargetKind::Container("0123456789abcdef".to_owned()))),
        add(of(TargetKind::Pod("../..".to_owned()))),
        add(of(TargetKind::Host(v1::Host {}))),
        add(node),
        add(process(workload.pid())),
        add(labelled(cgroup(&comes), "comes")),
        remove(of(TargetKind::Container("gone-already".to_owned()))),
    ];
    let status = apply(&daemon, vec![update(7, changes.clone())]).await;
    assert_eq!(status.targets_version, 7);
    // Sent again, as a client does that lost its connection: it learns that it was done.
    let again = tokio_stream::iter([update(7, changes)]);
    let refused = client.update_targets(again).await.unwrap_err();
    assert_eq!(reason(&refused), "OldVersion");
    let failures = status.target_failures.iter();
    let reasons: Vec<_> = failures.map(|failure| failure.reason.as_str()).collect();
    let wanted = [
        "TargetNotFound",
        "InvalidRequest",
        "InvalidRequest",
        "InvalidRequest",
        "InvalidRequest",
    ];
    assert_eq!(reasons, wanted, "{:?}", status.target_failures);
    workload.finish();
    let read = stop_and_read(&daemon).await;
    assert_eq!(rows_of(&read, "comes"), 50);
}

#[tokio::test]
async fn an_update_is_of_the_generation_that_it_names() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let mut client = daemon.client().await;
    client
        .start_trace(start("a", 2, spec("open", &workload)))
        .await
        .unwrap();
    let older = update(1, vec![]);
    let mut newer = older.clone();
    newer.generation = 3;
    for (request, word) in [(older, "OldGeneration"), (newer, "UnknownTrace")] {
        let refused = client.update_targets(tokio_stream::iter([request])).await;
        assert_eq!(reason(&refused.unwrap_err()), word);
    }
}

#[tokio::test]
async fn a_process_that_has_anothers_number_is_not_traced() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let mut workload = Workload::behind_gate(&OPENS);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", workload.pid())).unwrap();
    let began: u64 = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .nth(19)
        .unwrap()
        .parse()
        .unwrap();
    let since = |start_ticks| v1::TraceSpec {
        targets: vec![v1::Target {
            start_ticks,
            ..process(workload.pid())
        }],
        ..spec("open", &workload)
    };
    let refused = daemon.trace(since(began + 1)).await.err().unwrap();
    assert_eq!(reason(&refused), "TargetNotFound");
    let mut events = daemon.trace(since(began)).await.unwrap();
    workload.finish();
    events.read_all().await.unwrap();
    assert_eq!(events.account().produced, 50);
}
