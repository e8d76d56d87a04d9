//! Nodes that are containers, as those of kind and k3d are: in a cgroup namespace and a pid namespace of their own.

use crate::{
    confined::until_named,
    daemon::{Daemon, spec},
    reason, start,
    targets::{OPENS, in_shop, of, rows_of, stop_and_read},
};
use proto::v1::{self, target::Target as TargetKind};
use std::{fs, io::Write, process::Command};
use tests::{Cgroup, Workload, needs, program};

/// Returns whether unshare(1) works with these options here; prints the skipped test otherwise.
pub(crate) fn can_unshare(test: &str, options: &[&str]) -> bool {
    let mut command = Command::new("unshare");
    let can = command.args(options).arg("true").output();
    let can = can.is_ok_and(|out| out.status.success());
    if !can {
        println!("SKIPPED {test}: there is no unshare(1) with {options:?} here");
    }
    can
}

/// The id of a container, for one test.
pub(crate) fn id(of: u32) -> String {
    format!("{of:08x}{:08x}", std::process::id()).repeat(4)
}

/// What the kubelet of such a node makes: its own cgroup, and in it that of all pods.
fn kubelet(node: &Cgroup) -> (Cgroup, Cgroup) {
    let kubelet = node.below("kubelet.slice");
    let kubepods = kubelet.below("kubelet-kubepods.slice");
    (kubelet, kubepods)
}

fn of_targets(targets: Vec<v1::Target>, workload: &Workload) -> v1::TraceSpec {
    v1::TraceSpec {
        targets,
        ..spec("open", workload)
    }
}

#[tokio::test]
async fn a_container_of_a_node_that_is_a_container_is_traced_and_nothing_else() {
    needs!("open");
    let test = "nodes::a_container_of_a_node_that_is_a_container_is_traced_and_nothing_else";
    if !can_unshare(test, &["-C", "-m"]) {
        return;
    }
    // The node's own cgroup is that of a container, and another node lies beside it.
    let (node, other) = (
        Cgroup::named(&format!("docker-{}.scope", id(1))),
        Cgroup::named(&format!("docker-{}.scope", id(2))),
    );
    let (_kubelet, kubepods) = kubelet(&node);
    let container = kubepods.below(&format!("cri-containerd-{}.scope", id(3)));
    let inner = container.nested("inner", 40);
    let daemon = Daemon::in_cgroup_namespace(&node, "");
    let mut workloads = [&container, &inner[0], &kubepods, &node, &other].map(|group| {
        let workload = Workload::behind_gate(&OPENS);
        group.add(workload.pid());
        workload
    });
    let targets = vec![in_shop(of(TargetKind::Container(id(3))), "it")];
    let spec = of_targets(targets, &workloads[0]);
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    for workload in &mut workloads {
        workload.finish();
    }
    let read = stop_and_read(&daemon).await;
    assert_eq!((rows_of(&read, "it"), read.account().produced), (100, 100));
    // A container that it cannot see is not reported as gone: the message has the path that it searched.
    let targets = vec![of(TargetKind::Container(id(2)))];
    let refused = daemon.trace(of_targets(targets, &workloads[0])).await;
    let refused = refused.map(drop).unwrap_err();
    assert_eq!(reason(&refused), "TargetNotFound");
    assert!(refused.message().contains("cgroup namespace"), "{refused}");
}

