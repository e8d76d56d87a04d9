//! Calls that the kernel never begins: seccomp, a supervisor or a tracer answers them.

use super::traced;
use crate::steps;
use serde_json::{Value, json};
use tests::{Outcome, needs};

/// Calls that the kernel never begins, because seccomp gives this answer, are rows with this error.
fn answered(call: &str, number: libc::c_long, action: u32, errno: i32, error: &str) {
    let (number, action) = (number.to_string(), action.to_string());
    let (outcome, report, _) = traced(&steps(&[
        &"answer",
        &number,
        &action,
        &",",
        &"exec-fails-times",
        &"5",
        &call,
        &"/no/such/program",
        &"zero",
        &"",
        &"two words",
    ]));
    assert_eq!(report.note("result"), json!(-errno));
    assert_eq!(outcome.rows.len(), 5, "{:?}", outcome.rows);
    for row in &outcome.rows {
        assert_eq!(row["result_error"], json!(error), "{call}");
        assert_eq!(row["filename"], json!("/no/such/program"), "{call}");
        assert_eq!(row["args"], json!(["zero", "", "two words"]), "{call}");
    }
}

#[test]
fn calls_that_seccomp_answers_are_rows_with_its_error() {
    needs!("exec");
    let denied = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    answered("execve", libc::SYS_execve, denied, libc::EPERM, "EPERM");
    answered("execveat", libc::SYS_execveat, denied, libc::EPERM, "EPERM");
    let traced = libc::SECCOMP_RET_TRACE;
    answered("execve", libc::SYS_execve, traced, libc::ENOSYS, "ENOSYS");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_through_the_32_bit_table_that_seccomp_answers_are_rows_with_its_error() {
    needs!("exec");
    let denied = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    // arch/x86/entry/syscalls/syscall_32.tbl.
    answered("execve32", 11, denied, libc::EPERM, "EPERM");
    answered("execveat32", 358, denied, libc::EPERM, "EPERM");
}

/// A row of a child that never gets into the kernel's own code.
fn is_answered(outcome: &Outcome, child: Value, times: usize, error: &str) {
    let rows = outcome.rows_where("pid", child);
    assert_eq!(rows.len(), times, "{:?}", outcome.rows);
    for row in rows {
        assert_eq!(row["result_error"], json!(error), "{row}");
        assert_eq!(row["filename"], json!("/no/such/program"), "{row}");
    }
}

#[test]
fn a_call_that_seccomp_answers_with_sigsys_is_a_row_with_enosys() {
    needs!("exec");
    let (signal, number) = (libc::SIGSYS.to_string(), libc::SYS_execve.to_string());
    let (outcome, report, _) = traced(&format!(
        "dies-of {signal} answer {number} {} ; exec-fails execve /no/such/program zero",
        libc::SECCOMP_RET_TRAP
    ));
    is_answered(&outcome, report.note("child"), 1, "ENOSYS");
}

#[test]
fn calls_that_a_supervisor_answers_are_rows_with_its_error() {
    needs!("exec");
    let (number, errno) = (libc::SYS_execve.to_string(), libc::EDQUOT.to_string());
    let (outcome, report, workload) = traced(&format!(
        "supervised {number} {errno} 3 exec-fails-times 3 execve /no/such/program zero"
    ));
    assert_eq!(report.note("result"), json!(-libc::EDQUOT));
    is_answered(&outcome, json!(workload.pid()), 3, "EDQUOT");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_that_a_tracer_emulates_are_rows_with_its_error() {
    needs!("exec");
    let errno = libc::EROFS.to_string();
    let (outcome, report, _) = traced(&format!(
        "emulated 3 {errno} exec-fails-times 3 execve /no/such/program zero"
    ));
    is_answered(&outcome, report.note("child"), 3, "EROFS");
}
