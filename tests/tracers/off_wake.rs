//! `off_wake` against threads that wake each other.

use crate::{
    conformance::{Entry, Expects, Identity, conforms},
    has_frame,
};
use serde_json::Value;
use std::{fs, process};
use tests::{Trace, Workload, needs, needs_names, sum};

/// The entry of the conformance suite. A thread that starts or ends is waited for.
const CONFORMANCE: Entry = Entry {
    identity: Identity::of_process("pid"),
    only: &[("reason", "timer")],
    besides: 5,
    unit: 20,
    // A thread that gets no CPU until the time is over does not sleep.
    missing_percent: 5,
    ..Entry::of("off_wake", "nanosleep 1 {}", Expects::Count(1))
};
conforms!(CONFORMANCE);

#[test]
fn a_wait_for_a_mutex_has_the_thread_that_releases_it() {
    needs!("off_wake");
    let mut workload = Workload::behind_gate("contend 20 10");
    let trace = Trace::of("off_wake").of_process(&workload);
    let options = ["--where", "reason == lock", "--min-wait", "15ms"];
    let trace = trace.with(&options).start();
    workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    let pid = u64::from(workload.pid());
    let is_woken = |row: &&Value| row["waker_pid"].as_u64() == Some(pid);
    let rows: Vec<&Value> = outcome.rows.iter().filter(is_woken).collect();
    // The mutex, and what the threads tell each other.
    assert!(sum(&rows, "waits") >= 10, "{:?}", outcome.rows);
    assert!(sum(&rows, "total_ns") >= 200_000_000, "{rows:?}");
    for row in rows {
        assert_eq!(row["waker"], "workload");
    }
}

/// Names of functions, which the test kernels have not.
mod here {
    use super::*;

    #[test]
    fn the_stack_of_the_waker_is_on_top() {
        needs!("off_wake");
        needs_names!();
        let path = std::env::temp_dir().join(format!("off-wake-{}", process::id()));
        let folded = format!("folded={}", path.display());
        let mut workload = Workload::behind_gate("comm a_waiter , contend 20 10");
        let trace = Trace::of("off_wake").of_process(&workload);
        let options = ["--min-wait", "15ms", "-o", &folded];
        let trace = trace.with(&options).start();
        workload.finish();
        let outcome = trace.finish();
        outcome.complete();
        let waits = |row: &&Value| {
            has_frame(row, "kernel_stack", "mutex_lock")
                && has_frame(row, "waker_kernel_stack", "mutex_unlock")
        };
        let rows: Vec<&Value> = outcome.rows.iter().filter(waits).collect();
        assert_eq!(sum(&rows, "waits"), 10, "{:?}", outcome.rows);
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let line = text.lines().find(|line| line.contains("mutex_unlock"));
        let line = line.unwrap_or_else(|| panic!("{text}"));
        let (waiter, waker) = line.split_once(";--;").unwrap();
        assert!(
            waiter.starts_with("a_waiter;") && waiter.contains("mutex_lock"),
            "{line}"
        );
        // The innermost frame of the waker is next to the wait, its name at the top.
        let unlock = waker.find("mutex_unlock").unwrap();
        let call = waker.find("write_[k]").unwrap();
        assert!(unlock < call, "{line}");
        let (stack, _) = waker.rsplit_once(' ').unwrap();
        assert!(
            stack.ends_with(";a_waiter") || stack.ends_with(";workload"),
            "{line}"
        );
    }
}
