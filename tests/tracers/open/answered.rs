//! Calls that the kernel never begins: seccomp, a supervisor or a tracer answers them.

use super::{Folder, columns, os, traced};
use crate::{Task, result};
use serde_json::{Value, json};
use std::ffi::OsStr;
use tests::{Outcome, Report, Wanted, check, needs};

/// Number and answer as the workload's step takes them: `SECCOMP_RET_…` of include/uapi/linux/seccomp.h.
fn answer(number: libc::c_long, action: u32) -> [String; 2] {
    [number.to_string(), action.to_string()]
}

fn denied(number: libc::c_long) -> [String; 2] {
    answer(number, libc::SECCOMP_RET_ERRNO | libc::EACCES as u32)
}

/// The rows of one path, which are as many as the workload made calls, each with this error and with what the caller passed.
fn are_rows(rows: &[&Value], times: usize, path: &OsStr, error: &str) {
    assert_eq!(rows.len(), times, "{rows:?}");
    for row in rows {
        assert_eq!(row["result_error"], json!(error), "{row}");
        assert_eq!(row["path"], json!(path.to_str().unwrap()), "{row}");
        assert_eq!(row["resolved"], json!(false), "{row}");
        assert_eq!(row["latency_ns"], json!(0), "{row}");
    }
}

/// Calls of one kind under a filter.
fn under_filter(filter: [String; 2], call: &str, flags: &str) -> (Outcome, Report, Folder) {
    let folder = Folder::new();
    let path = folder.file("denied");
    let [number, action] = filter;
    let (outcome, report, _) = traced(&format!(
        "answer {number} {action} , open-times 7 {call} {} {flags} 0",
        path.display()
    ));
    let rows = outcome.rows_where("path", json!(path));
    are_rows(
        &rows,
        7,
        path.as_os_str(),
        outcome.rows[0]["result_error"].as_str().unwrap(),
    );
    assert_eq!(outcome.rows.len(), 7, "{:?}", outcome.rows);
    (outcome, report, folder)
}

#[test]
fn calls_that_seccomp_answers_are_rows_with_its_error() {
    needs!("open");
    let folder = Folder::new();
    let path = folder.file("denied");
    let [number, action] = denied(libc::SYS_openat);
    let (outcome, report, workload) = traced(&format!(
        "answer {number} {action} , open openat {} 1 0",
        path.display()
    ));
    assert_eq!(report.note("result"), json!(-libc::EACCES));
    let task = Task::workload(&workload);
    let mut wanted = columns(&task, &report, os(&path), "O_WRONLY", "0000", false);
    wanted.retain(|(column, _)| *column != "latency_ns");
    wanted.push(("latency_ns", Wanted::from(0)));
    wanted.extend(result((-libc::EACCES).into(), Some("EACCES")));
    check(outcome.row(), &wanted);
}

#[test]
fn each_kind_of_call_that_seccomp_answers_is_a_row_each_time() {
    needs!("open");
    for (number, call) in [
        (libc::SYS_openat, "openat"),
        (libc::SYS_openat2, "openat2"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, "open"),
        // Numbers of arch/x86/entry/syscalls/syscall_32.tbl.
        #[cfg(target_arch = "x86_64")]
        (295, "openat32"),
        #[cfg(target_arch = "x86_64")]
        (5, "open32"),
    ] {
        let (outcome, report, _folder) = under_filter(denied(number), call, "2");
        assert_eq!(report.note("result"), json!(-libc::EACCES));
        assert_eq!(outcome.rows[0]["result_error"], json!("EACCES"), "{call}");
        assert_eq!(outcome.rows[0]["flags"], json!("O_RDWR"), "{call}");
    }
}

#[test]
fn calls_that_seccomp_leaves_to_a_tracer_that_is_not_there_are_rows_with_enosys() {
    needs!("open");
    let filter = answer(libc::SYS_openat, libc::SECCOMP_RET_TRACE);
    let (outcome, report, _folder) = under_filter(filter, "openat", "0");
    assert_eq!(report.note("result"), json!(-libc::ENOSYS));
    assert_eq!(outcome.rows[0]["result_error"], json!("ENOSYS"));
}

/// A child's only call, in which it gets SIGSYS and dies.
fn is_deadly(action: u32) {
    let folder = Folder::new();
    let path = folder.file("deadly");
    let [number, action] = answer(libc::SYS_openat, action);
    let (outcome, report, _) = traced(&format!(
        "dies-of {} answer {number} {action} ; open openat {} 0 0",
        libc::SIGSYS,
        path.display()
    ));
    let rows = outcome.rows_where("pid", report.note("child"));
    are_rows(&rows, 1, path.as_os_str(), "ENOSYS");
}

#[test]
fn a_call_that_seccomp_answers_with_sigsys_is_a_row_with_enosys() {
    needs!("open");
    is_deadly(libc::SECCOMP_RET_TRAP);
}

mod here {
    use super::*;

    // Before 5.16 the kernel ends the process without coming back from the call.
    #[test]
    fn a_call_in_which_seccomp_kills_the_process_is_a_row_with_enosys() {
        needs!("open");
        if tests::in_vm() {
            println!(
                "SKIPPED open::answered::here::a_call_in_which_seccomp_kills_the_process_is_a_row_with_enosys: older test kernels do not come back from it"
            );
            return;
        }
        is_deadly(libc::SECCOMP_RET_KILL_PROCESS);
    }
}

#[test]
fn calls_that_a_supervisor_answers_are_rows_with_its_error() {
    needs!("open");
    let folder = Folder::new();
    let path = folder.file("supervised");
    let (number, errno) = (libc::SYS_openat.to_string(), libc::EDQUOT.to_string());
    let (outcome, report, _) = traced(&format!(
        "supervised {number} {errno} 5 open-times 5 openat {} 0 0",
        path.display()
    ));
    assert_eq!(report.note("result"), json!(-libc::EDQUOT));
    are_rows(
        &outcome.rows_where("path", json!(path)),
        5,
        path.as_os_str(),
        "EDQUOT",
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_that_a_tracer_emulates_are_rows_with_its_error() {
    needs!("open");
    let folder = Folder::new();
    let path = folder.file("emulated");
    let errno = libc::EROFS.to_string();
    let (outcome, report, _) = traced(&format!(
        "emulated 5 {errno} open-times 5 openat {} 0 0",
        path.display()
    ));
    let rows = outcome.rows_where("pid", report.note("child"));
    are_rows(&rows, 5, path.as_os_str(), "EROFS");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_path_that_is_not_in_memory_is_marked_as_cut() {
    needs!("open");
    let folder = Folder::new();
    let file = folder.file("text");
    let [number, action] = denied(libc::SYS_open);
    let (outcome, report, _) = traced(&format!(
        "answer {number} {action} , open-unread {}",
        file.display()
    ));
    assert_eq!(report.note("result"), json!(-libc::EACCES));
    let row = outcome.row_where("result_error", "EACCES");
    assert_eq!((&row["path"], &row["path_cut"]), (&json!(""), &json!(true)));
}

#[test]
fn unreadable_flags_are_marked_and_shown_with_the_option_for_writers() {
    needs!("open");
    let (outcome, _, _) = traced("open-bad-how /no/such/file");
    let row = outcome.row();
    assert_eq!(row["flags"], json!("unreadable"));
    assert_eq!(row["result_error"], json!("EFAULT"));
    let outcome = tests::Trace::of("open")
        .with(&["--write-only"])
        .workload("open-bad-how /no/such/file")
        .run();
    outcome.complete();
    assert_eq!(outcome.row()["flags"], json!("unreadable"));
}