#[tokio::test]
async fn a_pod_of_a_node_that_is_a_container_is_traced_from_its_first_instruction() {
    needs!("open");
    let test = "nodes::a_pod_of_a_node_that_is_a_container_is_traced_from_its_first_instruction";
    if !can_unshare(test, &["-C", "-m"]) {
        return;
    }
    let node = Cgroup::named(&format!("docker-{}.scope", id(4)));
    let (_kubelet, kubepods) = kubelet(&node);
    let daemon = Daemon::in_cgroup_namespace(&node, "");
    let mut workload = Workload::behind_gate(&OPENS);
    let mut beside = Workload::behind_gate(&OPENS);
    let uid = "6b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0";
    let targets = vec![in_shop(of(TargetKind::Pod(uid.to_owned())), "web-0")];
    let mut client = daemon.client().await;
    let spec = of_targets(targets, &workload);
    client.start_trace(start("a", 1, spec)).await.unwrap();
    // The steps of the kubelet and the runtime, without a wait between them.
    let name = format!("kubelet-kubepods-pod{}.slice", uid.replace('-', "_"));
    let pod = kubepods.below(&name);
    let container = pod.below(&format!("cri-containerd-{}.scope", id(5)));
    container.add(workload.pid());
    workload.finish();
    // In the same place outside of the node it is another's.
    let outside = Cgroup::named(&name);
    outside.add(beside.pid());
    beside.finish();
    let read = stop_and_read(&daemon).await;
    assert_eq!((rows_of(&read, "web-0"), read.account().produced), (50, 50));
}

#[tokio::test]
async fn a_container_that_sees_only_its_own_cgroups_refuses_pods_with_the_reason() {
    needs!("open");
    let test = "nodes::a_container_that_sees_only_its_own_cgroups_refuses_pods_with_the_reason";
    if !can_unshare(test, &["-C", "-m"]) {
        return;
    }
    let own = Cgroup::named(&format!("docker-{}.scope", id(6)));
    let daemon = Daemon::in_cgroup_namespace(&own, "");
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let targets = vec![of(TargetKind::Pod(
        "7b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0".to_owned(),
    ))];
    let refused = daemon.trace(of_targets(targets, &workload)).await;
    let refused = refused.map(drop).unwrap_err();
    assert_eq!(reason(&refused), "TargetNotFound");
    assert!(refused.message().contains("/sys/fs/cgroup"), "{refused}");
    let mut client = daemon.client().await;
    let answer = client.get_capabilities(v1::GetCapabilitiesRequest {}).await;
    let checks = answer.unwrap().into_inner().checks;
    let cgroups = checks.iter().find(|check| check.name == "cgroups").unwrap();
    assert_eq!(cgroups.verdict, "limited");
    assert!(cgroups.detail.contains("namespace"), "{}", cgroups.detail);
}

#[tokio::test]
async fn where_processes_have_other_numbers_stacks_are_named_by_build_id() {
    needs!("page_fault");
    let test = "nodes::where_processes_have_other_numbers_stacks_are_named_by_build_id";
    if !can_unshare(test, &["-m", "-p", "-f"]) {
        return;
    }
    let group = Cgroup::new();
    let lines = format!(
        "mkfifo gate; sh -c 'echo 0 > {}/cgroup.procs; exec {workload} with-caps \"\" {workload} gate , touch 300 write , until-eof' < gate 2> workload & true",
        group.path().display(),
        workload = program("workload").display(),
    );
    let mut daemon = Daemon::in_pid_namespace_with(&lines);
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let targets = vec![of(TargetKind::Cgroup(group.path().display().to_string()))];
    let of_group = v1::TraceSpec {
        targets,
        ..spec("page_fault", &workload)
    };
    let mut events = daemon.trace(of_group).await.unwrap();
    let gate = fs::File::options()
        .write(true)
        .open(daemon.folder().join("gate"));
    let mut gate = gate.unwrap();
    gate.write_all(b"!").unwrap();
    until_named(&mut events, "write_pages").await;
    let mut client = daemon.client().await;
    let answer = client.get_capabilities(v1::GetCapabilitiesRequest {}).await;
    let checks = answer.unwrap().into_inner().checks;
    let processes = checks
        .iter()
        .find(|check| check.name == "processes")
        .unwrap();
    assert_eq!(processes.verdict, "limited");
    assert!(
        processes.detail.contains("build id"),
        "{}",
        processes.detail
    );
    drop(gate);
    daemon.kill_inside();
}
