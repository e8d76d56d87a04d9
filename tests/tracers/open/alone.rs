//! What other traces and programs would disturb: on the test kernels these tests run one at a time.

use super::{Folder, columns, os, steps, traced};
use crate::{Who, result};
use serde_json::json;
use std::path::PathBuf;
use tests::{Trace, Wanted, Workload, bytes, check, in_vm, needs};

/// A pipe with a name: a call that opens it waits for its other end.
fn fifo(folder: &Folder) -> PathBuf {
    let path = folder.path("fifo");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, 0o600.into(), 0).unwrap();
    path
}

#[test]
fn the_host_is_everything_but_the_tracer_itself() {
    needs!("open");
    if !in_vm() {
        println!(
            "SKIPPED open::alone::the_host_is_everything_but_the_tracer_itself: other processes run on this machine"
        );
        return;
    }
    let folder = Folder::new();
    let (one, two) = (folder.file("one"), folder.file("two"));
    let mut workloads = [&one, &two]
        .map(|file| Workload::behind_gate(&steps(&[&"open", &"openat", file, &"0", &"0"])));
    let trace = Trace::of("open").with(&["--host"]).start();
    let tracer = trace.pid();
    for workload in &mut workloads {
        workload.finish();
    }
    let outcome = trace.stop();
    outcome.complete();
    for (file, workload) in [&one, &two].into_iter().zip(&workloads) {
        assert_eq!(
            outcome.row_where("path", bytes(os(file)))["pid"],
            json!(workload.pid())
        );
    }
    assert_eq!(outcome.rows_where("pid", tracer).len(), 0);
}

// Where another trace detaches meanwhile, the kernel leaves out the end of a call that is under way, which is told and no row.
#[test]
fn a_call_that_waits_has_its_whole_latency() {
    needs!("open");
    let folder = Folder::new();
    let fifo = fifo(&folder);
    let (outcome, report, workload) = traced(&[&"open-fifo", &fifo, &"200"]);
    let (began, ended) = report.boottime_ns;
    let waiting = outcome.row_where("flags", "O_RDONLY");
    let mut wanted = columns(
        &Who::workload(&workload),
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

// As above.
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
    let mut workload = Workload::behind_gate(&steps(&[
        &"killed-in",
        &number,
        &"open",
        &"openat",
        &fifo,
        &"0",
        &"0",
    ]));
    let trace = Trace::of("open").of_process(&workload).start();
    let report = workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    let row = outcome.row_where("path", bytes(os(&fifo)));
    assert_eq!(row["pid"], report.note("child"));
    assert_eq!(row["result_error"], json!("ERESTARTSYS"));
    assert_eq!(row["resolved"], json!(false));
}
