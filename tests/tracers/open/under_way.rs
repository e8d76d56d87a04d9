//! Calls that take their time: they wait, are killed, or began before the trace.

use super::{Folder, columns, os, traced};
use crate::{Task, result};
use serde_json::json;
use std::path::PathBuf;
use tests::{Trace, Wanted, Workload, bytes, check, needs};

/// A pipe with a name: a call that opens it waits for its other end.
fn fifo(folder: &Folder) -> PathBuf {
    let path = folder.path("fifo");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, 0o600.into(), 0).unwrap();
    path
}

#[test]
fn a_call_that_waits_has_its_whole_latency() {
    needs!("open");
    let folder = Folder::new();
    let fifo = fifo(&folder);
    let (outcome, report, workload) = traced(&format!("open-fifo {} 200", fifo.display()));
    let (began, ended) = report.boottime_ns;
    let waiting = outcome.row_where("flags", "O_RDONLY");
    let mut wanted = columns(
        &Task::workload(&workload),
        &report,
        os(&fifo),
        "O_RDONLY",
        "0000",
        true,
    );
    wanted.retain(|(column, _)| *column != "latency_ns");
    wanted.push(("latency_ns", Wanted::Within(200_000_000, ended - began)));
    wanted.extend(result(waiting["result"].as_i64().unwrap(), None));
    check(waiting, &wanted);
    // Its writer is another thread of the same process.
    let writer = outcome.row_where("flags", "O_WRONLY");
    assert_eq!(writer["pid"], waiting["pid"]);
    assert_ne!(writer["tid"], waiting["tid"]);
}

#[test]
fn a_process_that_is_killed_in_the_call_is_a_row_with_erestartsys() {
    needs!("open");
    let folder = Folder::new();
    let fifo = fifo(&folder);
    // 257 is openat: arch/x86/entry/syscalls/syscall_64.tbl; 56 that of include/uapi/asm-generic/unistd.h.
    let number = if cfg!(target_arch = "x86_64") {
        "257"
    } else {
        "56"
    };
    let mut workload = Workload::behind_gate(&format!(
        "killed-in {number} open openat {} 0 0",
        fifo.display()
    ));
    let trace = Trace::of("open").of_process(&workload).start();
    let report = workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    let row = outcome.row_where("path", bytes(os(&fifo)));
    assert_eq!(row["pid"], report.note("child"));
    assert_eq!(row["result_error"], json!("ERESTARTSYS"));
    assert_eq!(row["resolved"], json!(false));
}

#[test]
fn a_call_that_began_before_the_trace_is_a_row_without_a_latency() {
    needs!("open");
    let folder = Folder::new();
    let fifo = fifo(&folder);
    let mut workload =
        Workload::child_behind_gate(&format!("open-fifo-before-gate {}", fifo.display()));
    let trace = Trace::of("open").of_process(&workload).start();
    workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    let row = outcome.row_where("flags", "O_RDONLY");
    assert_eq!(row["path"], bytes(os(&fifo)));
    assert_eq!(
        (&row["resolved"], &row["latency_ns"]),
        (&json!(true), &json!(0))
    );
    assert!(row["result"].as_i64().unwrap() > 2, "{row}");
}
