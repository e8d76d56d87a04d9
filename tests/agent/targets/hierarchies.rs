//! Cgroups of version 1, and that a trace selects by one hierarchy.

use super::{OPENS, cgroup, in_shop, of, stop_and_read};
use crate::{
    daemon::{Daemon, spec},
    reason, start,
};
use proto::v1::{self, target::Target as TargetKind};
use tests::{Cgroup, Workload, needs};

/// Traces the opens of a workload in a cgroup of version 1, by a target that is it.
async fn traces_in_version_1(name: &str, test: &str, target: impl Fn(&Cgroup) -> v1::Target) {
    needs!("open");
    let Some(outer) = Cgroup::of_version_1(&format!("{name}-outer")) else {
        println!("SKIPPED targets::hierarchies::{test}: cgroup v1 is not mounted here");
        return;
    };
    let daemon = Daemon::start("").await;
    let group = outer.below(name);
    let mut inside = Workload::behind_gate(&OPENS);
    let mut beside = Workload::behind_gate(&OPENS);
    group.add(inside.pid());
    let spec = v1::TraceSpec {
        targets: vec![target(&group)],
        ..spec("open", &inside)
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    inside.finish();
    beside.finish();
    let read = stop_and_read(&daemon).await;
    assert_eq!(read.account().produced, 50);
}

#[tokio::test]
async fn a_container_of_cgroup_v1_is_found_by_its_id() {
    let id = format!("{:064x}", 0xabcd_0000_u64 + u64::from(std::process::id()));
    let name = format!("docker-{id}.scope");
    let test = "a_container_of_cgroup_v1_is_found_by_its_id";
    traces_in_version_1(&name, test, |_| of(TargetKind::Container(id.clone()))).await;
}

#[tokio::test]
async fn a_cgroup_of_cgroup_v1_is_selected_by_its_path() {
    let name = format!("tracejob-test-{}-v1", std::process::id());
    let test = "a_cgroup_of_cgroup_v1_is_selected_by_its_path";
    traces_in_version_1(&name, test, cgroup).await;
}

#[tokio::test]
async fn a_pod_of_cgroup_v1_is_found_by_its_uid() {
    let uid = format!("{:08x}-4f50-6172-8394-a5b6c7d8e9f0", std::process::id());
    let test = "a_pod_of_cgroup_v1_is_found_by_its_uid";
    traces_in_version_1(&format!("pod{uid}"), test, |_| {
        in_shop(of(TargetKind::Pod(uid.clone())), "a")
    })
    .await;
}

#[tokio::test]
async fn a_trace_selects_by_one_hierarchy_and_refuses_the_other_with_the_reason() {
    needs!("open");
    let Some(first) = Cgroup::of_version_1(&format!("tracejob-test-{}-two", std::process::id()))
    else {
        println!(
            "SKIPPED targets::hierarchies::a_trace_selects_by_one_hierarchy_and_refuses_the_other_with_the_reason: cgroup v1 is not mounted here"
        );
        return;
    };
    let second = Cgroup::new();
    let daemon = Daemon::start("").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let both = v1::TraceSpec {
        targets: vec![cgroup(&first), cgroup(&second)],
        ..spec("open", &workload)
    };
    let refused = daemon.trace(both).await.err().unwrap();
    assert_eq!(reason(&refused), "InvalidRequest");
    assert!(refused.message().contains("another hierarchy"), "{refused}");
}
