//! `throttle` against cpu.stat of a cgroup with a quota.

use crate::conformance::{Entry, Expects, Identity, Limit, conforms};
use std::time::Duration;
use tests::{Cgroup, Trace, Workload, needs, sum};

/// The entry of the conformance suite.
const CONFORMANCE: Entry = Entry {
    // The row is the cgroup's that has the quota, whichever of its processes are selected.
    identity: Identity::NONE,
    limit: Some(Limit::CpuQuota {
        us: 50_000,
        period: 100_000,
    }),
    ..Entry::of(
        "throttle",
        "getppid {}",
        Expects::Gauge {
            column: "quota_ns",
            at_least: 1_000_000,
        },
    )
};
conforms!(CONFORMANCE);

#[test]
fn quota_and_throttled_periods_are_those_of_cpu_stat() {
    needs!("throttle");
    let group = Cgroup::with_cpu_quota(20_000, 100_000);
    let mut workload = Workload::behind_gate("burn 100 , until-eof");
    group.add(workload.pid());
    workload.go();
    // 100 ms at 20 ms in each 100 ms.
    std::thread::sleep(Duration::from_millis(700));
    let before = [group.cpu_stat("nr_periods"), group.cpu_stat("nr_throttled")];
    let trace = Trace::of("throttle").of_process(&workload);
    let outcome = trace.with(&["--duration", "300ms"]).run();
    let after = [group.cpu_stat("nr_periods"), group.cpu_stat("nr_throttled")];
    let throttled = group.throttled_ns();
    workload.end();
    outcome.complete();
    let rows: Vec<_> = outcome.rows.iter().collect();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(
        (
            rows[0]["quota_ns"].as_u64(),
            rows[0]["period_ns"].as_u64(),
            rows[0]["cgroup"].as_u64()
        ),
        (Some(20_000_000), Some(100_000_000), Some(group.id())),
        "{rows:?}"
    );
    for (column, [before, after]) in [
        ("periods", [before[0], after[0]]),
        ("used_up", [before[1], after[1]]),
    ] {
        assert!(
            (before..=after).contains(&sum(&rows, column)),
            "{column}, {before} to {after}: {rows:?}"
        );
    }
    assert!(after[1] >= 3, "{after:?}");
    // cpu.stat of version 2 has microseconds.
    assert!(
        sum(&rows, "throttled_ns").abs_diff(throttled) <= 1000,
        "{throttled}: {rows:?}"
    );
}

#[test]
fn a_process_without_a_quota_has_no_row() {
    needs!("throttle");
    let mut workload = Workload::behind_gate("until-eof");
    workload.go();
    let trace = Trace::of("throttle").of_process(&workload);
    let outcome = trace.with(&["--duration", "200ms"]).run();
    workload.end();
    outcome.complete();
    assert!(outcome.rows.is_empty(), "{:?}", outcome.rows);
}
