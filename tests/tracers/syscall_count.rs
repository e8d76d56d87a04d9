//! `syscall_count` against calls with known number and result.

use crate::conformance::{Entry, Expects, Identity, conforms};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tests::{Outcome, Report, Steps, Trace, Wanted, Workload, check, needs, sum};

/// The entry of the conformance suite. The workload makes this call nowhere else.
const CONFORMANCE: Entry = Entry {
    identity: Identity::of_process("pid"),
    options: &["--per-process"],
    only: &[("syscall", "getppid")],
    storm: 5000,
    ..Entry::of("syscall_count", "getppid {}", Expects::Count(1))
};
conforms!(CONFORMANCE);

/// A workload traced from its gate to its end.
fn traced(options: &[&str], steps: &(impl Steps + ?Sized)) -> (Outcome, Report, Workload) {
    let mut workload = Workload::behind_gate(steps);
    let trace = Trace::of("syscall_count")
        .with(options)
        .of_process(&workload)
        .start();
    let report = workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    (outcome, report, workload)
}

/// What must be true of every row, and of the whole table.
fn consistent(outcome: &Outcome) {
    for row in &outcome.rows {
        let count = row["count"].as_u64().unwrap();
        let buckets: Vec<(u64, u64)> = serde_json::from_value(row["latency"].clone()).unwrap();
        assert_eq!(
            buckets.iter().map(|(_, n)| n).sum::<u64>(),
            count,
            "histogram and count: {row}"
        );
        let errors: BTreeMap<String, u64> = serde_json::from_value(row["errors"].clone()).unwrap();
        assert!(
            errors.values().sum::<u64>() <= count,
            "errors and count: {row}"
        );
        let (total, max) = (
            row["total_ns"].as_u64().unwrap(),
            row["max_ns"].as_u64().unwrap(),
        );
        let last = buckets.last().unwrap().0;
        assert!(
            (last..=last * 2).contains(&max.max(last)),
            "longest and histogram: {row}"
        );
        assert!(
            max <= total && total <= max * count,
            "longest and all: {row}"
        );
        let least: u64 = buckets.iter().map(|(from, n)| from * n).sum();
        assert!(
            total >= least && total <= 2 * least + count,
            "time and histogram: {row}"
        );
    }
    assert_eq!(
        sum(&outcome.rows.iter().collect::<Vec<_>>(), "count"),
        outcome.account().produced
    );
}

#[test]
fn calls_are_counted_to_the_last_one_with_every_column() {
    needs!("syscall_count");
    let (outcome, report, _) = traced(&[], "getppid 1234");
    consistent(&outcome);
    let row = outcome.row_where("syscall", "getppid");
    let (began, ended) = report.boottime_ns;
    let wanted: [(&str, Wanted); 8] = [
        ("syscall", "getppid".into()),
        ("pid", 0.into()),
        ("comm", "".into()),
        ("count", 1234.into()),
        ("errors", json!({}).into()),
        ("total_ns", Wanted::Within(1234, ended - began)),
        ("max_ns", Wanted::Within(1, ended - began)),
        ("latency", row["latency"].clone().into()),
    ];
    check(row, &wanted);
}

#[test]
fn errors_are_counted_by_name() {
    needs!("syscall_count");
    let (outcome, _, _) = traced(&[], "close-bad 77 , getppid 5");
    consistent(&outcome);
    let row = outcome.row_where("syscall", "close");
    assert_eq!(
        (&row["count"], &row["errors"]),
        (&json!(77), &json!({ "EBADF": 77 }))
    );
    assert_eq!(outcome.row_where("syscall", "getppid")["errors"], json!({}));
}

