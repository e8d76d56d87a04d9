//! `cpu_distribution` against a workload whose runs and sleeps are known.

use crate::conformance::{Entry, Expects, Identity, conforms};
use serde_json::Value;
use tests::{Trace, Workload, needs, sum};

/// The entry of the conformance suite: each sleep is a stretch off the CPU, and a run before it.
const CONFORMANCE: Entry = Entry {
    identity: Identity::of_process("pid"),
    besides: 180,
    unit: 100,
    ..Entry::of("cpu_distribution", "nanosleep 1 {}", Expects::Count(2))
};
conforms!(CONFORMANCE);

#[test]
fn runs_and_sleeps_are_counted_with_their_durations() {
    needs!("cpu_distribution");
    let mut workload =
        Workload::behind_gate("comm a_sleeper , time-of nanosleep 20 30 , time-of burn 100");
    let trace = Trace::of("cpu_distribution").of_process(&workload).start();
    let report = workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    let rows = outcome.rows_where("comm", "a_sleeper");
    let [row] = rows[..] else {
        panic!("{rows:?}");
    };
    let number = |key: &str| row[key].as_u64().unwrap();
    let all = |key: &str| {
        report
            .all(key)
            .iter()
            .filter_map(Value::as_u64)
            .sum::<u64>()
    };
    let (on, off) = (number("on_cpu_ns"), number("off_cpu_ns"));
    let (cpu, wall) = (all("cpu_ns"), all("wall_ns"));
    // The notes themselves and the wait for the gate take some time, which is long where the processor is emulated.
    const AROUND: u64 = 100_000_000;
    assert!(
        on >= cpu - cpu / 10 && on < cpu + AROUND,
        "{on} on the CPU, of {cpu}"
    );
    assert!(
        (on + off).abs_diff(wall) <= wall / 50 + AROUND,
        "{on} and {off} of {wall}"
    );
    let long = |key: &str, from: u64| -> u64 {
        let buckets: Vec<(u64, u64)> = serde_json::from_value(row[key].clone()).unwrap();
        buckets
            .iter()
            .filter(|(at, _)| *at >= from)
            .map(|(_, n)| n)
            .sum()
    };
    // Buckets are powers of two: one of 20 ms begins at 16.7 ms.
    // On a busy machine the thread may also be off the CPU for as long because others run.
    let slept = long("off_cpu", 16_000_000);
    assert!((30..=35).contains(&slept), "{row}");
    assert_eq!(
        sum(&rows, "stretches"),
        long("on_cpu", 0) + long("off_cpu", 0)
    );
}
