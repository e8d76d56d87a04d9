//! Targets that are not there when they are named.

use super::{OPENS, add, apply, cgroup, in_shop, labelled, of, rows_of, stop_and_read, update};
use crate::{
    daemon::{Daemon, spec},
    reason, start,
};
use proto::v1::{self, target::Target as TargetKind};
use tests::{Cgroup, Workload, needs};

/// The id of a container, and the name of its cgroup.
fn container(number: u32) -> (String, String) {
    let id = format!("{:032x}{number:032x}", std::process::id());
    let name = format!("cri-containerd-{id}.scope");
    (id, name)
}

#[tokio::test]
async fn a_trace_starts_without_a_target_that_is_not_there_and_has_it_when_it_is_added() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let (here, runtime) = (Cgroup::new(), Cgroup::new());
    let mut first = Workload::behind_gate(&OPENS);
    let mut late = Workload::behind_gate(&OPENS);
    here.add(first.pid());
    let (id, name) = container(1);
    let comes_back = labelled(of(TargetKind::Container(id.clone())), "comes-back");
    let spec = v1::TraceSpec {
        targets: vec![comes_back.clone(), labelled(cgroup(&here), "here")],
        ..spec("open", &first)
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    let status = daemon.traces().await.remove(0);
    let failure = &status.target_failures[0];
    assert_eq!(
        (status.target_failures.len(), status.targets_failed),
        (1, 1)
    );
    assert_eq!(failure.target.as_ref(), Some(&comes_back));
    assert_eq!(
        (failure.version, failure.reason.as_str()),
        (0, "TargetNotFound")
    );
    assert!(failure.message.contains(&id), "{}", failure.message);
    // Tried again while it is not there, it is no further failure.
    let status = apply(&daemon, vec![update(1, vec![add(comes_back.clone())])]).await;
    assert_eq!(status.targets_failed, 1);
    assert_eq!(status.target_failures[0].version, 1);
    let container = runtime.below(&name);
    container.add(late.pid());
    let status = apply(&daemon, vec![update(2, vec![add(comes_back)])]).await;
    assert_eq!((status.target_failures, status.targets_failed), (vec![], 0));
    first.finish();
    late.finish();
    let read = stop_and_read(&daemon).await;
    let rows = ["here", "comes-back"].map(|pod| rows_of(&read, pod));
    assert_eq!(rows, [50, 50]);
}

#[tokio::test]
async fn a_trace_of_nothing_that_is_there_runs_until_something_comes() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let runtime = Cgroup::new();
    let mut late = Workload::behind_gate(&OPENS);
    let (gone, _) = container(2);
    let (id, name) = container(3);
    let spec = v1::TraceSpec {
        targets: vec![labelled(of(TargetKind::Container(gone)), "gone")],
        ..spec("open", &late)
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    let container = runtime.below(&name);
    container.add(late.pid());
    let comes = labelled(of(TargetKind::Container(id)), "comes");
    let status = apply(&daemon, vec![update(1, vec![add(comes)])]).await;
    assert_eq!(
        (status.state(), status.targets_failed),
        (v1::State::Running, 1)
    );
    late.finish();
    let read = stop_and_read(&daemon).await;
    assert_eq!(rows_of(&read, "comes"), 50);
}

#[tokio::test]
async fn a_call_of_several_targets_is_refused_when_one_is_not_there_and_names_it() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let here = Cgroup::new();
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let (gone, _) = container(4);
    let both = v1::TraceSpec {
        targets: vec![cgroup(&here), of(TargetKind::Container(gone.clone()))],
        ..spec("open", &workload)
    };
    let refused = daemon.trace(both).await.err().unwrap();
    assert_eq!(reason(&refused), "TargetNotFound");
    assert!(refused.message().contains(&gone), "{refused}");
    assert!(daemon.traces().await.is_empty());
}

#[tokio::test]
async fn equal_targets_are_searched_once() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let here = Cgroup::new();
    let mut workload = Workload::behind_gate(&OPENS);
    here.add(workload.pid());
    let (gone, _) = container(7);
    let mut targets = vec![labelled(of(TargetKind::Container(gone)), "gone"); 500];
    targets.extend(vec![labelled(cgroup(&here), "first"); 500]);
    targets.push(labelled(cgroup(&here), "last"));
    let spec = v1::TraceSpec {
        targets,
        ..spec("open", &workload)
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    assert_eq!(daemon.traces().await[0].targets_failed, 1);
    workload.finish();
    let read = stop_and_read(&daemon).await;
    assert_eq!((rows_of(&read, "last"), read.account().produced), (50, 50));
}

#[tokio::test]
async fn targets_beyond_the_limit_are_not_searched() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let here = Cgroup::new();
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let missing = (0..1100).map(|at| of(TargetKind::Cgroup(format!("none-{at}"))));
    let spec = v1::TraceSpec {
        targets: missing.chain([cgroup(&here)]).collect(),
        ..spec("open", &workload)
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    let status = daemon.traces().await.remove(0);
    assert_eq!(status.targets_failed, 1101);
    let last = status.target_failures.last().unwrap();
    assert_eq!(last.target.as_ref(), Some(&cgroup(&here)));
    assert_eq!(last.reason, "ResourceExhausted", "{}", last.message);
    // An update has as many of its own.
    let status = apply(&daemon, vec![update(1, vec![add(cgroup(&here))])]).await;
    assert_eq!(status.targets_failed, 1100);
}

