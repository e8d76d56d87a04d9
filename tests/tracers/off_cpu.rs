//! `off_cpu` against a workload whose waits are known.

use crate::{
    conformance::{Entry, Expects, Identity, conforms},
    has_frame,
};
use serde_json::Value;
use tests::{Outcome, Report, Trace, Workload, needs, needs_names, sum};

/// The entry of the conformance suite. A process also waits for its gate and for pages of its file.
const CONFORMANCE: Entry = Entry {
    identity: Identity::of_process("pid"),
    only: &[("state", "sleeping")],
    besides: 15,
    unit: 20,
    // A thread that gets no CPU until the time is over does not sleep.
    missing_percent: 5,
    ..Entry::of("off_cpu", "nanosleep 1 {}", Expects::Count(1))
};
conforms!(CONFORMANCE);

/// A workload traced from its gate to its end.
fn traced(options: &[&str], steps: &str) -> (Outcome, Report) {
    let mut workload = Workload::behind_gate(steps);
    let trace = Trace::of("off_cpu").with(options).of_process(&workload);
    let trace = trace.start();
    let report = workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    (outcome, report)
}

/// Rows of a thread of this name.
fn of<'a>(outcome: &'a Outcome, comm: &str) -> Vec<&'a Value> {
    outcome.rows_where("comm", comm)
}

fn total(numbers: &[Value]) -> u64 {
    numbers.iter().filter_map(Value::as_u64).sum()
}

#[test]
fn waits_and_cpu_time_add_up_to_the_time_that_passes() {
    needs!("off_cpu");
    let steps =
        "comm a_waiter , time-of nanosleep 10 30 , time-of burn 200 , time-of nanosleep 1 200";
    let (outcome, report) = traced(&[], steps);
    let waits = sum(&of(&outcome, "a_waiter"), "total_ns");
    let (wall, cpu) = (total(&report.all("wall_ns")), total(&report.all("cpu_ns")));
    // The notes themselves take some time, which is long where the processor is emulated, and the last wait may lie behind them.
    let away = (waits + cpu).abs_diff(wall);
    // So do the programs at each switch, between the kernel's clock and ours.
    let emulated = tests::in_vm();
    let allowed = wall / if emulated { 20 } else { 100 };
    assert!(
        away <= allowed + 15_000_000,
        "waits {waits} and CPU time {cpu} are not {wall}: {:?}",
        outcome.rows
    );
}

#[test]
fn options_leave_out_short_waits_and_preemptions() {
    needs!("off_cpu");
    let steps = "comm a_sleeper , nanosleep 1 50 , nanosleep 30 4 , burn 100";
    let (outcome, _) = traced(&["--min-wait", "25ms", "--blocked-only"], steps);
    let rows = of(&outcome, "a_sleeper");
    let waits = sum(&rows, "waits");
    // A wait for the CPU may lengthen a short sleep.
    assert!((4..10).contains(&waits), "{rows:?}");
    for row in rows {
        assert_ne!(row["state"], "running");
        assert!(row["max_ns"].as_u64().unwrap() >= 25_000_000, "{row}");
    }
}

#[test]
fn with_cpu_time_the_rows_are_the_whole_time() {
    needs!("off_cpu");
    // The tick needs more of the kernel.
    needs!("cpu_profile");
    let steps = "comm a_waiter , time-of nanosleep 10 20 , time-of burn 400";
    let (outcome, report) = traced(&["--with-cpu"], steps);
    let rows = of(&outcome, "a_waiter");
    let on_cpu = rows.iter().filter(|row| row["reason"] == "on_cpu");
    let on_cpu: Vec<&Value> = on_cpu.copied().collect();
    let (all, on_cpu) = (sum(&rows, "total_ns"), sum(&on_cpu, "total_ns"));
    let (wall, cpu) = (total(&report.all("wall_ns")), total(&report.all("cpu_ns")));
    // A sample stands for the time since the one before; the time after the last one is missing.
    assert!(
        on_cpu.abs_diff(cpu) <= cpu / 20 + 20_000_000,
        "{on_cpu} of {cpu}: {rows:?}"
    );
    assert!(
        all.abs_diff(wall) <= wall / 20 + 40_000_000,
        "{all} of {wall}: {rows:?}"
    );
}

