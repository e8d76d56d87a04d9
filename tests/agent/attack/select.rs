//! Targets that would select too much: everything on the node, the agent itself, pods of denied namespaces.

use super::started;
use crate::{
    daemon::{Daemon, process, spec},
    nodes::{can_unshare, id},
    reason, start,
    targets::{OPENS, add, apply, cgroup, in_shop, labelled, of, rows_of, stop_and_read, update},
};
use proto::v1::{self, target::Target as TargetKind};
use std::fs;
use tests::{Cgroup, Workload, needs};
use tonic::Status;
use tonic_types::StatusExt;

fn of_path(path: &str) -> v1::Target {
    of(TargetKind::Cgroup(path.to_owned()))
}

/// The line of the policy that a refusal names.
fn line(refused: &Status) -> String {
    assert_eq!(reason(refused), "PolicyDenied", "{refused}");
    let details = refused.get_details_error_info().unwrap();
    details.metadata["line"].clone()
}

/// What is everything on a node, as a process or a cgroup: by every name that it has here.
fn everything(daemon: &Daemon) -> Vec<v1::Target> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut all: Vec<v1::Target> = ["", ".", "./", "././"].map(of_path).into();
    for line in mounts.lines() {
        let is_selected_by = line.contains(" - cgroup2 ")
            || line.contains(" - cgroup ") && line.split(' ').any(|one| one.contains("memory"));
        if let Some(point) = line.split(' ').nth(4).filter(|_| is_selected_by) {
            all.extend(["", "/", "/.", "/./."].map(|end| of_path(&format!("{point}{end}"))));
        }
    }
    // The first process, the first of the kernel's threads and one more; the agent, and its parent.
    let threads = fs::read_to_string("/proc/2/task/2/children").unwrap_or_default();
    let thread = threads.split(' ').next().and_then(|pid| pid.parse().ok());
    let processes = [1, 2, daemon.pid(), std::process::id()];
    all.extend(processes.into_iter().chain(thread).map(process));
    all
}

/// Of the trace that is to be widened.
async fn status(daemon: &Daemon) -> v1::TraceStatus {
    let mut traces = daemon.traces().await.into_iter();
    traces.find(|trace| trace.uid == "a").unwrap()
}

/// Requests everything in every way, repeatedly, until it is stopped; returns the number of refusals.
pub(crate) async fn asks_for_everything(daemon: &Daemon, mut stop: impl FnMut() -> bool) -> u64 {
    let here = Cgroup::new();
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let of = |target: &v1::Target| v1::TraceSpec {
        targets: vec![target.clone()],
        ..spec("open", &workload)
    };
    started(daemon, "a", of(&cgroup(&here))).await;
    let mut client = daemon.client().await;
    let (mut refusals, mut version) = (0, 0);
    loop {
        for target in everything(daemon) {
            let refused = client.start_trace(start("b", 1, of(&target))).await;
            assert_eq!(line(&refused.unwrap_err()), "policy.host", "{target:?}");
            let refused = daemon.trace(of(&target)).await.map(drop);
            assert_eq!(line(&refused.unwrap_err()), "policy.host", "{target:?}");
            version += 1;
            apply(daemon, vec![update(version, vec![add(target.clone())])]).await;
            let status = status(daemon).await;
            let failure = status.target_failures.last().unwrap();
            assert_eq!(failure.target.as_ref(), Some(&target));
            // A trace that began without processes takes none.
            let wanted = match target.target {
                Some(TargetKind::Process(_)) => "InvalidRequest",
                _ => "PolicyDenied",
            };
            assert_eq!(failure.reason, wanted, "{}", failure.message);
            refusals += 3;
        }
        if stop() {
            break;
        }
    }
    assert_eq!(status(daemon).await.account.map(|of| of.produced), Some(0));
    refusals
}

#[tokio::test]
async fn everything_on_the_node_is_refused_by_every_name_that_it_has() {
    needs!("open");
    let daemon = Daemon::start("").await;
    assert!(asks_for_everything(&daemon, || true).await >= 3 * 12);
    assert_eq!(daemon.traces().await.len(), 1, "the trace that was there");
}

