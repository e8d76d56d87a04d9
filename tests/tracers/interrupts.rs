//! `interrupts` against the kernel's counts of soft interrupts.

use crate::conformance::{Entry, Expects, Identity, conforms};
use std::fs;
use tests::{Trace, Workload, needs, sum};

/// The entry of the conformance suite: a datagram over loopback is received in a soft interrupt of its sender.
const CONFORMANCE: Entry = Entry {
    identity: Identity::NONE,
    only: &[("name", "NET_RX")],
    // Those of other senders interrupt the process too.
    besides: 40,
    unit: 100,
    // Where many are pending, the kernel lets a thread of its own have them.
    missing_percent: 20,
    ..Entry::of("interrupts", "send-to-itself {}", Expects::Count(1))
};
conforms!(CONFORMANCE);

/// The number of soft interrupts of a name on CPU 0: /proc/softirqs.
fn softirqs(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/softirqs").unwrap();
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with(&format!("{name}:")));
    line.unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn soft_interrupts_of_a_process_that_keeps_a_cpu_are_those_that_the_kernel_counts() {
    needs!("interrupts");
    let mut workload = Workload::behind_gate_after("pin 0", "time-of burn 1000");
    let trace = Trace::of("interrupts")
        .with(&["--per-cpu"])
        .of_process(&workload)
        .start();
    let before = ["TIMER", "SCHED", "RCU"].map(softirqs);
    let report = workload.finish();
    let after = ["TIMER", "SCHED", "RCU"].map(softirqs);
    let outcome = trace.finish();
    outcome.complete();
    // What runs beside the workload has the rest of the CPU's interrupts.
    let wall = report.number("wall_ns") as f64;
    let share = report.number("cpu_ns") as f64 / wall;
    let (mut seen, mut counted, mut time) = (0, 0, 0);
    for (at, name) in ["TIMER", "SCHED", "RCU"].into_iter().enumerate() {
        let rows = outcome.rows_where("name", name);
        let (count, most) = (sum(&rows, "count"), after[at] - before[at]);
        // Some of before its gate and of after its end are the process's too.
        assert!(count <= most + 20, "{name}: {count} of {most}: {rows:?}");
        for row in &rows {
            assert_eq!(
                (row["soft"].as_bool(), row["cpu"].as_u64()),
                (Some(true), Some(0)),
                "{row}"
            );
        }
        seen += count;
        counted += most;
        time += sum(&rows, "total_ns");
    }
    // Interrupts are not spread evenly where others have most of the CPU.
    assert!(
        seen as f64 >= counted as f64 * share * 0.25,
        "{seen} of {counted}, {share} of the CPU: {:?}",
        outcome.rows
    );
    assert!(time > 0 && (time as f64) < wall / 4.0, "{time} of {wall}");
}
