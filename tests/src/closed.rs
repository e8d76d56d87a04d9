//! Whether a process is closed to others of its user.

use crate::workload::{Workload, program};

/// A process of this user without any capability tries to attach to each thread of `pid` and to open its memory: 0 or error numbers.
pub fn take_over(pid: u32) -> Vec<i64> {
    let program = program("workload");
    let (program, pid) = (program.to_str().unwrap(), pid.to_string());
    let mut attacker =
        Workload::child_behind_gate(&["with-caps", "", program, "gate", ",", "take-over", &pid]);
    let report = attacker.finish();
    let threads = report.note("attached");
    let all = threads.as_array().unwrap().iter().cloned();
    let all = all.chain([report.note("memory")]);
    all.map(|error| error.as_i64().unwrap()).collect()
}

/// The kernel refuses all of that.
///
/// # Panics
/// Where it does not.
pub fn must_be_closed(pid: u32) {
    let tries = take_over(pid);
    assert!(tries.len() > 1, "{tries:?}");
    // EPERM, EACCES: ptrace(2), open(2).
    let refused = tries.iter().all(|error| [1, 13].contains(error));
    assert!(refused, "{tries:?}");
}