#[tokio::test]
async fn a_trace_of_processes_takes_no_first_process_and_no_kernel_thread_later() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    started(&daemon, "a", spec("open", &workload)).await;
    for (version, pid) in [(1, 1), (2, 2), (3, daemon.pid())] {
        let status = apply(&daemon, vec![update(version, vec![add(process(pid))])]).await;
        let failure = status.target_failures.last().unwrap();
        assert_eq!(failure.reason, "PolicyDenied", "{}", failure.message);
    }
}

#[tokio::test]
async fn a_cgroup_that_holds_the_agent_is_refused_and_one_beside_it_is_not() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let (outer, beside) = (Cgroup::new(), Cgroup::new());
    let inner = outer.below("inner");
    inner.add(daemon.pid());
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let of = |group: &Cgroup| v1::TraceSpec {
        targets: vec![cgroup(group)],
        ..spec("open", &workload)
    };
    for group in [&outer, &inner] {
        let refused = daemon.trace(of(group)).await.map(drop).unwrap_err();
        assert_eq!(line(&refused), "policy.host");
        assert!(refused.message().contains("holds this agent"), "{refused}");
    }
    daemon.trace(of(&beside)).await.unwrap();
    let below = inner.below("below");
    daemon.trace(of(&below)).await.unwrap();
    drop(below);
    drop(daemon);
}

#[tokio::test]
async fn an_agent_in_a_selected_cgroup_is_not_traced_itself() {
    needs!("open");
    let daemon = Daemon::start("policy: {host: true}").await;
    let group = Cgroup::new();
    let mut workload = Workload::behind_gate(&OPENS);
    for pid in [daemon.pid(), workload.pid()] {
        group.add(pid);
    }
    let of = v1::TraceSpec {
        targets: vec![cgroup(&group)],
        ..spec("open", &workload)
    };
    started(&daemon, "a", of).await;
    // The agent opens files for each of these.
    let mut client = daemon.client().await;
    for _ in 0..5 {
        let answer = client.get_capabilities(v1::GetCapabilitiesRequest {}).await;
        answer.unwrap();
    }
    workload.finish();
    let read = stop_and_read(&daemon).await;
    assert_eq!(read.account().produced, 50);
    assert!(read.account().complete);
    drop(daemon);
}

/// A node with a kubelet, as its agent sees it, and what lies in it, the innermost first.
struct Node {
    daemon: Daemon,
    service: Cgroup,
    container: Cgroup,
    pod: Cgroup,
    class: Cgroup,
    kubepods: Cgroup,
    kubelet: Cgroup,
    // The last to go.
    node: Cgroup,
}

const POD: &str = "7a1c2d3e-4f50-6172-8394-a5b6c7d8e9f0";

impl Node {
    /// Creates a node that no other test uses; `number` is the number of the test.
    fn new(number: u32, policy: &str) -> Self {
        let node = Cgroup::named(&format!("docker-{}.scope", id(number)));
        let daemon = Daemon::in_cgroup_namespace(&node, policy);
        let kubelet = node.below("kubelet.slice");
        let kubepods = kubelet.below("kubelet-kubepods.slice");
        let class = kubepods.below("kubelet-kubepods-burstable.slice");
        let uid = POD.replace('-', "_");
        let pod = class.below(&format!("kubelet-kubepods-burstable-pod{uid}.slice"));
        let container = pod.below(&format!("cri-containerd-{}.scope", id(number + 1)));
        let service = node.below("ssh.service");
        Self {
            daemon,
            service,
            container,
            pod,
            class,
            kubepods,
            kubelet,
            node,
        }
    }

    /// A cgroup by its path on the node.
    fn path(&self, group: &Cgroup) -> v1::Target {
        let below = group.path().strip_prefix(self.node.path()).unwrap();
        of_path(below.to_str().unwrap())
    }

    async fn request(&self, target: v1::Target, workload: &Workload) -> Result<(), Status> {
        let spec = v1::TraceSpec {
            targets: vec![target],
            ..spec("open", workload)
        };
        self.daemon.trace(spec).await.map(drop)
    }

    async fn refused(&self, target: v1::Target, workload: &Workload) -> String {
        line(&self.request(target, workload).await.unwrap_err())
    }
}