#[test]
fn calls_that_seccomp_answers_are_counted() {
    needs!("syscall_count");
    // SECCOMP_RET_ERRNO, and SECCOMP_RET_TRACE for which there is no tracer: include/uapi/linux/seccomp.h.
    for (action, errno, name) in [
        (0x0005_0000 | libc::EPERM, libc::EPERM, "EPERM"),
        (0x7ff0_0000, libc::ENOSYS, "ENOSYS"),
    ] {
        let (number, action, errno) = (
            libc::SYS_mount.to_string(),
            action.to_string(),
            errno.to_string(),
        );
        let steps = format!("answer {number} {action} , mount-fails 1000 {errno}");
        let (outcome, _, _) = traced(&[], &steps);
        consistent(&outcome);
        let row = outcome.row_where("syscall", "mount");
        assert_eq!(
            (&row["count"], &row["errors"]),
            (&json!(1000), &json!({ name: 1000 }))
        );
    }
}

#[test]
fn a_call_that_seccomp_answers_with_sigsys_is_counted_with_enosys() {
    needs!("syscall_count");
    let (signal, number, action) = (
        libc::SIGSYS.to_string(),
        libc::SYS_mount.to_string(),
        libc::SECCOMP_RET_TRAP.to_string(),
    );
    let steps = format!("dies-of {signal} answer {number} {action} ; mount-fails 1 0");
    let (outcome, _, _) = traced(&[], &steps);
    consistent(&outcome);
    let row = outcome.row_where("syscall", "mount");
    assert_eq!(
        (&row["count"], &row["errors"]),
        (&json!(1), &json!({ "ENOSYS": 1 }))
    );
}

#[test]
fn a_child_does_not_make_the_call_that_made_it() {
    needs!("syscall_count");
    let (outcome, report, workload) = traced(&["--per-process"], "fork getppid 1");
    consistent(&outcome);
    let pids = [json!(workload.pid()), report.note("child")];
    let made = |pid: &Value| {
        let of = |row: &&Value| {
            let name = row["syscall"].as_str().unwrap();
            row["pid"] == *pid && (name.contains("fork") || name.contains("clone"))
        };
        outcome.rows.iter().filter(of).count()
    };
    assert_eq!(pids.each_ref().map(made), [1, 0]);
}

#[test]
fn a_number_that_no_call_has_is_shown_as_it_is() {
    needs!("syscall_count");
    let steps = "no-such-call 4294967295 7 , no-such-call 2147483649 5";
    let (outcome, _, _) = traced(&[], &steps);
    consistent(&outcome);
    for (name, count) in [("syscall_4294967295", 7), ("syscall_2147483649", 5)] {
        let row = outcome.row_where("syscall", name);
        assert_eq!(
            (&row["count"], &row["errors"]),
            (&json!(count), &json!({ "ENOSYS": count })),
            "{name}"
        );
    }
}

#[test]
fn more_kinds_of_errors_than_fit_are_counted_together() {
    needs!("syscall_count");
    let (outcome, report, _) = traced(&[], "open-errors");
    consistent(&outcome);
    let row = outcome.row_where("syscall", "openat");
    let truth: BTreeMap<String, u64> = serde_json::from_value(report.note("errors")).unwrap();
    let shown: BTreeMap<String, u64> = serde_json::from_value(row["errors"].clone()).unwrap();
    assert_eq!(row["count"], json!(truth.values().sum::<u64>()));
    assert_eq!(shown.values().sum::<u64>(), truth.values().sum::<u64>());
    let named: u64 = shown
        .iter()
        .filter(|(name, _)| *name != "other")
        .map(|(_, n)| n)
        .sum();
    assert_eq!(shown["other"], truth.values().sum::<u64>() - named);
    assert_eq!(shown["ENOENT"], 1);
    assert_eq!(shown["ENOTDIR"], 2);
    assert_eq!(shown["ENAMETOOLONG"], 5 + 6);
}

