//! A reader sleeps while nothing comes, and nothing that comes goes unnoticed.
//!
//! By `--inject deep-sleep` a sleeping reader never wakes by itself: events that do not wake it are never read.

use crate::{
    daemon::{Daemon, process, spec},
    start,
    tally::{Tally, saw_all},
};
use proto::v1;
use std::time::Duration;
use tests::{Workload, deadline, needs, sleeps};

/// The name of a reader's thread, of which the kernel keeps 15 letters.
const READER: &str = "tracejob-reader";

async fn sleeper() -> Daemon {
    Daemon::start_with("", &["--inject", "deep-sleep"]).await
}

async fn started(daemon: &Daemon, uid: &str, spec: v1::TraceSpec) -> Tally {
    let mut client = daemon.client().await;
    client.start_trace(start(uid, 1, spec)).await.unwrap();
    Tally::follow(daemon, uid).await
}

/// Waits until no reader has read for longer than its ticks and the first pauses of its sleep.
async fn asleep(daemon: &Daemon) {
    let mut before = Vec::new();
    let still = async |daemon: &Daemon| {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = sleeps(daemon.pid(), READER);
        !now.is_empty() && std::mem::replace(&mut before, now.clone()) == now
    };
    daemon.until("the readers to sleep", still).await;
}

/// Waits for a result that must arrive without a poll of the reader.
async fn comes<T>(what: &str, coming: impl Future<Output = T>) -> T {
    let come = tokio::time::timeout(deadline(), coming).await;
    come.unwrap_or_else(|_| panic!("{what} was not noticed"))
}

#[tokio::test]
async fn each_event_wakes_a_reader_that_sleeps_or_is_about_to() {
    needs!("open");
    const EVENTS: u64 = 200;
    let daemon = sleeper().await;
    // On the CPUs that the kernel chooses, all of them in turn.
    let mut workloads = [(); 3].map(|()| Workload::behind_gate("open-per-byte 1 /dev/null"));
    let targets = workloads.iter().map(|workload| process(workload.pid()));
    let spec = v1::TraceSpec {
        targets: targets.collect(),
        ..spec("open", &workloads[0])
    };
    let mut tally = started(&daemon, "one", spec).await;
    // The gates.
    workloads.iter_mut().for_each(Workload::go);
    let mut random: u64 = 0x2545_f491_4f6c_dd1d;
    for event in 1..=EVENTS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // It begins to sleep after some 40 ms, and reads again until 100 ms have passed. Most pauses are near these times, and up to 200 ms.
        let pause = match random % 8 {
            0 => random >> 8 & 127,
            1 => 127 + (random >> 8) % 73,
            _ => 20 + (random >> 8) % 50,
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        workloads[(random >> 32) as usize % 3].go();
        comes(
            &format!("event {event}, after {pause} ms,"),
            tally.until_rows(event),
        )
        .await;
    }
    for workload in &mut workloads {
        workload.end();
    }
    let account = comes("the end of the last process", tally.read_all()).await;
    saw_all(account.unwrap(), EVENTS);
}

#[tokio::test]
async fn the_end_of_a_process_wakes_a_reader_of_events_and_one_of_a_table() {
    let of = async |tracer: &str, kill: bool| {
        let daemon = sleeper().await;
        let mut workload = Workload::behind_gate("fork until-eof");
        let mut client = daemon.client().await;
        let start = start("one", 1, spec(tracer, &workload));
        client.start_trace(start).await.unwrap();
        asleep(&daemon).await;
        match kill {
            true => workload.kill(),
            false => drop(workload.finish()),
        }
        // The deadline is in there.
        daemon.until_over("one").await;
    };
    needs!("open");
    of("open", false).await;
    of("open", true).await;
    needs!("syscall_count");
    of("syscall_count", false).await;
    of("syscall_count", true).await;
}

#[tokio::test]
async fn a_duration_and_a_client_that_ends_the_trace_are_kept_by_a_reader_that_sleeps() {
    needs!("open");
    let daemon = sleeper().await;
    let workload = Workload::behind_gate("until-eof");
    let timed = v1::TraceSpec {
        duration: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..spec("open", &workload)
    };
    let mut timed = started(&daemon, "timed", timed).await;
    let mut stopped = started(&daemon, "stopped", spec("open", &workload)).await;
    let account = comes("the end of its time", timed.read_all()).await;
    assert_eq!(account.unwrap().ended, "duration");
    asleep(&daemon).await;
    let stop = v1::StopTraceRequest {
        uid: "stopped".to_owned(),
    };
    daemon.client().await.stop_trace(stop).await.unwrap();
    let account = comes("the stop request", stopped.read_all()).await;
    assert_eq!(account.unwrap().ended, "stopped");
}

#[tokio::test]
async fn readers_of_traces_that_see_nothing_hardly_ever_wake_up() {
    needs!("open");
    needs!("syscall_count");
    const TRACES: usize = 20;
    const SECONDS: u64 = 3;
    /// Each second an account, and a part of a second pause of the sleep.
    const EACH: u64 = 4;
    let daemon = Daemon::start("").await;
    let workload = Workload::behind_gate("until-eof");
    for n in 0..TRACES {
        let tracer = ["open", "syscall_count"][n % 2];
        let start = start(&format!("trace-{n}"), 1, spec(tracer, &workload));
        daemon.client().await.start_trace(start).await.unwrap();
    }
    // Its first account is a second old by then.
    let have_cost = async |daemon: &Daemon| {
        let traces = daemon.traces().await;
        let kernel_bytes = |trace: &v1::TraceStatus| {
            let cost = trace.account.as_ref().and_then(|account| account.cost);
            cost.map_or(0, |cost| cost.kernel_bytes)
        };
        traces.iter().all(|trace| kernel_bytes(trace) > 0)
    };
    daemon.until("the status of every trace", have_cost).await;
    let before = sleeps(daemon.pid(), READER);
    assert_eq!(before.len(), TRACES);
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let after = sleeps(daemon.pid(), READER);
    let woken: u64 = after.iter().sum::<u64>() - before.iter().sum::<u64>();
    println!("{TRACES} readers woke up {woken} times in {SECONDS} s");
    // A reader with ticks of 10 ms would 100 times a second.
    assert!(woken <= TRACES as u64 * SECONDS * EACH, "{woken}");
}
