//! Each tracer against workloads with known events: success, failure, options and edge cases.
//!
//! `conformance` tests the behaviour that all tracers share, from an entry in each tracer's file. The rest of a file is the tracer's own.
//!
//! A module `here` tests code that is the same on every kernel: selection, options, storms, ends. The test kernels leave it out.
//! `open` has its selection outside of it, for all tracers.
//!
//! Tests of runs in general (bounds, accounts under a storm, ends) are in `tests/run`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod conformance;
mod cpu_distribution;
mod cpu_profile;
mod exec;
mod interrupts;
mod languages;
mod locks_kernel;
mod locks_user;
mod malloc;
mod off_cpu;
mod off_wake;
mod oom_kill;
mod open;
mod page_fault;
mod rss;
mod run_queue;
mod syscall_count;
mod tcp_connect;
mod tcp_drop;
mod tcp_life;
mod tcp_retransmit;
mod throttle;
mod time_budget;

use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use tests::{Report, Wanted, Workload, cgroup_of};

/// Returns whether a stack of a row has a frame with this in its name.
fn has_frame(row: &Value, column: &str, part: &str) -> bool {
    let frames = row[column].as_array().unwrap().iter();
    frames
        .filter_map(|frame| frame["name"].as_str())
        .any(|name| name.contains(part))
}

/// Columns that are wanted, and their values.
type Columns = Vec<(&'static str, Wanted)>;

/// Values of the columns of a task.
#[derive(Clone, Debug)]
struct Task {
    pid: u32,
    tid: u32,
    ns_pid: u32,
    uid: u32,
    gid: u32,
    comm: &'static str,
    cgroup: u64,
}

impl Task {
    /// Returns the first thread of a process of root in the cgroup of this test.
    fn process(pid: u32) -> Self {
        Self {
            pid,
            tid: pid,
            ns_pid: pid,
            uid: 0,
            gid: 0,
            comm: "workload",
            cgroup: cgroup_of(std::process::id()),
        }
    }

    fn workload(workload: &Workload) -> Self {
        Self::process(workload.pid())
    }

    fn columns(&self) -> Columns {
        let Self {
            pid,
            tid,
            ns_pid,
            uid,
            gid,
            comm,
            cgroup,
        } = self;
        vec![
            ("pid", (*pid).into()),
            ("tid", (*tid).into()),
            ("ns_pid", (*ns_pid).into()),
            ("uid", (*uid).into()),
            ("gid", (*gid).into()),
            ("comm", (*comm).into()),
            ("cgroup", (*cgroup).into()),
        ]
    }
}

/// Wall clock time of an event while a workload ran, with a tolerance of 20 ms, because two clocks are compared.
fn during(report: &Report) -> Wanted {
    let (began, ended) = report.realtime_ns;
    Wanted::Within(began - 20_000_000, ended + 20_000_000)
}

/// Duration of an event while a workload ran: at least 1 ns.
fn at_most(report: &Report) -> Wanted {
    let (began, ended) = report.boottime_ns;
    Wanted::Within(1, ended - began)
}

/// Steps of a workload, where a word is empty, has a blank or is not UTF-8.
fn steps(words: &[&dyn AsRef<OsStr>]) -> Vec<OsString> {
    words.iter().map(|word| word.as_ref().to_owned()).collect()
}

/// The columns of a system call's result.
fn result(value: i64, error: Option<&str>) -> Columns {
    let mut columns = vec![("result", json!(value).into())];
    if let Some(error) = error {
        columns.push(("result_error", error.into()));
    }
    columns
}