#[test]
fn a_call_that_sleeps_has_its_time_in_total_in_max_and_in_the_histogram() {
    needs!("syscall_count");
    let (outcome, report, _) = traced(&[], "nanosleep 20 5");
    consistent(&outcome);
    let (began, ended) = report.boottime_ns;
    let row = outcome.row_where("syscall", "nanosleep");
    assert_eq!(row["count"], json!(5));
    let (total, max) = (
        row["total_ns"].as_u64().unwrap(),
        row["max_ns"].as_u64().unwrap(),
    );
    assert!((100_000_000..=ended - began).contains(&total), "{total}");
    assert!(max >= 20_000_000);
    // 20 ms lie in the bucket from 2^24 ns, and later where the machine is busy.
    let buckets: Vec<(u64, u64)> = serde_json::from_value(row["latency"].clone()).unwrap();
    assert!(
        buckets.iter().all(|(from, _)| *from >= 1 << 24),
        "{buckets:?}"
    );
}

#[test]
fn an_option_makes_a_row_per_process() {
    needs!("syscall_count");
    let steps = "comm parent , getppid 10 , fork comm child ; getppid 20";
    let (outcome, report, workload) = traced(&["--per-process"], &steps);
    consistent(&outcome);
    let rows = outcome.rows_where("syscall", "getppid");
    let of = |pid: Value| rows.iter().find(|row| row["pid"] == pid).unwrap();
    let (parent, child) = (of(json!(workload.pid())), of(report.note("child")));
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (&parent["count"], &parent["comm"]),
        (&json!(10), &json!("parent"))
    );
    assert_eq!(
        (&child["count"], &child["comm"]),
        (&json!(20), &json!("child"))
    );
}

#[test]
fn the_calls_that_never_return_are_counted() {
    needs!("syscall_count");
    let (outcome, _, _) = traced(&["--per-process"], "threads 3 getppid 2 , fork getppid 1");
    consistent(&outcome);
    // The process and its child.
    let ends = outcome.rows_where("syscall", "exit_group");
    assert_eq!(sum(&ends, "count"), ends.len() as u64);
    outcome.saw(ends.len() as u64, 2);
    // The three threads.
    outcome.saw(sum(&outcome.rows_where("syscall", "exit"), "count"), 3);
    outcome.saw(
        sum(&outcome.rows_where("syscall", "getppid"), "count"),
        3 * 2 + 1,
    );
}

#[test]
fn a_call_in_which_a_process_is_killed_is_counted_once() {
    needs!("syscall_count");
    let (outcome, report, _) = traced(&["--per-process"], "killed-in 0 read-forever");
    consistent(&outcome);
    let child = report.note("child");
    let reads = outcome.rows_where("syscall", "read");
    let killed: Vec<_> = reads
        .into_iter()
        .filter(|row| row["pid"] == child)
        .collect();
    assert_eq!(sum(&killed, "count"), 1);
    assert_eq!(killed[0]["errors"], json!({ "ERESTARTSYS": 1 }));
}

