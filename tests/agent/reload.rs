//! The policy changes while the agent runs.

use crate::{
    daemon::{Daemon, spec},
    reason, start,
};
use proto::v1;
use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};
use tests::{Workload, needs};
use tonic::{Code, Status};

/// Waits until a trace of this tracer is refused by its policy, or is not.
async fn until(daemon: &Daemon, workload: &Workload, tracer: &str, refused: bool) {
    let end = Instant::now() + tests::deadline();
    let mut uid = 0;
    loop {
        uid += 1;
        let uid = format!("{tracer}-{uid}");
        let mut client = daemon.client().await;
        let started = client
            .start_trace(start(&uid, 1, spec(tracer, workload)))
            .await;
        let denied = |status: &Status| reason(status) == "PolicyDenied";
        if started.as_ref().err().is_some_and(denied) == refused {
            let stop = v1::StopTraceRequest { uid };
            client.stop_trace(stop).await.unwrap();
            return;
        }
        let stop = v1::StopTraceRequest { uid };
        client.stop_trace(stop).await.unwrap();
        assert!(Instant::now() < end, "{tracer}: the policy stays as it was");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

#[tokio::test]
async fn a_new_policy_holds_from_then_on_and_one_that_is_wrong_changes_nothing() {
    needs!("tcp_connect");
    let daemon = Daemon::start("policy: {tracers: [tcp_connect]}").await;
    let file = daemon.config_file();
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let mut client = daemon.client().await;
    let runs = start("runs", 1, spec("tcp_connect", &workload));
    client.start_trace(runs).await.unwrap();
    replace(&file, "policy: {tracers: [tcp_life]}");
    until(&daemon, &workload, "tcp_connect", true).await;
    until(&daemon, &workload, "tcp_life", false).await;
    // What runs is left to end.
    let traces = daemon.traces().await;
    let runs = traces.iter().find(|trace| trace.uid == "runs").unwrap();
    assert_eq!(runs.state(), v1::State::Running);
    replace(&file, "policy: {tracers: [tcp_connect], maxTrace: 1}");
    // Asked for, so that there is something to wait for that is not time: the next one that is right is read after it.
    daemon.hang_up();
    replace(&file, "policy: {tracers: [tcp_connect, tcp_life]}");
    until(&daemon, &workload, "tcp_connect", false).await;
    assert!(!daemon.traces().await.is_empty());
}

#[tokio::test]
async fn a_configuration_behind_a_link_that_switches_is_followed() {
    needs!("tcp_connect");
    let daemon = Daemon::start("policy: {tracers: [tcp_connect]}").await;
    let file = daemon.config_file();
    let folder = file.parent().unwrap();
    let workload = Workload::behind_gate(&["getppid", "1"]);
    // As a ConfigMap is mounted: the file is a link into ..data, which is a link to the newest folder.
    for (name, text) in [
        ("one", "policy: {tracers: [tcp_life]}"),
        ("two", "policy: {tracers: [tcp_connect]}"),
    ] {
        fs::create_dir(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("agent.yaml"), text).unwrap();
    }
    symlink("one", folder.join("..data")).unwrap();
    symlink("..data/agent.yaml", folder.join("link")).unwrap();
    fs::rename(folder.join("link"), &file).unwrap();
    until(&daemon, &workload, "tcp_connect", true).await;
    symlink("two", folder.join("..new")).unwrap();
    fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    until(&daemon, &workload, "tcp_connect", false).await;
}

#[tokio::test]
async fn pods_of_a_denied_namespace_are_not_traced_from_the_start_or_later() {
    needs!("tcp_connect");
    let daemon = Daemon::start("policy: {deniedNamespaces: [secret]}").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let of = |namespace: &str| v1::Target {
        labels: Some(v1::Labels {
            namespace: namespace.to_owned(),
            ..v1::Labels::default()
        }),
        ..crate::daemon::process(workload.pid())
    };
    let with = |namespace| v1::TraceSpec {
        targets: vec![of(namespace)],
        ..spec("tcp_connect", &workload)
    };
    let mut client = daemon.client().await;
    let refused = client.start_trace(start("a", 1, with("secret"))).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(
        refused.message().contains("policy.deniedNamespaces"),
        "{refused}"
    );
    client
        .start_trace(start("a", 1, with("shop")))
        .await
        .unwrap();
    let add = |namespace| v1::Change {
        change: Some(v1::change::Change::Add(of(namespace))),
    };
    let update = v1::UpdateTargetsRequest {
        uid: "a".to_owned(),
        generation: 1,
        update: Some(v1::Update {
            version: 1,
            changes: vec![add("shop"), add("secret")],
        }),
    };
    let mut update_with = async |version, changes| {
        let mut update = update.clone();
        update.update = Some(v1::Update { version, changes });
        client.update_targets(tokio_stream::iter([update])).await
    };
    let refused = update_with(1, vec![add("secret")]).await;
    assert_eq!(reason(&refused.unwrap_err()), "PolicyDenied");
    assert_eq!(daemon.traces().await[0].targets_version, 0);
    let both = vec![add("shop"), add("secret")];
    update_with(1, both).await.unwrap();
    let status = daemon.traces().await.remove(0);
    assert_eq!(status.targets_version, 1);
    assert_eq!(status.target_failures[0].reason, "PolicyDenied");
    let message = &status.target_failures[0].message;
    assert!(message.contains("policy.deniedNamespaces"), "{message}");
}

#[tokio::test]
async fn what_is_wrong_as_a_whole_or_changes_beside_the_policy_changes_nothing() {
    needs!("tcp_connect");
    let daemon = Daemon::by_shell(":", "policy: {tracers: [tcp_connect]}");
    let listen = format!("listen: unix://{}", daemon.socket().display());
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let put = |text: &str| replace(&daemon.config_file(), text);
    let wait_for = |what: &str| tests::until(what, || (daemon.logged(what) == 1).then_some(()));
    // Each line by itself is as it should be.
    put(&format!(
        "{listen}\nroles: {{control: [a.example]}}\npolicy: {{tracers: [tcp_life]}}"
    ));
    wait_for("the policy stays as it is: roles: no https listener");
    let mut client = daemon.client().await;
    let still = start("a", 1, spec("tcp_connect", &workload));
    client.start_trace(still).await.unwrap();
    // Another socket, and another policy with it: either holds with the other from the next start on.
    put(&format!("{listen}.other\npolicy: {{tracers: [tcp_life]}}"));
    wait_for("the policy stays as it is: fields other than policy have changed");
    until(&daemon, &workload, "tcp_connect", false).await;
    assert_eq!(daemon.logged("policy reloaded"), 0);
    assert!(!daemon.socket().with_extension("sock.other").exists());
}

#[tokio::test]
async fn a_file_that_is_emptied_or_cut_short_widens_no_policy() {
    needs!("tcp_connect");
    let policy = "policy:\n  tracers: [tcp_life]\n  deniedNamespaces: [payments]\n  maxDurationSeconds: 10\n";
    let daemon = Daemon::by_shell(":", policy);
    let file = daemon.config_file();
    let whole = fs::read_to_string(&file).unwrap();
    let workload = Workload::behind_gate(&["getppid", "1"]);
    // In place, as a shell or an editor writes it on a disk that is full.
    for (at, cut) in ["", "policy:", "  deniedNamespaces"]
        .into_iter()
        .enumerate()
    {
        fs::write(&file, whole.split_at(whole.find(cut).unwrap()).0).unwrap();
        tests::until("the agent to refuse it", || {
            (daemon.logged("the policy stays as it is") == 1 + at).then_some(())
        });
        let mut client = daemon.client().await;
        let denied = client.start_trace(start("a", 1, spec("tcp_connect", &workload)));
        assert_eq!(
            reason(&denied.await.unwrap_err()),
            "PolicyDenied",
            "{cut:?}"
        );
    }
    assert_eq!(daemon.logged("policy reloaded"), 0);
    fs::write(&file, whole.replace("tcp_life", "tcp_connect")).unwrap();
    until(&daemon, &workload, "tcp_connect", false).await;
    assert_eq!(daemon.logged("policy reloaded"), 1);
}

#[test]
fn what_changes_while_the_agent_starts_is_not_missed() {
    let folder = tests::folder();
    let (file, log) = (folder.join("agent.yaml"), folder.join("log"));
    let listen = format!("listen: unix://{}", folder.join("run/agent.sock").display());
    fs::write(&file, format!("{listen}\npolicy: {{maxTraces: 1}}")).unwrap();
    let mut command = tests::agent(&["--config", file.to_str().unwrap()]);
    let mut child = command
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let wait_for = |what: &str| {
        let is_logged = || fs::read_to_string(&log).unwrap().contains(what);
        tests::until(what, || is_logged().then_some(()));
    };
    // It has read its configuration, and does not serve yet.
    wait_for("confined: no_new_privs");
    replace(&file, &format!("{listen}\npolicy: {{maxTraces: 2}}"));
    wait_for("policy reloaded");
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_hangup_as_soon_as_it_is_there_ends_no_agent() {
    use rustix::process::{Pid, Signal, kill_process};
    let folder = tests::folder();
    let notify = folder.join("notify");
    let systemd = std::os::unix::net::UnixDatagram::bind(&notify).unwrap();
    systemd.set_read_timeout(Some(tests::deadline())).unwrap();
    let listen = format!("unix://{}", folder.join("run/agent.sock").display());
    let mut text = [0; 64];
    for _ in 0..10 {
        let mut command = tests::agent(&["--listen", &listen]);
        let mut child = command.env("NOTIFY_SOCKET", &notify).spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(systemd.recv(&mut text).is_ok(), "READY=1");
        kill_process(pid, Signal::HUP).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        assert!(
            systemd
                .recv(&mut text)
                .is_ok_and(|_| text.starts_with(b"STOPPING=1"))
        );
        let status = tests::until("the agent to end", || child.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
    fs::remove_dir_all(&folder).unwrap();
}
