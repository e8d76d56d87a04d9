//! `time_budget` against programs that spend a known time for each reason.

use crate::conformance::{Entry, Expects, Identity, conforms};
use serde_json::Value;
use tests::{Cgroup, Outcome, Trace, Workload, needs, sum};

/// The entry of the conformance suite: a sleep, a wake-up and a run are three changes.
const CONFORMANCE: Entry = Entry {
    identity: Identity::of_process("pid"),
    besides: 270,
    unit: 100,
    ..Entry::of("time_budget", "nanosleep 1 {}", Expects::Count(3))
};
conforms!(CONFORMANCE);

/// The parts of the time.
const PARTS: [&str; 12] = [
    "user_ns",
    "kernel_ns",
    "run_queue_ns",
    "throttled_ns",
    "disk_ns",
    "network_ns",
    "lock_ns",
    "timer_ns",
    "process_ns",
    "memory_ns",
    "work_ns",
    "other_ns",
];

/// A workload traced from its gate to its end.
fn traced(steps: &str) -> (Outcome, u64) {
    let mut workload = Workload::behind_gate(steps);
    let trace = Trace::of("time_budget").of_process(&workload).start();
    let began = std::time::Instant::now();
    workload.finish();
    let took = began.elapsed().as_nanos() as u64;
    let outcome = trace.finish();
    outcome.complete();
    let rows: Vec<&Value> = outcome.rows.iter().collect();
    let (wall, parts) = (sum(&rows, "wall_ns"), all_parts(&rows));
    // Linux 7 may skip the run that would have ended a phase; the account counts it.
    let skipped = outcome.account().missed_runs > 0;
    assert!(
        parts.abs_diff(wall) <= wall / 1000 || skipped,
        "parts of {parts}, threads of {wall}: {rows:?}"
    );
    (outcome, took)
}

fn all_parts(rows: &[&Value]) -> u64 {
    PARTS.iter().map(|part| sum(rows, part)).sum()
}

/// Checks that a part has about this time, ns, and that it is more than all waits else.
fn mostly(outcome: &Outcome, part: &str, at_least: u64) {
    let rows: Vec<&Value> = outcome.rows.iter().collect();
    let is = sum(&rows, part);
    assert!(
        is + at_least / 200 >= at_least,
        "{part} is {is} of {at_least}: {rows:?}"
    );
    let others = PARTS[4..].iter().filter(|other| **other != part);
    // The workload waits for its gate before the step, which is a pipe.
    let others: u64 = others
        .filter(|other| **other != "process_ns")
        .map(|other| sum(&rows, other))
        .sum();
    assert!(
        others <= is / 5,
        "{part} is {is}, others {others}: {rows:?}"
    );
}

#[test]
fn sleeps_are_timers() {
    needs!("time_budget");
    let (outcome, _) = traced("nanosleep 100 5");
    mostly(&outcome, "timer_ns", 500_000_000);
}

#[test]
fn waits_in_futex_are_locks() {
    needs!("time_budget");
    let (outcome, _) = traced("futex-waits 50 10");
    mostly(&outcome, "lock_ns", 500_000_000);
}

#[test]
fn reads_of_a_socket_are_waits_for_the_network() {
    needs!("time_budget");
    let (outcome, _) = traced("receive-nothing 50 10");
    mostly(&outcome, "network_ns", 500_000_000);
}

#[test]
fn polls_are_waits_for_work() {
    needs!("time_budget");
    let (outcome, _) = traced("poll-nothing 50 10");
    mostly(&outcome, "work_ns", 500_000_000);
}

#[test]
fn page_faults_are_waits_for_memory() {
    needs!("time_budget");
    let (outcome, _) = traced("wait-for-page 50 10");
    let rows: Vec<&Value> = outcome.rows.iter().collect();
    // The other thread sleeps meanwhile.
    for part in ["memory_ns", "timer_ns"] {
        assert!(sum(&rows, part) >= 500_000_000, "{part}: {rows:?}");
    }
}

#[test]
fn a_cpu_quota_throttles() {
    needs!("time_budget");
    // So little that the rest of the machine cannot use it up.
    let group = Cgroup::with_cpu_quota(5_000, 100_000);
    let mut workload = Workload::behind_gate("burn 25");
    group.add(workload.pid());
    let trace = Trace::of("time_budget").of_process(&workload).start();
    workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    let rows: Vec<&Value> = outcome.rows.iter().collect();
    // The rest of the time until it runs again is in a run queue.
    let (throttled, truth) = (sum(&rows, "throttled_ns"), group.throttled_ns());
    assert!(
        truth > 100_000_000 && (truth / 10 * 7..truth + 20_000_000).contains(&throttled),
        "{throttled} of {truth}: {rows:?}"
    );
}

#[test]
fn cpu_time_is_user_and_kernel_time_of_all_threads() {
    needs!("time_budget");
    let (outcome, _) = traced("threads 2 burn 400");
    let rows: Vec<&Value> = outcome.rows.iter().collect();
    let (user, kernel) = (sum(&rows, "user_ns"), sum(&rows, "kernel_ns"));
    assert!(
        (800_000_000..900_000_000).contains(&(user + kernel)) && user > kernel,
        "{rows:?}"
    );
}

#[test]
fn waits_for_a_pipe_are_of_another_process() {
    needs!("time_budget");
    let mut workload = Workload::behind_gate("getppid 1");
    let trace = Trace::of("time_budget").of_process(&workload).start();
    std::thread::sleep(std::time::Duration::from_millis(400));
    workload.finish();
    let outcome = trace.finish();
    let rows: Vec<&Value> = outcome.rows.iter().collect();
    assert!(sum(&rows, "process_ns") >= 390_000_000, "{rows:?}");
}

#[test]
fn threads_that_share_a_cpu_wait_in_its_run_queue() {
    needs!("time_budget");
    let (outcome, _) = traced("pin 0 , threads 3 burn 150");
    let rows: Vec<&Value> = outcome.rows.iter().collect();
    // Two of three wait while one runs: 150 ms × (2 + 2 + …) ≈ 2 × 450 ms, and the last ones alone less.
    assert!(sum(&rows, "run_queue_ns") >= 500_000_000, "{rows:?}");
}

/// A disk, which the test kernels have not.
mod here {
    use super::*;

    #[test]
    fn fsync_is_a_wait_for_the_disk() {
        needs!("time_budget");
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = folder.join(format!("time-budget-{}", std::process::id()));
        let steps = format!("time-of sync-file {} 100", path.display());
        let mut workload = Workload::behind_gate(&steps);
        let trace = Trace::of("time_budget").of_process(&workload).start();
        let report = workload.finish();
        let outcome = trace.finish();
        outcome.complete();
        let rows: Vec<&Value> = outcome.rows.iter().collect();
        let number = |key: &str| report.number(key);
        // What is neither CPU time nor spent in the run queue.
        let blocked = number("wall_ns") - number("cpu_ns") - number("waited_ns");
        let (disk, lock) = (sum(&rows, "disk_ns"), sum(&rows, "lock_ns"));
        // Reads of the program's file are waits for the disk too.
        assert!(
            disk >= blocked / 10 * 7 && disk > lock && blocked > 0,
            "{disk} of {blocked}: {rows:?}"
        );
    }
}
