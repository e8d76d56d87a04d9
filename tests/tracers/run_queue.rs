//! `run_queue` against what the kernel itself counts of a thread's waits.

use crate::conformance::{Entry, Expects, Identity, conforms};
use serde_json::Value;
use tests::{Outcome, Report, Trace, Workload, needs, sum};

/// The entry of the conformance suite: each sleep ends with a wait for a CPU. A process also waits where others preempt it.
const CONFORMANCE: Entry = Entry {
    identity: Identity::of_process("pid"),
    besides: 90,
    unit: 100,
    ..Entry::of("run_queue", "nanosleep 1 {}", Expects::Count(1))
};
conforms!(CONFORMANCE);

/// A workload traced from its gate to its end.
fn traced(options: &[&str], steps: &str) -> (Outcome, Report) {
    let mut workload = Workload::behind_gate(steps);
    let trace = Trace::of("run_queue").with(options).of_process(&workload);
    let trace = trace.start();
    let report = workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    (outcome, report)
}

fn total(numbers: &[Value]) -> u64 {
    numbers.iter().filter_map(Value::as_u64).sum()
}

#[test]
fn waits_are_those_that_the_kernel_counts() {
    needs!("run_queue");
    // Three threads share a CPU, so that two of them wait at any time.
    let (outcome, report) = traced(&[], "pin 0 , comm a_runner , threads 3 time-of burn 150");
    let rows = outcome.rows_where("comm", "a_runner");
    let waits = sum(&rows, "total_ns");
    let counted = total(&report.all("waited_ns"));
    assert!(counted > 150_000_000, "{counted}");
    // Threads also wait before and after their notes.
    assert!(
        waits >= counted - counted / 50 && waits <= counted + counted / 10 + 50_000_000,
        "{waits} of {counted}: {rows:?}"
    );
    for row in rows {
        let buckets: Vec<(u64, u64)> = serde_json::from_value(row["latency"].clone()).unwrap();
        let all: u64 = buckets.iter().map(|(_, n)| n).sum();
        assert_eq!(all, row["waits"].as_u64().unwrap(), "{row}");
        assert_eq!(row["cpu"], 0);
    }
}

#[test]
fn each_cpu_has_a_row_of_its_own() {
    needs!("run_queue");
    // Some test kernels have one CPU.
    let last = std::thread::available_parallelism().unwrap().get() - 1;
    let steps = format!("comm a_sleeper , pin 0 , nanosleep 1 40 , pin {last} , nanosleep 1 60");
    let (outcome, _) = traced(&["--per-cpu"], &steps);
    let wanted = match last {
        0 => vec![(0, 100)],
        _ => vec![(0, 40), (last, 60)],
    };
    for (cpu, least) in wanted {
        let rows = outcome.rows_where("comm", "a_sleeper");
        let rows: Vec<&Value> = rows.into_iter().filter(|row| row["cpu"] == cpu).collect();
        let waits = sum(&rows, "waits");
        assert!(waits >= least && waits < 2 * least, "{rows:?}");
    }
}