#[test]
fn a_condition_selects_waits_by_their_reason() {
    needs!("off_cpu");
    let steps = "comm a_waiter , nanosleep 20 5 , futex-waits 20 10 , burn 50";
    let (outcome, _) = traced(&["--where", "reason == lock"], steps);
    let rows = of(&outcome, "a_waiter");
    // A thread that gets its CPU back after the timeout only does not sleep.
    let waits = sum(&rows, "waits");
    assert!((8..=10).contains(&waits), "{rows:?}");
    for row in rows {
        assert_eq!(row["reason"], "lock");
    }
    assert!(outcome.account().filtered >= 5, "{}", outcome.account().raw);
}

/// Names of functions, which the test kernels have not.
mod here {
    use super::*;

    #[test]
    fn a_stack_has_the_weight_of_its_time() {
        needs!("off_cpu");
        let path = std::env::temp_dir().join(format!("off-cpu-{}", std::process::id()));
        let folded = format!("folded={}", path.display());
        let (outcome, _) = traced(&["-o", &folded], "comm a_sleeper , nanosleep 20 5");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let weights = text.lines().map(|line| line.rsplit_once(' ').unwrap().1);
        let weights: u64 = weights.map(|weight| weight.parse::<u64>().unwrap()).sum();
        let all: Vec<&Value> = outcome.rows.iter().collect();
        assert_eq!(weights, sum(&all, "total_ns"), "{text}");
    }

    #[test]
    fn a_sleep_is_a_wait_of_its_stack() {
        needs!("off_cpu");
        needs_names!();
        let (outcome, _) = traced(&[], "comm a_sleeper , nanosleep 20 25");
        let rows = of(&outcome, "a_sleeper");
        let is_sleep = |row: &&&Value| {
            row["state"] == "sleeping" && has_frame(row, "kernel_stack", "nanosleep")
        };
        let sleeps: Vec<&Value> = rows.iter().filter(is_sleep).copied().collect();
        assert_eq!(sum(&sleeps, "waits"), 25, "{rows:?}");
        let slept = sum(&sleeps, "total_ns");
        assert!((500_000_000..750_000_000).contains(&slept), "{slept}");
        for row in sleeps {
            assert!(has_frame(row, "user_stack", "nanosleep"), "{row}");
        }
    }

    /// Waits of a python3 that sleeps below several calls of its own, and those whose user stack ends at the start of the program.
    fn of_python(options: &[&str]) -> (Outcome, u64, u64) {
        let program = "
import time
def nap(n):
    return nap(n - 1) if n else time.sleep(0.01)
for _ in range(50):
    nap(10)
";
        let command = ["/usr/bin/python3", "-c", program].map(Into::into);
        let trace = Trace::of("off_cpu").with(options);
        let outcome = trace.command(command.to_vec()).run();
        outcome.complete();
        let (mut all, mut whole) = (0, 0);
        for row in of(&outcome, "python3") {
            if row["state"] != "sleeping" || !has_frame(row, "kernel_stack", "nanosleep") {
                continue;
            }
            let waits = row["waits"].as_u64().unwrap();
            let outermost = row["user_stack"].as_array().unwrap().last();
            let name = outermost.and_then(|frame| frame["name"].as_str());
            let is_start = name.is_some_and(|name| name.contains("_start"));
            all += waits;
            whole += waits * u64::from(is_start);
        }
        assert_eq!(all, 50, "{:?}", outcome.rows);
        (outcome, all, whole)
    }

    #[test]
    fn waits_of_a_program_without_frame_pointers_have_stacks_up_to_its_start() {
        needs!("off_cpu");
        needs_names!();
        let (_, all, whole) = of_python(&["--unwind", "fp"]);
        assert!(whole * 2 < all, "{whole} of {all}");
        for options in [&[][..], &["--unwind", "copy", "--min-wait", "9ms"]] {
            let (outcome, all, whole) = of_python(options);
            assert!(
                whole * 100 >= all * 98,
                "{whole} of {all}: {:#?}",
                outcome.rows
            );
        }
    }

    #[test]
    fn short_waits_are_not_copied() {
        needs!("off_cpu");
        let options = ["--unwind", "copy", "--min-wait", "1s", "--ring", "4KiB"];
        let (outcome, _) = traced(&options, "comm a_sleeper , nanosleep 1 100");
        assert_eq!(of(&outcome, "a_sleeper").len(), 0, "{:?}", outcome.rows);
        assert_eq!(outcome.account().stacks_not_unwound(), 0);
    }
}
