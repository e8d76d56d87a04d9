//! Rows that come one by one: each is a message, which takes many times what its values do.

use super::started;
use crate::{
    daemon::{Daemon, process},
    tally::Tally,
};
use proto::v1;
use tests::{Workload, needs, resident};

/// Traces at a time, of one namespace, which may have half of all places.
const TRACES: usize = 20;
/// What the agent keeps of each, bytes.
const REPLAY: i64 = 1 << 20;
/// What the agent may take besides, KiB: what threads and the allocator keep.
const SLACK: i64 = 12 << 10;
/// Seconds of the workload, and rows of a second: the agent reads a ring each 10 ms. Together they are three times what is kept.
const SECONDS: u64 = 13;
const RATE: u64 = 95;

#[tokio::test]
async fn twenty_traces_that_trickle_take_no_more_than_is_kept_of_each() {
    needs!("open");
    let daemon = Daemon::start(&format!("policy: {{replayBytes: {REPLAY}, maxTraces: 40}}")).await;
    let (seconds, rate) = (SECONDS.to_string(), RATE.to_string());
    let mut workload = Workload::behind_gate(&["open-paced", &seconds, &rate, "/dev/null"]);
    let named = |name: &str| name.to_owned();
    let spec = v1::TraceSpec {
        tracer: named("open"),
        targets: vec![v1::Target {
            labels: Some(v1::Labels {
                node: named("node-1"),
                namespace: named("shop"),
                pod: named("web-7d4b9c6f5-x2x9q"),
                container: named("app"),
            }),
            ..process(workload.pid())
        }],
        ..v1::TraceSpec::default()
    };
    let uids: Vec<String> = (0..TRACES).map(|number| format!("t{number}")).collect();
    for uid in &uids {
        started(&daemon, uid, spec.clone()).await;
    }
    let before = resident(daemon.pid()).unwrap();
    let mut reader = Tally::follow(&daemon, &uids[0]).await;
    workload.go();
    let rows = SECONDS * RATE;
    reader.until_rows(rows / 2).await;
    let half = resident(daemon.pid()).unwrap();
    reader.until_rows(rows - rows / 10).await;
    let after = resident(daemon.pid()).unwrap();
    println!(
        "from {before} KiB to {half} and {after}: {} KiB a trace",
        (after - before) / TRACES as i64
    );
    assert!(
        after - before <= TRACES as i64 * REPLAY / 1024 + SLACK,
        "from {before} to {after} KiB"
    );
    workload.end();
    reader.read_all().await.unwrap();
    assert_eq!(reader.gaps, 0);
    let mut late = daemon.events(crate::events(&uids[1], 1)).await.unwrap();
    late.read_all().await.unwrap();
    assert_eq!(
        late.gaps.len(),
        1,
        "a log that is full has forgotten something"
    );
}
