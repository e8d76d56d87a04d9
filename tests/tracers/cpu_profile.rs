//! `cpu_profile` against functions of which the CPU time is known.

use crate::{
    conformance::{Entry, Expects, Identity, conforms},
    has_frame,
};
use serde_json::Value;
use tests::{Outcome, Report, Trace, Workload, needs, sum};

/// The entry of the conformance suite: a sample for each tick of 4 ms, CONFIG_HZ being 250. A virtual CPU that waits for a real one has no
/// ticks.
const CONFORMANCE: Entry = Entry {
    identity: Identity::of_process("pid"),
    options: &["--frequency", "1000"],
    besides: 40,
    missing_percent: 60,
    unit: 25,
    storm: 250,
    ..Entry::of("cpu_profile", "burn-ticks {}", Expects::Count(1))
};
conforms!(CONFORMANCE);

/// A workload traced from its gate to its end.
fn traced(options: &[&str], steps: &str) -> (Outcome, Report) {
    let mut workload = Workload::behind_gate(steps);
    let trace = Trace::of("cpu_profile").with(options).of_process(&workload);
    let trace = trace.start();
    let report = workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    (outcome, report)
}

/// Rows of a stack with this function.
fn rows_in<'a>(outcome: &'a Outcome, function: &str) -> Vec<&'a Value> {
    let rows = outcome.rows.iter();
    rows.filter(|row| has_frame(row, "user_stack", function))
        .collect()
}

/// Whether a count of samples is within three standard deviations of what a share of all of them would be.
fn within_three_sigma(count: u64, of: u64, share: f64) -> bool {
    let expected = of as f64 * share;
    let sigma = (of as f64 * share * (1.0 - share)).sqrt();
    (count as f64 - expected).abs() <= 3.0 * sigma.max(1.0)
}

#[test]
fn the_frequency_is_the_rate_of_samples() {
    needs!("cpu_profile");
    let mut workload = Workload::behind_gate("comm a_burner , burn 4000");
    // The last one samples every tick, of which there are 250 per second: a virtual CPU that waits for a real one has no ticks.
    let traces = ["19", "99", "199", "1000"].map(|frequency| {
        let trace = Trace::of("cpu_profile").with(&["--frequency", frequency]);
        (frequency, trace.of_process(&workload).start())
    });
    workload.finish();
    let samples = traces.map(|(frequency, trace)| {
        let outcome = trace.finish();
        outcome.complete();
        let samples = sum(&outcome.rows_where("comm", "a_burner"), "samples");
        (frequency.parse::<u64>().unwrap(), samples)
    });
    let (_, ticks) = samples[3];
    assert!((400..=1050).contains(&ticks), "{ticks} ticks");
    for (frequency, samples) in &samples[..3] {
        let expected = frequency * ticks / 250;
        // A thread that shares its CPU has it at the times of samples by chance.
        let by_chance = match ticks {
            950.. => 0,
            _ => 3 * expected.isqrt(),
        };
        assert!(
            samples.abs_diff(expected) <= by_chance.max(expected / 20 + 5),
            "{samples} samples at {frequency} Hz, expected {expected}"
        );
    }
}

#[test]
fn a_thread_that_sleeps_has_no_samples_and_modes_are_told_apart() {
    needs!("cpu_profile");
    let (outcome, _) = traced(
        &["--user-only"],
        "comm a_sleeper , nanosleep 500 2 , comm a_burner , burn 1000",
    );
    assert!(
        sum(&outcome.rows_where("comm", "a_sleeper"), "samples") <= 2,
        "{:?}",
        outcome.rows
    );
    let burnt = outcome.rows_where("comm", "a_burner");
    assert!(sum(&burnt, "samples") > 50, "{burnt:?}");
    for row in &outcome.rows {
        assert_eq!(row["kernel_stack"].as_array().unwrap().len(), 0, "{row}");
    }
    let (outcome, _) = traced(
        &["--kernel-only"],
        "comm a_caller , open-times 300000 openat /dev/null 0 0",
    );
    let called = outcome.rows_where("comm", "a_caller");
    assert!(sum(&called, "samples") > 5, "{:?}", outcome.rows);
    for row in called {
        let stack = row["kernel_stack"].as_array().unwrap();
        assert!(!stack.is_empty(), "{row}");
        let of_interrupt = |frame: &Value| {
            let name = frame["name"].as_str().unwrap_or_default();
            name.contains("hrtimer_interrupt") || name.contains("apic_timer_interrupt")
        };
        assert!(!stack.iter().any(of_interrupt), "{row}");
    }
}

/// Names of functions, which the test kernels have not.
mod here {
    use super::*;

    #[test]
    fn functions_have_their_shares_and_all_samples_are_the_cpu_time() {
        needs!("cpu_profile");
        let (outcome, report) = traced(&[], "comm a_burner , burn-unevenly 4000");
        let all = outcome.rows_where("comm", "a_burner");
        let (samples, time) = (sum(&all, "samples"), sum(&all, "cpu_ns"));
        let (more, less) = (report.number("more_ns"), report.number("less_ns"));
        let share = more as f64 / (more + less) as f64;
        let of_more = sum(&rows_in(&outcome, "burn_more"), "samples");
        let of_less = sum(&rows_in(&outcome, "burn_less"), "samples");
        assert!(
            of_more + of_less >= samples - samples / 20,
            "{:?}",
            outcome.rows
        );
        assert!(
            within_three_sigma(of_more, of_more + of_less, share),
            "{of_more} and {of_less}, expected a share of {share}"
        );
        // What the thread did before and after that is less than a period of 10.1 ms.
        let burnt = report.number("cpu_ns");
        assert!(
            time.abs_diff(burnt) <= burnt / 100 + 10_100_000,
            "samples of {time} ns, {burnt} ns burnt"
        );
    }
}
