//! Targets: whose rows are whose, and how they come and go.

use crate::{
    daemon::{Daemon, Events, process, spec},
    events,
    nodes::{self, can_unshare},
    reason, start,
};
use proto::v1::{self, target::Target as Whom};
use std::sync::atomic::{AtomicU32, Ordering};
use tests::{Cgroup, Workload, needs};

mod hierarchies;
mod missing;

pub(crate) fn of(whom: Whom) -> v1::Target {
    v1::Target {
        target: Some(whom),
        ..v1::Target::default()
    }
}

pub(crate) fn cgroup(group: &Cgroup) -> v1::Target {
    of(Whom::Cgroup(group.path().display().to_string()))
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

/// The same, in a namespace that is not denied: what is in a pod must say in which one it is.
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
        .until("the trace to be known", async |daemon| {
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
async fn an_update_that_cannot_be_done_is_told_and_the_rest_of_it_is_done() {
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
        add(of(Whom::Container("0123456789abcdef".to_owned()))),
        add(of(Whom::Pod("../..".to_owned()))),
        add(of(Whom::Host(v1::Host {}))),
        add(node),
        add(process(workload.pid())),
        add(labelled(cgroup(&comes), "comes")),
        remove(of(Whom::Container("gone-already".to_owned()))),
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

async fn traces_a_pod_from_its_first_instruction(name: &str, uid: &str) {
    needs!("open");
    let daemon = Daemon::start("").await;
    let kubelet = Cgroup::new();
    let mut workload = Workload::behind_gate(&OPENS);
    let spec = v1::TraceSpec {
        targets: vec![in_shop(of(Whom::Pod(uid.to_owned())), "web-0")],
        ..spec("open", &workload)
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    // What the kubelet and the runtime do; nobody waits between.
    let pod = kubelet.below(name);
    let container = pod.below("container");
    container.add(workload.pid());
    workload.finish();
    let read = stop_and_read(&daemon).await;
    assert_eq!(rows_of(&read, "web-0"), 50);
    assert_eq!(read.account().produced, 50);
}

#[tokio::test]
async fn a_pod_of_systemds_driver_is_traced_from_its_first_instruction() {
    let name = "kubepods-burstable-pod0b1c2d3e_4f50_6172_8394_a5b6c7d8e9f0.slice";
    traces_a_pod_from_its_first_instruction(name, "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0").await;
}

#[tokio::test]
async fn a_pod_of_cgroupfs_is_traced_from_its_first_instruction() {
    let uid = "1b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0";
    traces_a_pod_from_its_first_instruction(&format!("pod{uid}"), uid).await;
}

/// The uid of a further static pod: tests run side by side, and a trace takes every pod of its uid.
fn static_pod() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}{number:08x}8394a5b6c7d8e9f1", std::process::id())
}

#[tokio::test]
async fn a_static_pod_of_systemds_driver_is_traced_from_its_first_instruction() {
    let uid = static_pod();
    let name = format!("kubepods-burstable-pod{uid}.slice");
    traces_a_pod_from_its_first_instruction(&name, &uid).await;
}

#[tokio::test]
async fn a_static_pod_of_cgroupfs_is_traced_from_its_first_instruction() {
    let uid = static_pod();
    traces_a_pod_from_its_first_instruction(&format!("pod{uid}"), &uid).await;
}

#[tokio::test]
async fn a_static_pod_that_is_there_is_traced_and_a_cgroup_that_just_ends_like_its_name_is_not() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let kubelet = Cgroup::new();
    let uid = static_pod();
    let pod = kubelet.below(&format!("kubepods-pod{uid}.slice"));
    let container = pod.below("container");
    let mut inside = Workload::behind_gate(&OPENS);
    let mut beside = Workload::behind_gate(&OPENS);
    container.add(inside.pid());
    let spec = v1::TraceSpec {
        targets: vec![in_shop(of(Whom::Pod(uid.clone())), "a")],
        ..spec("open", &inside)
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    let other = kubelet.below(&uid.repeat(2));
    other.add(beside.pid());
    beside.finish();
    inside.finish();
    let read = stop_and_read(&daemon).await;
    assert_eq!(read.account().produced, 50);
}

/// The name of a container that lies beside its pod: containerd by cgroupfs below a kubelet by systemd.
fn beside_its_pod(uid: &str) -> String {
    let id = format!("{:016x}", std::process::id()).repeat(4);
    let uid = uid.replace('-', "_");
    format!("kubepods-burstable-pod{uid}.slice:cri-containerd:{id}")
}

#[tokio::test]
async fn a_container_beside_its_pod_is_the_pods_from_its_first_instruction() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let mut first = Workload::behind_gate(&OPENS);
    let mut second = Workload::behind_gate(&OPENS);
    let (here, ahead) = (
        format!("{:08x}-4f50-6172-8394-a5b6c7d8e9f1", std::process::id()),
        format!("{:08x}-4f50-6172-8394-a5b6c7d8e9f2", std::process::id()),
    );
    // One is there, of the other only the pod's own directory is, which stays empty.
    let container = Cgroup::named(&beside_its_pod(&here));
    container.add(first.pid());
    let kubelet = Cgroup::new();
    let _empty = kubelet.below(&format!(
        "kubepods-burstable-pod{}.slice",
        ahead.replace('-', "_")
    ));
    let target = |uid: &str, pod| in_shop(of(Whom::Pod(uid.to_owned())), pod);
    let spec = v1::TraceSpec {
        targets: vec![target(&here, "here"), target(&ahead, "ahead")],
        ..spec("open", &first)
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    let comes = Cgroup::named(&beside_its_pod(&ahead));
    comes.add(second.pid());
    first.finish();
    second.finish();
    let read = stop_and_read(&daemon).await;
    assert_eq!((rows_of(&read, "here"), rows_of(&read, "ahead")), (50, 50));
    assert_eq!(read.account().produced, 100);
}

#[tokio::test]
async fn what_a_container_names_like_a_container_of_another_pod_is_not_taken_for_it() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let mut workload = Workload::behind_gate(&OPENS);
    let (victim, other) = (
        format!("{:08x}-4f50-6172-8394-a5b6c7d8e9f3", std::process::id()),
        format!("{:08x}-4f50-6172-8394-a5b6c7d8e9f4", std::process::id()),
    );
    let container = Cgroup::named(&beside_its_pod(&other));
    let spec = v1::TraceSpec {
        targets: vec![in_shop(of(Whom::Pod(victim.clone())), "victim")],
        ..spec("open", &workload)
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    // A container may make cgroups below its own.
    let hostile = container.below(&beside_its_pod(&victim));
    hostile.add(workload.pid());
    workload.finish();
    let read = stop_and_read(&daemon).await;
    assert_eq!(read.account().produced, 0);
}

#[tokio::test]
async fn a_trace_of_one_call_ends_with_its_cgroups_and_one_with_a_uid_waits_for_others() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let (group, other) = (Cgroup::new(), Cgroup::new());
    let mut workload = Workload::behind_gate(&OPENS);
    let mut late = Workload::behind_gate(&OPENS);
    group.add(workload.pid());
    let spec = v1::TraceSpec {
        targets: vec![labelled(cgroup(&group), "first")],
        label_columns: vec!["pod".to_owned()],
        ..spec("open", &workload)
    };
    let mut client = daemon.client().await;
    client
        .start_trace(start("a", 1, spec.clone()))
        .await
        .unwrap();
    let mut call = daemon.trace(spec).await.unwrap();
    workload.finish();
    drop(group);
    call.read_all().await.unwrap();
    assert_eq!(call.account().ended, "target_gone");
    assert_eq!(rows_of(&call, "first"), 50);
    other.add(late.pid());
    apply(
        &daemon,
        vec![update(1, vec![add(labelled(cgroup(&other), "second"))])],
    )
    .await;
    late.finish();
    let read = stop_and_read(&daemon).await;
    assert_eq!(
        (rows_of(&read, "first"), rows_of(&read, "second")),
        (50, 50)
    );
    assert_eq!(read.account().ended, "stopped");
}

#[tokio::test]
async fn a_pod_that_is_there_is_traced_and_one_that_is_named_later() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let kubelet = Cgroup::new();
    let uids = [
        "2b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0",
        "3b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0",
    ];
    let pods = uids.map(|uid| kubelet.below(&format!("pod{uid}")));
    let mut first = Workload::behind_gate(&OPENS);
    let mut second = Workload::behind_gate(&OPENS);
    let mut third = Workload::behind_gate(&OPENS);
    pods[0].add(first.pid());
    pods[1].add(second.pid());
    pods[1].add(third.pid());
    let target = |at: usize, pod| in_shop(of(Whom::Pod(uids[at].to_owned())), pod);
    let spec = v1::TraceSpec {
        targets: vec![target(0, "first")],
        ..spec("open", &first)
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    let status = apply(&daemon, vec![update(1, vec![add(target(1, "second"))])]).await;
    assert_eq!(status.target_failures, []);
    first.finish();
    second.finish();
    apply(&daemon, vec![update(2, vec![remove(target(1, ""))])]).await;
    third.finish();
    let read = stop_and_read(&daemon).await;
    assert_eq!(
        (rows_of(&read, "first"), rows_of(&read, "second")),
        (50, 50)
    );
    assert_eq!(read.account().produced, 100);
}

#[tokio::test]
async fn what_a_container_names_like_a_pod_is_not_taken_for_it() {
    needs!("open");
    let test = "targets::what_a_container_names_like_a_pod_is_not_taken_for_it";
    if !can_unshare(test, &["-C", "-m"]) {
        return;
    }
    // A kubelet is here for this agent alone: others look into no container.
    let node = Cgroup::named(&format!("docker-{}.scope", nodes::id(7)));
    let daemon = Daemon::in_cgroup_namespace(&node, "");
    let kubelet = node.below("kubepods");
    let (uid, other) = (
        "4b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0",
        "5b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0",
    );
    let class = kubelet.below("burstable");
    let pod = class.below(&format!("pod{other}"));
    let mut workload = Workload::behind_gate(&OPENS);
    let spec = v1::TraceSpec {
        targets: vec![in_shop(of(Whom::Pod(uid.to_owned())), "victim")],
        ..spec("open", &workload)
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    // A container may make cgroups below its own.
    let hostile = pod.below(&format!("pod{uid}"));
    hostile.add(workload.pid());
    workload.finish();
    let read = stop_and_read(&daemon).await;
    assert_eq!(read.account().produced, 0);
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
