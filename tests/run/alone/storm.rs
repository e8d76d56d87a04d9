//! As many system calls as the target can make, for seconds: every one is accounted for, and the tracer does not grow.
//!
//! TRACEJOB_TEST_STORM_SECONDS makes them longer.

use std::{
    thread::available_parallelism,
    time::{Duration, Instant},
};
use tests::{Trace, Tracing, Workload, needs, resident};

/// How long a storm lasts.
fn seconds() -> u64 {
    match std::env::var("TRACEJOB_TEST_STORM_SECONDS") {
        Ok(seconds) => seconds.parse().unwrap(),
        Err(_) => 10,
    }
}

/// When everything that is allocated once has been.
fn warm_up() -> Duration {
    Duration::from_secs(seconds() / 5)
}

/// What a tracer may grow by afterwards, KiB.
const GROWTH: i64 = 1024;
/// Besides, batches may wait for the printer: 64, some 16 MiB (`QUEUE` in engine/src/run.rs).
const QUEUE: i64 = 16 << 10;

/// All CPUs but one, which is for the tracer.
fn threads() -> u64 {
    (available_parallelism().map_or(1, usize::from) as u64 - 1).max(1)
}

/// Samples the tracer's memory until the workload has ended; what it was after the warm-up and at the last.
fn watched(trace: &Tracing, workload: &mut Workload) -> (i64, i64) {
    let began = Instant::now();
    let mut samples = Vec::new();
    workload.go();
    while !workload.has_ended() {
        if let Some(kib) = resident(trace.pid()).filter(|_| began.elapsed() > warm_up()) {
            samples.push(kib);
        }
        // Between two samples.
        std::thread::sleep(Duration::from_millis(100));
    }
    // Its messages are read by then.
    workload.wait();
    assert!(samples.len() >= 5, "{samples:?}");
    println!("resident, KiB: {samples:?}");
    // The median of the first five, so that one early sample does not decide.
    let mut first = samples[..5].to_vec();
    first.sort_unstable();
    (first[2], *samples.last().unwrap())
}

#[test]
fn a_storm_of_system_calls_is_counted_to_the_last_call_in_constant_memory() {
    needs!("syscall_count");
    let mut workload = Workload::behind_gate(&format!("storm {} {}", seconds(), threads()));
    let trace = Trace::of("syscall_count").of_process(&workload).start();
    let (first, last) = watched(&trace, &mut workload);
    let outcome = trace.finish();
    let missed = outcome.complete().missed_runs;
    let rounds = workload.reports()[0].number("rounds");
    println!("{} calls a second", rounds * 3 / seconds());
    let count = |syscall| {
        outcome.row_where("syscall", syscall)["count"]
            .as_u64()
            .unwrap()
    };
    // All of them, except the runs of programs that a kernel since Linux 7.0 skipped and the account counts.
    outcome.saw(count("getppid"), rounds);
    // Besides, the workload reads at its gate and the library wakes and waits.
    for (syscall, besides) in [("read", 10), ("futex", 2 + 4 * threads())] {
        let count = count(syscall);
        assert!(
            (rounds.saturating_sub(missed)..=rounds + besides).contains(&count),
            "{syscall}: {count}, and should be {rounds}"
        );
    }
    assert!(last - first <= GROWTH, "grew from {first} to {last} KiB");
}

#[test]
fn a_storm_of_files_is_accounted_for_to_the_last_one_in_constant_memory() {
    needs!("open");
    let steps = format!("open-storm {} {} /dev/null", seconds(), threads());
    let mut workload = Workload::behind_gate(&steps);
    let trace = Trace::of("open").counting().of_process(&workload).start();
    let (first, last) = watched(&trace, &mut workload);
    let outcome = trace.finish();
    let account = outcome.account();
    let rounds = workload.reports()[0].number("rounds");
    println!("{} files a second, {}", rounds / seconds(), account.raw);
    // As above.
    let seen = account.produced..=account.produced + account.missed_runs;
    assert!(seen.contains(&rounds), "{rounds}: {}", account.raw);
    assert_eq!(account.delivered + account.lost.ring_full, account.produced);
    assert!(
        last - first <= GROWTH + QUEUE,
        "grew from {first} to {last} KiB"
    );
}