#[test]
fn a_process_that_is_killed_with_many_threads_in_calls_counts_each() {
    needs!("syscall_count");
    let steps = "killed-in 202/34 threads 5 pause-forever";
    let (outcome, report, _) = traced(&["--per-process"], &steps);
    consistent(&outcome);
    let child = report.note("child");
    let pauses = outcome.rows_where("syscall", "pause");
    let killed: Vec<_> = pauses
        .into_iter()
        .filter(|row| row["pid"] == child)
        .collect();
    assert_eq!(sum(&killed, "count"), 5);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_through_the_32_bit_table_are_rows_of_their_own_and_marked() {
    needs!("syscall_count");
    let (outcome, _, _) = traced(&[], "getppid32 30 , getppid 10");
    consistent(&outcome);
    assert_eq!(
        outcome.row_where("syscall", "ia32:getppid")["count"],
        json!(30)
    );
    assert_eq!(outcome.row_where("syscall", "getppid")["count"], json!(10));
    // Number 64 of the other table.
    assert_eq!(outcome.rows_where("syscall", "semget").len(), 0);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_a_32_bit_program_are_counted_by_its_own_table() {
    needs!("syscall_count");
    let folder = tests::folder();
    let path = folder.join("old");
    tests::executable(&path, tests::program32());
    let (outcome, _, _) = traced(
        &["--per-process"],
        &format!("spawn {} zero", path.to_str().unwrap()),
    );
    consistent(&outcome);
    let count = |syscall| {
        let row = outcome.row_where("syscall", syscall);
        assert_eq!(row["comm"], json!("old"));
        row["count"].as_u64().unwrap()
    };
    let counts = ["ia32:open", "ia32:getppid", "ia32:exit"].map(count);
    assert_eq!(counts, [1, 3, 1]);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_command_is_counted_from_its_first_call_on_and_nothing_before() {
    needs!("syscall_count");
    let outcome = Trace::of("syscall_count").workload("getppid 321").run();
    outcome.complete();
    consistent(&outcome);
    assert_eq!(outcome.row_where("syscall", "getppid")["count"], json!(321));
    assert_eq!(
        outcome.row_where("syscall", "exit_group")["count"],
        json!(1)
    );
    // What starts the command waits in a read and then executes it: its execve is where tracing begins.
    assert!(sum(&outcome.rows_where("syscall", "execve"), "count") <= 1);
}

mod here {
    use super::*;

    #[test]
    fn options_count_only_slow_calls_and_only_failures() {
        needs!("syscall_count");
        let steps = "nanosleep 50 3 , getppid 100 , close-bad 7";
        let (outcome, _, _) = traced(&["--min-latency-ns", "40ms"], &steps);
        consistent(&outcome);
        assert_eq!(outcome.row_where("syscall", "nanosleep")["count"], json!(3));
        // On a busy machine any call may take as long, but not each of them; 40 ms lie in the bucket from 2^25 ns.
        for row in &outcome.rows {
            let buckets: Vec<(u64, u64)> = serde_json::from_value(row["latency"].clone()).unwrap();
            assert!(buckets.iter().all(|(from, _)| *from >= 1 << 25), "{row}");
        }
        let quick = outcome.rows_where("syscall", "getppid");
        assert!(sum(&quick, "count") < 100, "{quick:?}");
        let (outcome, _, _) = traced(&["--failed-only"], &steps);
        consistent(&outcome);
        assert_eq!(outcome.row_where("syscall", "close")["count"], json!(7));
        assert_eq!(outcome.rows_where("syscall", "getppid").len(), 0);
        assert_eq!(outcome.account().produced, 7);
    }

    #[test]
    fn more_rows_than_fit_are_lost_and_counted() {
        needs!("syscall_count");
        // Each child has rows of its own for several calls.
        let mut workload = Workload::behind_gate("fork-storm 3000");
        let trace = Trace::of("syscall_count")
            .with(&["--per-process"])
            .of_process(&workload)
            .start();
        workload.finish();
        let outcome = trace.finish();
        let account = outcome.account();
        // The map's, and on each CPU as many more as were the first of their hash: `agent-ebpf/src/rows.rs`.
        let cpus = std::thread::available_parallelism().unwrap().get();
        assert!((4096..=4096 + 256 * cpus).contains(&outcome.rows.len()));
        assert!(account.lost.map_full > 0, "{}", account.raw);
        assert_eq!(account.lost.total(), account.lost.map_full);
        assert_eq!(outcome.status, Some(3));
        // Three thousand children end, and fork and wait for each: nothing of it is missing in the sum.
        assert!(account.produced >= 4 * 3000, "{}", account.raw);
    }

    #[test]
    fn threads_and_children_are_counted_with_their_process() {
        needs!("syscall_count");
        let steps = format!("threads 8 getppid 500{}", " , fork getppid 100".repeat(20));
        let (outcome, _, _) = traced(&[], &steps);
        consistent(&outcome);
        let calls = sum(&outcome.rows_where("syscall", "getppid"), "count");
        outcome.saw(calls, 8 * 500 + 20 * 100);
    }
}