#[tokio::test]
async fn on_a_node_with_pods_what_holds_them_is_refused_and_services_are_not() {
    needs!("open");
    let test =
        "attack::select::on_a_node_with_pods_what_holds_them_is_refused_and_services_are_not";
    if !can_unshare(test, &["-C", "-m"]) {
        return;
    }
    let node = Node::new(20, "policy: {deniedNamespaces: []}");
    let outside = Workload::behind_gate(&["getppid", "1"]);
    let inside = Workload::behind_gate(&["getppid", "1"]);
    node.container.add(inside.pid());
    for group in [&node.node, &node.kubelet, &node.kubepods, &node.class] {
        let target = node.path(group);
        assert_eq!(node.refused(target, &outside).await, "policy.host");
    }
    for group in [&node.service, &node.pod, &node.container] {
        node.request(node.path(group), &outside).await.unwrap();
    }
    // It may start pods: a container runtime is such a process.
    let starter = process(outside.pid());
    assert_eq!(node.refused(starter, &outside).await, "policy.host");
    node.request(process(inside.pid()), &outside).await.unwrap();
}

#[tokio::test]
async fn what_is_in_a_pod_is_refused_without_its_namespace_where_some_are_denied() {
    needs!("open");
    let test =
        "attack::select::what_is_in_a_pod_is_refused_without_its_namespace_where_some_are_denied";
    if !can_unshare(test, &["-C", "-m"]) {
        return;
    }
    let node = Node::new(30, "policy: {deniedNamespaces: [secret]}");
    let inside = Workload::behind_gate(&["getppid", "1"]);
    node.container.add(inside.pid());
    let container = |pod_uid: &str| v1::Target {
        pod_uid: pod_uid.to_owned(),
        ..of(TargetKind::Container(id(31)))
    };
    let all = [
        of(TargetKind::Pod(POD.to_owned())),
        container(""),
        container(POD),
        node.path(&node.pod),
        node.path(&node.container),
        process(inside.pid()),
    ];
    for target in all {
        // Other labels are no namespace.
        for without in [target.clone(), labelled(target.clone(), "web-0")] {
            let refused = node.refused(without, &inside).await;
            assert_eq!(refused, "policy.deniedNamespaces", "{target:?}");
        }
        let mut denied = in_shop(target.clone(), "web-0");
        denied.labels.as_mut().unwrap().namespace = "secret".to_owned();
        let refused = node.refused(denied, &inside).await;
        assert_eq!(refused, "policy.deniedNamespaces", "{target:?}");
        node.request(in_shop(target, "web-0"), &inside)
            .await
            .unwrap();
    }
    node.request(node.path(&node.service), &inside)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_container_that_is_said_to_be_of_another_pod_is_not_traced() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let runtime = Cgroup::new();
    let uid = |of: u32| format!("{:08x}-4f50-6172-8394-{of:012x}", std::process::id());
    let [own, other] = [1, 2].map(|of| runtime.below(&format!("pod{}", uid(of))));
    let [mine, victim] = [(&own, 40), (&other, 41)]
        .map(|(pod, of)| pod.below(&format!("cri-containerd-{}.scope", id(of))));
    let mut workloads = [&mine, &victim].map(|group| {
        let workload = Workload::behind_gate(&OPENS);
        group.add(workload.pid());
        workload
    });
    let of_mine = |id: &str, pod| v1::Target {
        pod_uid: uid(1),
        ..in_shop(of(TargetKind::Container(id.to_owned())), pod)
    };
    let spec = v1::TraceSpec {
        targets: vec![
            of_mine(&id(40), "mine"),
            // Possible contents of a pod's status, by any caller that may write it.
            of_mine(&id(41), "victim"),
            of_mine(&id(40)[..8], "part"),
        ],
        ..spec("open", &workloads[0])
    };
    started(&daemon, "a", spec).await;
    let failures = daemon.traces().await.remove(0).target_failures;
    let reasons: Vec<_> = failures.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons, ["TargetNotFound"; 2], "{failures:?}");
    for workload in &mut workloads {
        workload.finish();
    }
    let read = stop_and_read(&daemon).await;
    assert_eq!((rows_of(&read, "mine"), read.account().produced), (50, 50));
}

