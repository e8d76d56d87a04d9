//! `cpu_profile` against functions of which the CPU time is known.

use crate::{
    conformance::{Entry, Expects, Identity, conforms},
    has_frame,
};
use serde_json::Value;
use tests::{Outcome, Report, Trace, Workload, needs, needs_names, sum};

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
    assert!((400..=1200).contains(&ticks), "{ticks} ticks");
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
            name.contains("hrtimer_interrupt") || name.contains("update_process_times")
        };
        assert!(!stack.iter().any(of_interrupt), "{row}");
    }
}

#[test]
fn copied_stacks_are_unwound_on_every_kernel() {
    needs!("cpu_profile");
    // The tables are read from the files of the process.
    needs_names!();
    let (outcome, _) = traced(&["--unwind", "copy"], "comm a_burner , burn 2000");
    let burnt = outcome.rows_where("comm", "a_burner");
    let (samples, frames) = (sum(&burnt, "samples"), frames(&burnt));
    assert!(samples > 20, "{:?}", outcome.rows);
    assert!(frames >= 4 * samples, "{frames} frames of {samples} stacks");
    let missing = outcome.account().stacks_not_unwound();
    // An emulated processor takes seconds to read the tables, and stacks do not wait for them.
    let emulated = tests::in_vm();
    assert!(
        missing * if emulated { 2 } else { 50 } <= samples,
        "{missing} of {samples} not unwound"
    );
}

/// Number of frames of the user stacks of all samples.
fn frames(rows: &[&Value]) -> u64 {
    let of = |row: &&Value| {
        let frames = row["user_stack"].as_array().unwrap().len() as u64;
        frames * row["samples"].as_u64().unwrap()
    };
    rows.iter().map(of).sum()
}

/// Names of functions, which the test kernels have not.
mod here {
    use super::*;
    use std::{fs, path::PathBuf, process::Command};

    /// A program whose functions have no frame pointers: two threads at the end of a chain of calls.
    const UNFRAMED: &str = "
        #include <pthread.h>
        #include <time.h>
        static volatile double sum;
        static double seconds(void) {
            struct timespec now;
            clock_gettime(CLOCK_MONOTONIC, &now);
            return now.tv_sec + now.tv_nsec / 1e9;
        }
        __attribute__((noinline)) int burn(double until) {
            char work[256];
            int turns = 0;
            while (seconds() < until)
                for (int i = 0; i < 20000; i++) { work[i % 256] = (char)i; sum += work[i % 251] * 1.5; turns++; }
            return turns;
        }
        __attribute__((noinline)) int inner(double until) { return burn(until) + 1; }
        __attribute__((noinline)) int middle(double until, int depth) {
            volatile char room[512];
            room[depth % 512] = (char)depth;
            return depth ? middle(until, depth - 1) + room[depth % 512] : inner(until) + 2;
        }
        static void *thread(void *until) { return (void *)(long)middle(*(double *)until, DEPTH); }
        int main(void) {
            pthread_t other;
            double until = seconds() + 1.5;
            pthread_create(&other, 0, thread, &until);
            int turns = middle(until, DEPTH);
            pthread_join(other, 0);
            return turns == 1;
        }";

    /// The program, compiled with calls of this depth.
    fn unframed(depth: u32) -> PathBuf {
        let path = tests::folder().join(format!("unframed{depth}"));
        let source = path.with_extension("c");
        fs::write(&source, UNFRAMED).unwrap();
        let compiled = Command::new("cc")
            .args([
                "-O2",
                "-fomit-frame-pointer",
                "-fno-optimize-sibling-calls",
                "-pthread",
            ])
            .arg(format!("-DDEPTH={depth}"))
            .arg("-o")
            .args([&path, &source])
            .status();
        assert!(compiled.unwrap().success());
        path
    }

    /// A traced command.
    fn command(options: &[&str], command: &[&str]) -> Outcome {
        let command = command.iter().map(Into::into).collect();
        let trace = Trace::of("cpu_profile").with(options);
        let outcome = trace.command(command).run();
        outcome.complete();
        outcome
    }

