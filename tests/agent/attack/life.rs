//! The life of the agent: killed and restarted, twice on one socket, and many traces started and stopped.

use super::{from_environment, started};
use crate::{
    daemon::{Daemon, spec},
    events,
    tally::{Tally, saw_all},
};
use proto::v1;
use std::os::unix::net::UnixStream;
use tests::{Workload, descriptors, held_by, in_kernel, in_vm, needs, resident, threads, until};

#[tokio::test]
async fn a_killed_agent_leaves_nothing_in_the_kernel_and_starts_again_on_the_same_socket() {
    needs!("open");
    let mut daemon = Daemon::start("").await;
    let mut workload = Workload::behind_gate(&["open-per-byte", "1000", "/dev/null"]);
    started(&daemon, "a", spec("open", &workload)).await;
    let mut reader = Tally::follow(&daemon, "a").await;
    workload.go();
    workload.go();
    reader.until_rows(500).await;
    let held = held_by(daemon.pid());
    assert!(held.iter().any(|one| one.starts_with("prog ")), "{held:?}");
    assert!(held.is_subset(&in_kernel()));
    daemon.kill();
    assert!(reader.read_all().await.is_err(), "its reader gets an error");
    until("the kernel to forget it", || {
        in_kernel().is_disjoint(&held).then_some(())
    });
    assert!(daemon.socket().exists(), "the old socket is still there");
    assert!(UnixStream::connect(daemon.socket()).is_err());

    daemon.start_again();
    assert!(daemon.traces().await.is_empty());
    started(&daemon, "a", spec("open", &workload)).await;
    let mut reader = Tally::follow(&daemon, "a").await;
    workload.go();
    // The traced process runs as before.
    workload.end();
    saw_all(reader.read_all().await.unwrap(), 1000);
}

#[tokio::test]
async fn a_second_agent_on_a_socket_is_an_error_and_the_first_one_stays() {
    let daemon = Daemon::start("").await;
    let (succeeded, messages) = daemon.start_another();
    assert!(!succeeded);
    assert!(messages.contains("another agent listens on"), "{messages}");
    assert!(messages.contains("agent.sock"), "{messages}");
    assert!(daemon.traces().await.is_empty(), "the first one answers");
}

#[tokio::test]
async fn starting_and_stopping_for_a_long_time_leaves_nothing_behind() {
    needs!("tcp_connect");
    /// Until everything that is allocated once has been.
    const WARM_UP: u64 = 20;
    /// What memory may grow by afterwards, KiB.
    const GROWTH: i64 = 4096;
    // An emulated kernel takes a second for each.
    let cycles = from_environment("TRACEJOB_TEST_CYCLES", if in_vm() { 10 } else { 60 });
    let daemon = Daemon::start("policy: {keepSeconds: 0}").await;
    let pid = daemon.pid();
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let mut client = daemon.client().await;
    let mut warm = None;
    for cycle in 0..WARM_UP + cycles {
        if cycle == WARM_UP {
            warm = Some((resident(pid).unwrap(), descriptors(pid), threads(pid)));
        }
        let uid = format!("cycle-{cycle}");
        let start = crate::start(&uid, 1, spec("tcp_connect", &workload));
        client.start_trace(start).await.unwrap();
        let mut stream = client
            .stream_events(events(&uid, 0))
            .await
            .unwrap()
            .into_inner();
        let stop = v1::StopTraceRequest { uid };
        client.stop_trace(stop).await.unwrap();
        let mut last = None;
        while let Some(message) = stream.message().await.unwrap() {
            last = message.item;
        }
        let Some(v1::stream_events_response::Item::Account(account)) = last else {
            panic!("a stream ends with its account: {last:?}");
        };
        assert_eq!(account.ended, "stopped");
    }
    let (memory, open, running) = warm.unwrap();
    let at = |what, of: fn(u32) -> usize, most: usize| {
        until(what, || (of(pid) <= most).then_some(()));
    };
    until("no map and no program to be held", || {
        held_by(pid).is_empty().then_some(())
    });
    at("descriptors to be closed", descriptors, open);
    at("threads to end", threads, running);
    let now = resident(pid).unwrap();
    println!("{cycles} cycles: from {memory} to {now} KiB, {open} descriptors, {running} threads");
    assert!(now - memory <= GROWTH, "from {memory} to {now} KiB");
}
