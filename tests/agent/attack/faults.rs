//! Faults of the kernel or the agent that end one trace: it reports the reason, leaves nothing, and all others continue. By `--inject` (engine/src/fault.rs).

use super::started;
use crate::{
    daemon::{Daemon, spec},
    reason, start,
    tally::{Tally, saw_all},
};
use proto::v1::{self, State};
use std::collections::BTreeSet;
use tests::{Workload, held_by, needs};
use tonic::Code;

/// Opens ten files each time its gate is opened, except the first time.
fn workload() -> Workload {
    let mut workload = Workload::behind_gate(&["open-per-byte", "10", "/dev/null"]);
    workload.go();
    workload
}

/// Kernel objects that it holds, when they are those again.
async fn holds_again(daemon: &Daemon, held: &BTreeSet<String>) {
    let same = async |daemon: &Daemon| held_by(daemon.pid()) == *held;
    daemon.until("what the failed trace held", same).await;
}

/// The second of three traces cannot be started.
async fn cannot_start(fault: &str, code: Code, word: &str, message: &str) {
    let daemon = Daemon::start_with("", &["--inject", &format!("{fault}@2")]).await;
    let mut workload = workload();
    started(&daemon, "one", spec("open", &workload)).await;
    let mut one = Tally::follow(&daemon, "one").await;
    let held = held_by(daemon.pid());
    let mut client = daemon.client().await;
    let refused = client
        .start_trace(start("two", 1, spec("open", &workload)))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (code, word),
        "{refused}"
    );
    assert!(refused.message().contains(message), "{refused}");
    assert!(refused.message().contains("open"), "{refused}");
    holds_again(&daemon, &held).await;
    assert_eq!(daemon.traces().await.len(), 1, "it is not there");
    // The same request, when nothing is wrong any more.
    started(&daemon, "two", spec("open", &workload)).await;
    let mut two = Tally::follow(&daemon, "two").await;
    workload.go();
    workload.end();
    for reader in [&mut one, &mut two] {
        let account = reader.read_all().await.unwrap();
        saw_all(account, 10);
    }
}

#[tokio::test]
async fn no_memory_for_maps_is_reported_as_such() {
    needs!("open");
    let message = "no memory for the maps";
    cannot_start(
        "map-enomem",
        Code::ResourceExhausted,
        "ResourceExhausted",
        message,
    )
    .await;
}

#[tokio::test]
async fn a_kernel_that_refuses_programs_is_reported_with_its_error() {
    needs!("open");
    let message = "Operation not permitted";
    cannot_start("load-eperm", Code::Internal, "KernelRefused", message).await;
}

#[tokio::test]
async fn a_verifier_that_refuses_a_program_is_reported_with_its_log() {
    needs!("open");
    let message = "log of the verifier:\nR1 invalid mem access 'scalar'";
    cannot_start("verifier", Code::Internal, "KernelRefused", message).await;
}

/// The second of two traces fails in the middle, with this in its status and at the end of its stream.
async fn fails_in_the_middle(fault: &str, word: &str, message: &str) {
    let daemon = Daemon::start_with("", &["--inject", &format!("{fault}@2")]).await;
    let mut workload = workload();
    started(&daemon, "one", spec("open", &workload)).await;
    let mut one = Tally::follow(&daemon, "one").await;
    let held = held_by(daemon.pid());
    started(&daemon, "two", spec("open", &workload)).await;
    let mut two = Tally::follow(&daemon, "two").await;
    let failed = two.read_all().await.unwrap_err();
    assert_eq!((failed.code(), &*reason(&failed)), (Code::Internal, word));
    assert!(failed.message().contains(message), "{failed}");
    let traces = daemon.traces().await;
    let status = traces.iter().find(|trace| trace.uid == "two").unwrap();
    assert_eq!((status.state(), &*status.reason), (State::Failed, word));
    assert_eq!(status.message, failed.message());
    holds_again(&daemon, &held).await;
    assert_eq!(traces.len(), 2);
    workload.go();
    workload.end();
    let account = one.read_all().await.unwrap();
    saw_all(account, 10);
}

#[tokio::test]
async fn a_trace_with_unreadable_counters_fails_alone() {
    needs!("open");
    fails_in_the_middle("read", "KernelRefused", "reading the counters failed").await;
}

#[tokio::test]
async fn a_trace_with_a_panic_of_its_reader_fails_alone() {
    needs!("open");
    fails_in_the_middle("panic", "Internal", "a bug").await;
}

#[tokio::test]
async fn attaching_that_fails_late_leaves_nothing_attached() {
    needs!("open");
    let daemon = Daemon::start_with("", &["--inject", "attach@1"]).await;
    let mut workload = workload();
    let refused = daemon.trace(spec("open", &workload)).await.err().unwrap();
    assert_eq!(reason(&refused), "KernelRefused");
    assert!(
        refused.message().contains("cannot be attached"),
        "{refused}"
    );
    holds_again(&daemon, &BTreeSet::new()).await;
    let mut events = daemon.trace(spec("open", &workload)).await.unwrap();
    workload.go();
    workload.end();
    events.read_all().await.unwrap();
    saw_all(events.account(), 10);
}

#[tokio::test]
async fn rows_that_do_not_decode_are_lost_and_counted() {
    needs!("open");
    let daemon = Daemon::start_with("", &["--inject", "drops@1"]).await;
    let mut workload =
        Workload::behind_gate(&["open-times", "100", "openat", "/dev/null", "0", "0"]);
    started(&daemon, "one", spec("open", &workload)).await;
    started(&daemon, "two", spec("open", &workload)).await;
    let mut one = Tally::follow(&daemon, "one").await;
    let mut two = Tally::follow(&daemon, "two").await;
    workload.finish();
    let account = one.read_all().await.unwrap().clone();
    assert!(!account.complete);
    assert_eq!(one.lost["malformed"], account.produced / 10);
    assert_eq!(account.delivered, account.produced - account.produced / 10);
    saw_all(two.read_all().await.unwrap(), 100);
}

#[tokio::test]
async fn a_slow_sink_loses_its_own_rows_and_counts_them() {
    needs!("open");
    // More than the queue before the sink and the ring hold: 64 updates of 1,024 rows, and one page.
    const FILES: u64 = 100_000;
    let daemon = Daemon::start_with(
        "policy: {replayBytes: 67108864}",
        &["--inject", "slow-sink@1"],
    )
    .await;
    let files = FILES.to_string();
    let mut workload =
        Workload::behind_gate(&["open-times", &files, "openat", "/dev/null", "0", "0"]);
    let small = v1::TraceSpec {
        ring_bytes: 1,
        ..spec("open", &workload)
    };
    started(&daemon, "slow", small).await;
    let mut slow = Tally::follow(&daemon, "slow").await;
    // Another trace of another target goes on as ever.
    let mut calm = Workload::behind_gate(&["open-times", "100", "openat", "/dev/null", "0", "0"]);
    started(&daemon, "calm", spec("open", &calm)).await;
    let mut other = Tally::follow(&daemon, "calm").await;
    workload.go();
    calm.finish();
    saw_all(other.read_all().await.unwrap(), 100);
    workload.end();
    let account = slow.read_all().await.unwrap().clone();
    assert!(
        account.produced + account.missed_runs >= FILES,
        "{account:?}"
    );
    let lost: u64 = slow.lost.values().sum();
    assert!(lost > 0);
    assert_eq!(account.delivered + lost, account.produced);
}
