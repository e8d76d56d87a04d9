//! What a trace may take: of the ring, of the CPU, of memory.

use crate::{
    daemon::{Daemon, process, spec},
    reason,
};
use proto::v1;
use tests::{Cgroup, Workload, needs, skips_runs};
use tonic_types::StatusExt;

fn cgroup(group: &Cgroup, pod: &str) -> v1::Target {
    let path = group.path().display().to_string();
    v1::Target {
        target: Some(v1::target::Target::Cgroup(path)),
        labels: Some(v1::Labels {
            pod: pod.to_owned(),
            ..v1::Labels::default()
        }),
        ..v1::Target::default()
    }
}

fn lost(account: &v1::Account, stage: &str) -> u64 {
    let stages = account.lost.iter();
    stages
        .filter(|lost| lost.name == stage)
        .map(|lost| lost.events)
        .sum()
}

#[tokio::test]
async fn a_cgroup_that_floods_the_ring_costs_another_nothing_of_its_quota() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let (floods, modest) = (Cgroup::new(), Cgroup::new());
    let opens = |times| ["open-times", times, "openat", "/dev/null", "0", "0"];
    // More than half of the ring, from where on quotas hold, and less than all of it: a slow flood, of little more than 1,000 a
    // second, would fill it within its quota.
    let mut flood = Workload::behind_gate(&opens("5000"));
    // Fewer than a cgroup may save up: a tenth of a second of 1,000 a second.
    let mut few = Workload::behind_gate(&opens("90"));
    floods.add(flood.pid());
    modest.add(few.pid());
    let spec = v1::TraceSpec {
        targets: vec![cgroup(&floods, "floods"), cgroup(&modest, "modest")],
        ring_bytes: 1 << 20,
        ..spec("open", &flood)
    };
    let mut events = daemon.trace(spec).await.unwrap();
    daemon
        .while_it_stands_still(|| {
            flood.finish();
            few.finish();
        })
        .await;
    events.stop().await;
    events.read_all().await.unwrap();
    let rows = |pod: &str| -> usize {
        let batches = events.batches.iter();
        batches
            .map(|batch| {
                events
                    .texts(batch, "pod")
                    .filter(|text| *text == pod.as_bytes())
                    .count()
            })
            .sum()
    };
    let account = events.account();
    // Exactly all, but for the runs that a kernel since Linux 7.0 skipped.
    assert!(account.missed_runs == 0 || skips_runs(), "{account:?}");
    let seen = account.produced..=account.produced + account.missed_runs;
    assert!(seen.contains(&5090), "{account:?}");
    let (modest, floods) = (rows("modest") as u64, rows("floods") as u64);
    assert!(
        modest <= 90 && modest + account.missed_runs >= 90,
        "{modest}"
    );
    // Whatever is missing of the rest is the flood's own.
    assert_eq!(lost(account, "ring_full"), 0);
    assert_eq!(
        lost(account, "over_quota"),
        account.produced - modest - floods
    );
    assert!(lost(account, "over_quota") > 0);
}

#[tokio::test]
async fn a_single_target_has_the_whole_ring() {
    needs!("open");
    let with_ring = tests::Trace::of("open").with(&["--ring", "256KiB"]);
    let mut workload =
        Workload::behind_gate(&["open-times", "20000", "openat", "/dev/null", "0", "0"]);
    let trace = with_ring.of_process(&workload).start();
    trace.while_stopped(|| workload.finish());
    let outcome = trace.finish();
    let account = outcome.account();
    assert_eq!(account.lost.over_quota, 0);
    assert!(account.lost.ring_full > 0, "{account:?}");
}

/// Waits until the only trace has left out this number of events, or has ended because it left out too many.
async fn until_left_out(daemon: &Daemon, events: u64) {
    let left_out = async |daemon: &Daemon| {
        let traces = daemon.traces().await;
        let account = traces[0].account.clone().unwrap_or_default();
        account.sampled >= events || traces[0].state() == v1::State::Ended
    };
    daemon.until("events to be left out", left_out).await;
}

#[tokio::test]
async fn a_trace_beyond_its_budget_of_events_keeps_a_part_and_counts_the_rest() {
    needs!("syscall_count");
    let daemon = Daemon::start("").await;
    let mut workload = Workload::behind_gate(&["storm", "until-byte", "1"]);
    let spec = v1::TraceSpec {
        budget: Some(v1::Budget {
            events_per_second: 2000,
            ..v1::Budget::default()
        }),
        ..spec("syscall_count", &workload)
    };
    let mut events = daemon.trace(spec).await.unwrap();
    workload.go();
    until_left_out(&daemon, 50_000).await;
    workload.finish();
    events.read_all().await.unwrap();
    let account = events.account();
    assert!(account.sampled > 0, "{account:?}");
    assert!(!account.complete);
    // Counts make up for what was left out: what is between two that are kept is at most what one stands for.
    let table = events.batches.last().unwrap();
    let total: u64 = (0..table.rows as usize)
        .map(|row| events.number(table, "count", row))
        .sum();
    let (truth, off) = (account.produced, total.abs_diff(account.produced));
    assert!(off * 20 < truth, "{total} of {truth}: {account:?}");
}