#[tokio::test]
async fn a_pod_keeps_its_rows_when_its_container_is_made_anew() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let kubelet = Cgroup::new();
    let uid = "6b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0";
    let pod = kubelet.below(&format!("pod{uid}"));
    let mut first = Workload::behind_gate(&OPENS);
    let mut second = Workload::behind_gate(&OPENS);
    let (id, name) = container(5);
    let before = pod.below(&name);
    before.add(first.pid());
    let spec = v1::TraceSpec {
        targets: vec![
            in_shop(of(TargetKind::Pod(uid.to_owned())), "web-0"),
            in_shop(of(TargetKind::Container(id)), "web-0"),
        ],
        ..spec("open", &first)
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    first.finish();
    drop(before);
    let after = pod.below(&container(6).1);
    after.add(second.pid());
    second.finish();
    let read = stop_and_read(&daemon).await;
    assert_eq!(rows_of(&read, "web-0"), 100);
}

#[tokio::test]
async fn a_denied_target_in_an_update_is_a_failure_and_the_others_are_traced() {
    needs!("open");
    let daemon = Daemon::start("policy: {deniedNamespaces: [secret]}").await;
    let groups = [(); 2].map(|()| Cgroup::new());
    let mut workloads = [(); 2].map(|()| Workload::behind_gate(&OPENS));
    for (group, workload) in groups.iter().zip(&workloads) {
        group.add(workload.pid());
    }
    let [comes, denied] = groups.each_ref().map(|group| in_shop(cgroup(group), "a"));
    // It is selected before its labels arrive.
    let spec = v1::TraceSpec {
        targets: vec![denied.clone()],
        ..spec("open", &workloads[0])
    };
    let mut client = daemon.client().await;
    client.start_trace(start("a", 1, spec)).await.unwrap();
    let mut secret = denied;
    secret.labels.as_mut().unwrap().namespace = "secret".to_owned();
    let targets = vec![comes.clone(), secret.clone()];
    let only = v1::Change {
        change: Some(v1::change::Change::Only(v1::Targets { targets })),
    };
    let changes = vec![only, add(secret.clone()), add(comes)];
    let status = apply(&daemon, vec![update(1, changes)]).await;
    assert_eq!((status.targets_version, status.targets_failed), (1, 1));
    let failure = &status.target_failures[0];
    assert_eq!(failure.target.as_ref(), Some(&secret));
    assert_eq!(failure.reason, "PolicyDenied");
    assert!(
        failure.message.contains("policy.deniedNamespaces"),
        "{}",
        failure.message
    );
    for workload in &mut workloads {
        workload.finish();
    }
    let read = stop_and_read(&daemon).await;
    assert_eq!((rows_of(&read, "a"), read.account().produced), (50, 50));
}

#[tokio::test]
async fn a_denied_target_in_a_start_is_a_failure_and_where_no_other_is_left_a_refusal() {
    needs!("open");
    let daemon = Daemon::start("policy: {deniedNamespaces: [secret]}").await;
    let groups = [(); 2].map(|()| Cgroup::new());
    let mut workloads = [(); 2].map(|()| Workload::behind_gate(&OPENS));
    for (group, workload) in groups.iter().zip(&workloads) {
        group.add(workload.pid());
    }
    let [allowed, mut secret] = groups.each_ref().map(|group| in_shop(cgroup(group), "a"));
    secret.labels.as_mut().unwrap().namespace = "secret".to_owned();
    let of = |targets: &[&v1::Target]| v1::TraceSpec {
        targets: targets.iter().copied().cloned().collect(),
        ..spec("open", &workloads[0])
    };
    let both = of(&[&secret, &allowed]);
    let mut client = daemon.client().await;
    let refused = client.start_trace(start("a", 1, of(&[&secret]))).await;
    assert_eq!(reason(&refused.unwrap_err()), "PolicyDenied");
    // A call has no status that could report it.
    let refused = daemon.trace(both.clone()).await.map(drop);
    assert_eq!(reason(&refused.unwrap_err()), "PolicyDenied");
    client.start_trace(start("a", 2, both)).await.unwrap();
    let mut traces = daemon.traces().await.into_iter();
    let status = traces.find(|trace| trace.uid == "a").unwrap();
    assert_eq!(status.targets_failed, 1);
    let failure = &status.target_failures[0];
    assert_eq!(failure.target.as_ref(), Some(&secret));
    assert_eq!(failure.reason, "PolicyDenied");
    for workload in &mut workloads {
        workload.finish();
    }
    let read = stop_and_read(&daemon).await;
    assert_eq!((rows_of(&read, "a"), read.account().produced), (50, 50));
}
