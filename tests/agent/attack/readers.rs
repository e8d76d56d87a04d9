//! Readers: one that stops, a hundred at once, one whose trace loses more than it delivers.

use super::{from_environment, started};
use crate::{
    daemon::{Daemon, spec},
    tally::{Tally, saw_all},
};
use proto::v1;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tests::{Workload, needs, resident};
use tokio::task::JoinSet;

/// What the agent keeps of a trace, bytes.
const REPLAY: i64 = 2 << 20;
/// What a trace may take besides, KiB: a batch on its way to the log, what two connections have in flight, what the allocator keeps.
const SLACK: i64 = 8 << 10;
/// Number of rows that fill the log, and both buffers of a connection without a reader, several times.
const MANY: u64 = 100_000;
/// Files opened at a time, which are a tenth of the ring.
const BURST: u64 = 1000;

#[tokio::test]
async fn a_reader_that_stops_reading_costs_no_more_than_the_log_and_others_lose_nothing() {
    needs!("open");
    let seconds = Duration::from_secs(from_environment("TRACEJOB_TEST_STALL_SECONDS", 3));
    let daemon = Daemon::start(&format!("policy: {{replayBytes: {REPLAY}}}")).await;
    let burst = BURST.to_string();
    let mut workload = Workload::behind_gate(&["open-per-byte", &burst, "/dev/null"]);
    started(&daemon, "a", spec("open", &workload)).await;
    let mut stopped = Tally::follow(&daemon, "a").await;
    let mut other = Tally::follow(&daemon, "a").await;
    let before = resident(daemon.pid()).unwrap();
    let mut samples = Vec::new();
    let began = Instant::now();
    let mut opened = 0;
    workload.go();
    while began.elapsed() < seconds || opened < MANY {
        workload.go();
        opened += BURST;
        // A burst at a time: however slow this machine is, the one that reads is never late. Not for the last of them is waited:
        // since Linux 7.0 the kernel may skip some.
        other.until_rows(opened - BURST / 2).await;
        samples.push(resident(daemon.pid()).unwrap());
    }
    workload.end();
    let account = other.read_all().await.unwrap().clone();
    saw_all(&account, opened);
    assert_eq!((other.rows, other.gaps), (account.produced, 0));
    stopped.read_all().await.unwrap();
    assert!(stopped.gaps > 0, "{MANY} rows are more than is kept");
    assert_eq!(stopped.rows + stopped.gap_rows, account.produced);

    let most = samples.iter().max().unwrap();
    println!(
        "{opened} rows in {:?}; the agent had {before} KiB, and {most} KiB at most",
        began.elapsed()
    );
    assert!(
        most - before <= REPLAY / 1024 + SLACK,
        "from {before} to {most} KiB"
    );
    // Once the log is full it grows no more.
    let half = samples[samples.len() / 2];
    let last = samples.last().unwrap();
    assert!(last - half <= 2048, "from {half} to {last} KiB");
}

#[tokio::test]
async fn a_hundred_readers_of_one_trace_get_every_row() {
    needs!("open");
    const ROWS: u64 = 5000;
    let daemon = Daemon::start("").await;
    let rows = ROWS.to_string();
    let mut workload =
        Workload::behind_gate(&["open-times", &rows, "openat", "/dev/null", "0", "0"]);
    started(&daemon, "a", spec("open", &workload)).await;
    let mut readers = JoinSet::new();
    for _ in 0..10 {
        let client = daemon.client().await;
        for _ in 0..10 {
            let mut client = client.clone();
            readers.spawn(async move {
                let request = v1::StreamEventsRequest {
                    uid: "a".to_owned(),
                    from_sequence: 0,
                    ..v1::StreamEventsRequest::default()
                };
                let stream = client.stream_events(request).await.unwrap();
                let mut tally = Tally::of(stream.into_inner()).await;
                let account = tally.read_all().await.unwrap().clone();
                saw_all(&account, ROWS);
                assert_eq!((tally.rows, tally.gaps), (account.produced, 0));
            });
        }
    }
    workload.finish();
    assert_eq!(readers.join_all().await.len(), 100);
}

#[tokio::test]
async fn a_ring_of_one_page_in_a_storm_reports_every_loss_before_the_account() {
    needs!("open");
    // All of it is kept, so that no gap hides a message.
    let daemon = Daemon::start("policy: {replayBytes: 268435456, maxTraceBytes: 1073741824}").await;
    let mut workload = Workload::behind_gate(&["open-storm", "1", "1", "/dev/null"]);
    let tiny = v1::TraceSpec {
        ring_bytes: 1,
        ..spec("open", &workload)
    };
    started(&daemon, "a", tiny).await;
    let mut reader = Tally::follow(&daemon, "a").await;
    let rounds = workload.finish().number("rounds");
    let account = reader.read_all().await.unwrap().clone();
    println!("{rounds} opened, {} delivered", account.delivered);
    assert_eq!((reader.rows, reader.gaps), (account.delivered, 0));
    assert!(account.delivered > 0);
    assert!(!account.complete);
    // Skipped runs of programs are reported too, on kernels that skip them.
    assert!(account.produced <= rounds && account.produced + account.missed_runs >= rounds);
    let booked: BTreeMap<String, u64> = account
        .lost
        .iter()
        .filter(|stage| stage.events > 0)
        .map(|stage| (stage.name.clone(), stage.events))
        .collect();
    assert!(!booked.is_empty());
    assert_eq!(reader.lost, booked);
}
