//! `rss` against memory that a process has and gives back, and /proc/PID/status.

use crate::conformance::{Entry, Expects, Identity, conforms};
use serde_json::Value;
use std::fs;
use tests::{Outcome, Trace, Workload, needs};

/// The line of the conformance suite: pages of its own that a process touches. Besides them it has more than the kernel's sums lag.
const CONFORMANCE: Entry = Entry {
    identity: Identity {
        process: Some("pid"),
        thread: None,
        in_namespace: None,
        cgroup: Some("cgroup"),
    },
    unit: 4096,
    ..Entry::of(
        "rss",
        "touch {} write",
        Expects::Gauge {
            column: "rss_bytes",
            at_least: 4096,
        },
    )
};
conforms!(CONFORMANCE);

const HELD: u64 = 64 << 20;

/// What the kernel may not have added to the sums of all three counters yet: percpu_counter_batch, lib/percpu_counter.c, of each CPU.
fn lag() -> u64 {
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    3 * cpus * (2 * cpus).max(32) * 4096
}

/// Starts a process that has touched `HELD` bytes of memory and waits.
fn holder() -> Workload {
    let mut workload = Workload::behind_gate(&format!("hold {HELD} , until-eof"));
    workload.go();
    assert_eq!(workload.message("holding"), HELD);
    workload
}

/// A line of /proc/PID/status, in bytes.
fn status(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|text| text.strip_prefix(line));
    let kib = line.unwrap().trim_matches([':', ' ', '\t', 'k', 'B']);
    kib.parse::<u64>().unwrap() * 1024
}

fn bytes(row: &Value, column: &str) -> u64 {
    row[column]
        .as_u64()
        .unwrap_or_else(|| panic!("{column}: {row}"))
}

fn traced(workload: &Workload, options: &[&str]) -> Outcome {
    let trace = Trace::of("rss").of_process(workload).with(options);
    let outcome = trace.with(&["--duration", "300ms"]).run();
    outcome.complete();
    outcome
}

#[test]
fn memory_of_a_process_is_what_its_proc_status_says() {
    needs!("rss");
    let workload = holder();
    let outcome = traced(&workload, &[]);
    let row = outcome.row_where("pid", workload.pid());
    let parts = [
        ("rss_bytes", "VmRSS"),
        ("anon_bytes", "RssAnon"),
        ("file_bytes", "RssFile"),
        ("shmem_bytes", "RssShmem"),
        ("swap_bytes", "VmSwap"),
    ];
    for (column, line) in parts {
        let (seen, truth) = (bytes(row, column), status(workload.pid(), line));
        assert!(
            seen.abs_diff(truth) <= lag(),
            "{column}: {seen}, {line}: {truth}"
        );
    }
    let all: u64 = parts[1..4]
        .iter()
        .map(|(column, _)| bytes(row, column))
        .sum();
    assert_eq!(bytes(row, "rss_bytes"), all);
    assert!(bytes(row, "anon_bytes") + lag() >= HELD, "{row}");
    assert!(bytes(row, "peak_bytes") >= bytes(row, "rss_bytes"), "{row}");
    assert_eq!(row["comm"], "workload");
    assert_eq!(row["cgroup"], tests::cgroup_of(workload.pid()));
}

#[test]
fn each_reading_replaces_the_one_before_and_counts_its_rows() {
    needs!("rss");
    let workload = holder();
    let trace = Trace::of("rss").of_process(&workload);
    let trace = trace.with(&["--interval", "100ms"]).start();
    // One row each at the beginning, after two intervals and at the end.
    trace.wait_for_rows(3);
    let outcome = trace.stop();
    let account = outcome.complete();
    let rows = outcome.rows.len() as u64;
    assert_eq!(rows, account.delivered, "{}", account.raw);
    assert!(rows >= 4, "{}", account.raw);
    assert!(outcome.rows.iter().all(|row| row["pid"] == workload.pid()));
}

#[test]
fn a_process_that_ended_is_in_the_result_as_it_was_read_last() {
    needs!("rss");
    let mut workload = holder();
    let trace = Trace::of("rss")
        .of_process(&workload)
        .with(&["--interval", "100ms"]);
    let trace = trace.start();
    trace.wait_for_rows(2);
    workload.close();
    workload.wait();
    let outcome = trace.finish();
    assert_eq!(outcome.complete().ended, "target_gone");
    let last = outcome.rows.last().unwrap();
    assert_eq!(last["pid"], workload.pid());
    assert!(bytes(last, "anon_bytes") + lag() >= HELD, "{last}");
}

#[test]
fn a_process_without_its_first_thread_still_has_its_memory() {
    needs!("rss");
    let mut workload = Workload::behind_gate(&format!("hold {HELD} , first-thread-ends"));
    workload.go();
    assert_eq!(workload.message("alone"), true);
    let outcome = traced(&workload, &[]);
    let row = outcome.row_where("pid", workload.pid());
    assert!(bytes(row, "anon_bytes") + lag() >= HELD, "{row}");
}

mod here {
    use super::*;

    #[test]
    fn an_option_shows_only_large_processes() {
        needs!("rss");
        let workload = holder();
        let least = (2 * HELD).to_string();
        let outcome = traced(&workload, &["--min-bytes", &least]);
        assert_eq!(outcome.rows.len(), 0);
        assert_eq!(outcome.account().produced, 0);
    }

    #[test]
    fn on_a_whole_host_every_process_is_one_row_and_the_tracer_none() {
        needs!("rss");
        let workload = holder();
        let trace = Trace::of("rss").with(&["--host", "--duration", "300ms"]);
        let outcome = trace.run();
        outcome.complete();
        outcome.row_where("pid", workload.pid());
        outcome.row_where("pid", std::process::id());
        // Itself, which it never sees, is the only `tracejob` that this test started.
        let mut pids: Vec<u64> = outcome.rows.iter().map(|row| bytes(row, "pid")).collect();
        let all = pids.len();
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), all, "no process has two rows");
    }
}