#[tokio::test]
async fn kinds_of_targets_that_the_policy_does_not_name_are_refused() {
    needs!("open");
    let daemon = Daemon::start("policy: {targets: [pod, container], deniedNamespaces: []}").await;
    let group = Cgroup::new();
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let of_targets = |target| v1::TraceSpec {
        targets: vec![target],
        ..spec("open", &workload)
    };
    let pod = of(TargetKind::Pod(POD.to_owned()));
    started(&daemon, "a", of_targets(pod)).await;
    let host = of(TargetKind::Host(v1::Host {}));
    for (target, wanted) in [
        (cgroup(&group), "policy.targets"),
        (process(workload.pid()), "policy.targets"),
        (host, "policy.host"),
    ] {
        let refused = daemon.trace(of_targets(target.clone())).await.map(drop);
        assert_eq!(line(&refused.unwrap_err()), wanted);
        let mut client = daemon.client().await;
        let updates = tokio_stream::iter([update(1, vec![add(target)])]);
        let refused = client.update_targets(updates).await.unwrap_err();
        assert_eq!(line(&refused), wanted);
    }
}

#[tokio::test]
async fn what_a_container_makes_33_levels_deep_is_no_pod_whatever_its_name() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let uid = format!("{:08x}-4f50-6172-8394-{:012x}", std::process::id(), 33);
    // In version 2 the kernel compares one depth.
    let name = format!("tracejob-test-{}-33", std::process::id());
    let top = Cgroup::of_version_1(&name).unwrap_or_default();
    let _pod = top.below(&format!("pod{uid}"));
    let mut workload = Workload::behind_gate(&OPENS);
    let target = in_shop(of(TargetKind::Pod(uid.clone())), "victim");
    let of_pod = v1::TraceSpec {
        targets: vec![target],
        ..spec("open", &workload)
    };
    started(&daemon, "a", of_pod).await;
    // Pods are looked for 1 to 5 levels deep here: 33 to 37 are the same by their last five bits.
    let below = top.nested("below", 32);
    let hostile = below[0].below(&format!("pod{uid}"));
    hostile.add(workload.pid());
    workload.finish();
    let read = stop_and_read(&daemon).await;
    assert_eq!(read.account().produced, 0);
    drop(hostile);
}

#[tokio::test]
async fn cgroups_40_levels_deep_with_a_kubelets_name_do_no_harm() {
    needs!("open");
    let test = "attack::select::cgroups_40_levels_deep_with_a_kubelets_name_do_no_harm";
    if !can_unshare(test, &["-C", "-m"]) {
        return;
    }
    let node = Node::new(50, "");
    let deep = node.service.nested("user-kubepods.slice", 40);
    let mut workload = Workload::behind_gate(&OPENS);
    node.container.add(workload.pid());
    let target = in_shop(of(TargetKind::Container(id(51))), "it");
    let of_container = v1::TraceSpec {
        targets: vec![target],
        ..spec("open", &workload)
    };
    started(&node.daemon, "a", of_container).await;
    workload.finish();
    let read = stop_and_read(&node.daemon).await;
    assert_eq!(rows_of(&read, "it"), 50);
    drop(deep);
}

#[tokio::test]
async fn a_cgroup_that_becomes_the_agents_is_selected_no_more_when_it_is_added_again() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let groups = [(); 2].map(|()| Cgroup::new());
    let mut workloads = [(); 2].map(|()| Workload::behind_gate(&OPENS));
    for (group, workload) in groups.iter().zip(&workloads) {
        group.add(workload.pid());
    }
    let targets = groups.each_ref().map(cgroup);
    let spec = v1::TraceSpec {
        targets: targets.to_vec(),
        ..spec("open", &workloads[0])
    };
    started(&daemon, "a", spec).await;
    let before = fs::read_to_string(format!("/proc/{}/cgroup", daemon.pid())).unwrap();
    groups[0].add(daemon.pid());
    let after = fs::read_to_string(format!("/proc/{}/cgroup", daemon.pid())).unwrap();
    assert_ne!(before, after);
    apply(&daemon, vec![update(1, vec![add(targets[0].clone())])]).await;
    let status = status(&daemon).await;
    let failure = status.target_failures.last().unwrap();
    assert_eq!(failure.reason, "PolicyDenied", "{}", failure.message);
    for workload in &mut workloads {
        workload.finish();
    }
    let read = stop_and_read(&daemon).await;
    assert_eq!(read.account().produced, 50);
}
