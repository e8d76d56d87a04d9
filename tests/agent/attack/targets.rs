//! Targets that stand still, are zombies, or go and come again under the same name.

use super::{started, stop};
use crate::{
    daemon::{Daemon, process, spec},
    events,
    tally::{Tally, saw_all},
};
use proto::v1;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use tests::{Cgroup, Workload, needs, until};

/// The state of a process: `T` is stopped, `Z` a zombie. proc_pid_stat(5).
fn until_in_state(pid: u32, wanted: char) {
    until("the process to be in that state", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let rest = stat.rsplit(") ").next()?;
        rest.starts_with(wanted).then_some(())
    });
}

#[tokio::test]
async fn a_target_that_is_stopped_is_still_traced_when_it_goes_on() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let mut workload = Workload::behind_gate(&["open-per-byte", "10", "/dev/null"]);
    let pid = Pid::from_raw(workload.pid() as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    until_in_state(workload.pid(), 'T');
    started(&daemon, "a", spec("open", &workload)).await;
    let mut reader = Tally::follow(&daemon, "a").await;
    // It has an interval's progress behind it: standing still is no end.
    daemon
        .until("an account of it", async |daemon| {
            let traces = daemon.traces().await;
            let account = traces[0].account.clone().unwrap();
            account.elapsed.is_some_and(|elapsed| elapsed.seconds >= 1)
        })
        .await;
    assert_eq!(daemon.traces().await[0].state(), v1::State::Running);
    kill_process(pid, Signal::CONT).unwrap();
    workload.go();
    workload.go();
    workload.end();
    let account = reader.read_all().await.unwrap();
    saw_all(account, 10);
    assert_eq!(account.ended, "target_gone");
}

#[tokio::test]
async fn a_target_that_ends_and_is_not_waited_for_ends_its_trace() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let mut workload = Workload::behind_gate(&["open", "openat", "/dev/null", "0", "0"]);
    started(&daemon, "a", spec("open", &workload)).await;
    let mut reader = Tally::follow(&daemon, "a").await;
    workload.go();
    until_in_state(workload.pid(), 'Z');
    let account = reader.read_all().await.unwrap();
    saw_all(account, 1);
    assert_eq!(account.ended, "target_gone");
}

#[tokio::test]
async fn a_zombie_can_be_named_and_its_trace_ends_at_once() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let mut parent = Workload::behind_gate_after(&["zombie"], &["getppid", "1"]);
    let zombie = parent.message("zombie").as_u64().unwrap() as u32;
    let spec = v1::TraceSpec {
        targets: vec![process(zombie)],
        ..spec("open", &parent)
    };
    let mut events = daemon.trace(spec).await.unwrap();
    events.read_all().await.unwrap();
    let account = events.account();
    assert_eq!((account.produced, &*account.ended), (0, "target_gone"));
    parent.finish();
}

#[tokio::test]
async fn a_container_that_comes_again_under_its_name_is_another_one() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let id = format!("{:0>64x}", std::process::id());
    let name = format!("docker-{id}.scope");
    let spec = v1::TraceSpec {
        tracer: "open".to_owned(),
        targets: vec![v1::Target {
            target: Some(v1::target::Target::Container(id)),
            ..v1::Target::default()
        }],
        ..v1::TraceSpec::default()
    };
    let life = |file| {
        let group = Cgroup::named(&name);
        let workload = Workload::behind_gate(&["open-times", "7", "openat", file, "0", "0"]);
        group.add(workload.pid());
        (group, workload)
    };
    let (first, mut workload) = life("/dev/null");
    started(&daemon, "a", spec.clone()).await;
    let mut of_first = daemon.events(events("a", 0)).await.unwrap();
    workload.finish();
    // Removed, and its name given to the next.
    drop(first);
    let (second, mut workload) = life("/dev/zero");
    started(&daemon, "b", spec).await;
    let mut of_second = daemon.events(events("b", 0)).await.unwrap();
    workload.finish();
    drop(second);
    for (uid, events, file) in [
        ("a", &mut of_first, &b"/dev/null"[..]),
        ("b", &mut of_second, b"/dev/zero"),
    ] {
        stop(&daemon, uid).await;
        events.read_all().await.unwrap();
        saw_all(events.account(), 7);
        for batch in &events.batches {
            let strange = if uid == "a" {
                &b"/dev/zero"[..]
            } else {
                b"/dev/null"
            };
            assert!(events.find_row(batch, "path", strange).is_none());
            assert!(events.find_row(batch, "path", file).is_some());
        }
    }
}
