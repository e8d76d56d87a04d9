//! Pods as targets, by uid: their cgroups are found by name, in each layout of a kubelet and a container runtime.

use super::{
    OPENS, add, apply, cgroup, in_shop, labelled, of, remove, rows_of, stop_and_read, update,
};
use crate::{
    daemon::{Daemon, spec},
    nodes::{self, can_unshare},
    start,
};
use proto::v1::{self, target::Target as TargetKind};
use std::sync::atomic::{AtomicU32, Ordering};
use tests::{Cgroup, Workload, needs};

async fn traces_a_pod_from_its_first_instruction(name: &str, uid: &str) {
    needs!("open");
    let daemon = Daemon::start("").await;
    let kubelet = Cgroup::new();
    let mut workload = Workload::behind_gate(&OPENS);
    let spec = v1::TraceSpec {
        targets: vec![in_shop(of(TargetKind::Pod(uid.to_owned())), "web-0")],
        ..spec("open", &workload)
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    // The steps of the kubelet and the runtime, without a wait between them.
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
        targets: vec![in_shop(of(TargetKind::Pod(uid.clone())), "a")],
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
    let target = |uid: &str, pod| in_shop(of(TargetKind::Pod(uid.to_owned())), pod);
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
        targets: vec![in_shop(of(TargetKind::Pod(victim.clone())), "victim")],
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
    let target = |at: usize, pod| in_shop(of(TargetKind::Pod(uids[at].to_owned())), pod);
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
    let test = "targets::pods::what_a_container_names_like_a_pod_is_not_taken_for_it";
    if !can_unshare(test, &["-C", "-m"]) {
        return;
    }
    // Only this agent sees the kubelet: other agents do not search in containers.
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
        targets: vec![in_shop(of(TargetKind::Pod(uid.to_owned())), "victim")],
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