#[tokio::test]
async fn rows_that_are_left_out_are_counted_to_the_last() {
    needs!("open");
    let daemon = Daemon::start("").await;
    let mut workload = Workload::behind_gate(&["open-storm", "until-byte", "1", "/dev/null"]);
    let spec = v1::TraceSpec {
        budget: Some(v1::Budget {
            events_per_second: 1000,
            ..v1::Budget::default()
        }),
        ..spec("open", &workload)
    };
    let mut events = daemon.trace(spec).await.unwrap();
    workload.go();
    until_left_out(&daemon, 1000).await;
    workload.finish();
    events.read_all().await.unwrap();
    let rows: u64 = events
        .batches
        .iter()
        .map(|batch| u64::from(batch.rows))
        .sum();
    let account = events.account();
    assert!(account.sampled > 0, "{account:?}");
    // A slow reader receives the number of missing rows.
    let gaps: u64 = events.gaps.iter().map(|gap| gap.rows.unwrap()).sum();
    assert_eq!(rows + gaps, account.delivered);
}

#[tokio::test]
async fn a_table_beside_events_counts_those_that_their_budget_leaves_out() {
    needs!("tcp_drop");
    let daemon = Daemon::start("").await;
    let times = u64::MAX.to_string();
    let mut workload = Workload::behind_gate(&["connect-times", &times, "127.0.0.1:9"]);
    let spec = v1::TraceSpec {
        budget: Some(v1::Budget {
            events_per_second: 500,
            ..v1::Budget::default()
        }),
        ..spec("tcp_drop", &workload)
    };
    let mut events = daemon.trace(spec).await.unwrap();
    workload.go();
    until_left_out(&daemon, 1000).await;
    workload.kill();
    events.read_all().await.unwrap();
    let account = events.account();
    assert!(account.sampled > 0, "{account:?}");
    // Each drop is an event of both datasets, and only rows were left out.
    assert_eq!(
        2 * events.counted_further(),
        account.produced,
        "{account:?}"
    );
}

#[tokio::test]
async fn a_trace_uses_at_most_the_memory_that_is_computed_before_it_is_loaded() {
    for tracer in &tests::tracers() {
        let daemon = Daemon::start("").await;
        let mut workload = Workload::behind_gate(&["getppid", "1"]);
        let with = |memory_bytes| v1::TraceSpec {
            budget: Some(v1::Budget {
                memory_bytes,
                ..v1::Budget::default()
            }),
            targets: vec![process(workload.pid())],
            ..spec(tracer, &workload)
        };
        let refused = daemon.trace(with(1)).await.err().unwrap();
        assert_eq!(reason(&refused), "ResourceExhausted");
        assert!(refused.get_details_quota_failure().is_some());
        let words = refused.message().split(' ');
        let known: u64 = words.filter_map(|word| word.parse().ok()).next().unwrap();
        let mut events = match daemon.trace(with(known)).await {
            Ok(events) => events,
            // A reader of symbols has a second to open a file and a few of CPU time.
            Err(refused) if refused.message().contains("too much for its reader") => {
                println!(
                    "SKIPPED bounds::a_trace_uses_at_most_the_memory_that_is_computed_before_it_is_loaded: {tracer}: this machine is too busy to find functions in time"
                );
                continue;
            }
            Err(refused) => panic!("{tracer}: {refused}"),
        };
        workload.finish();
        events.read_all().await.unwrap();
        let taken = events.account().cost.unwrap().kernel_bytes;
        assert!(taken <= known, "{tracer}: {taken} of {known}");
        // Of its own it has its queue of 8 MiB, its table, and the names of stacks; kernels before 6.4 count a map's entries only.
        let schema = events.schema();
        let stacks = schema.columns.iter().any(|of| of.kind() == v1::Kind::Stack);
        let table = match (schema.table, stacks) {
            (true, true) => 64 << 20,
            (true, false) => 8 << 20,
            (false, true) => 80 << 20,
            (false, false) => 0,
        };
        assert!(
            known <= 2 * taken + (16 << 20) + table,
            "{tracer}: {taken} of {known}"
        );
    }
}

#[tokio::test]
async fn all_traces_together_take_no_more_memory_than_the_node_allows() {
    needs!("open");
    let daemon = Daemon::start("policy: {maxNodeBytes: 60000000}").await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let mut client = daemon.client().await;
    let mut outcomes = Vec::new();
    for uid in ["a", "b", "c"] {
        let started = client
            .start_trace(crate::start(uid, 1, spec("open", &workload)))
            .await;
        outcomes.push(started);
    }
    let refused = outcomes.pop().unwrap().unwrap_err();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(reason(&refused), "ResourceExhausted");
    assert!(
        refused.message().contains("policy.maxNodeBytes"),
        "{refused}"
    );
}