    /// Samples with a user stack, and those of them whose outermost frame is the start of a program or thread.
    fn starts(outcome: &Outcome, comm: &str) -> (u64, u64) {
        let rows = outcome.rows_where("comm", comm);
        let stacks = rows.into_iter().filter_map(|row| {
            let outermost = row["user_stack"].as_array().unwrap().last()?;
            let name = outermost["name"].as_str().unwrap_or_default();
            let starts = ["_start", "__libc_start", "clone", "start_thread"];
            let is_start = starts.iter().any(|start| name.contains(start));
            Some((row["samples"].as_u64().unwrap(), is_start))
        });
        stacks.fold((0, 0), |(all, whole), (samples, is_start)| {
            (all + samples, whole + samples * u64::from(is_start))
        })
    }

    fn nearly_all_reach_the_start(outcome: &Outcome, comm: &str) {
        let (all, whole) = starts(outcome, comm);
        assert!(all > 20, "{:?}", outcome.rows);
        assert!(
            whole * 100 >= all * 98,
            "{whole} of {all}: {:#?}",
            outcome.rows
        );
        let missing = outcome.account().stacks_not_unwound();
        assert!(missing * 50 <= all, "{missing} of {all} not unwound");
    }

    #[test]
    fn stacks_of_a_program_without_frame_pointers_reach_its_start_by_copies() {
        needs!("cpu_profile");
        let program = unframed(3);
        let program = program.to_str().unwrap();
        let by_frame_pointers = command(&["--unwind", "fp"], &[program]);
        let (all, whole) = starts(&by_frame_pointers, "unframed3");
        assert!(all > 20 && whole * 2 < all, "{whole} of {all}");
        let rows = by_frame_pointers.rows_where("comm", "unframed3");
        assert!(frames(&rows) < 4 * all, "{rows:#?}");
        assert_eq!(by_frame_pointers.account().stacks_not_unwound(), 0);
        for unwind in ["auto", "copy"] {
            let outcome = command(&["--unwind", unwind], &[program]);
            nearly_all_reach_the_start(&outcome, "unframed3");
            for (caller, name) in [("main", "the process"), ("thread", "the thread")] {
                let has = |row: &&&Value| {
                    let names = ["burn", "inner", "middle", caller];
                    names.iter().all(|name| has_frame(row, "user_stack", name))
                };
                let rows = outcome.rows_where("comm", "unframed3");
                let rows: Vec<&Value> = rows.iter().filter(has).copied().collect();
                assert!(sum(&rows, "samples") > 4, "{name}: {:#?}", outcome.rows);
            }
        }
    }

    #[test]
    fn stacks_of_an_interpreter_reach_its_start_without_an_option() {
        needs!("cpu_profile");
        let busy = "
import time
def recurse(n):
    return recurse(n - 1) + 1 if n else sum(sorted(range(2000), key=lambda x: -x))
until = time.monotonic() + 1.5
while time.monotonic() < until:
    recurse(10)
";
        let outcome = command(&[], &["/usr/bin/python3", "-c", busy]);
        nearly_all_reach_the_start(&outcome, "python3");
    }

    #[test]
    fn a_stack_that_is_deeper_than_its_copy_is_marked_and_counted() {
        needs!("cpu_profile");
        let program = unframed(100);
        let program = program.to_str().unwrap();
        let deep = ["--unwind", "copy", "--stack-copy"];
        let outcome = command(&[deep.as_slice(), &["8KiB"]].concat(), &[program]);
        let rows = outcome.rows_where("comm", "unframed100");
        let cut = |row: &&&Value| {
            has_frame(row, "user_stack", "burn")
                && has_frame(row, "user_stack", "[deeper than recorded]")
        };
        let cut: Vec<&Value> = rows.iter().filter(cut).copied().collect();
        let (cut, all) = (sum(&cut, "samples"), sum(&rows, "samples"));
        assert!(cut * 10 >= all * 9, "{cut} of {all}");
        assert!(outcome.account().stacks_truncated() >= cut);
        let outcome = command(&[deep.as_slice(), &["64KiB"]].concat(), &[program]);
        nearly_all_reach_the_start(&outcome, "unframed100");
    }

    #[test]
    fn copies_that_do_not_fit_in_the_ring_are_counted_and_their_samples_are_not_lost() {
        needs!("cpu_profile");
        let program = unframed(3);
        let options = [
            "--unwind",
            "copy",
            "--stack-copy",
            "64KiB",
            "--ring",
            "64KiB",
        ];
        let outcome = command(&options, &[program.to_str().unwrap()]);
        let samples = sum(&outcome.rows_where("comm", "unframed3"), "samples");
        assert!(samples > 20, "{:?}", outcome.rows);
        assert!(outcome.account().stacks_not_unwound() >= samples);
    }

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
