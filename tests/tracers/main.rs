//! Each tracer against workloads whose truth is known: it happens, it is filtered, it fails, and its edges.
//!
//! `conformance` tests the behaviour that all tracers share, from an entry in each tracer's file. The rest of a file is the tracer's own.
//!
//! A module `here` tests code that is the same on every kernel: selection, options, storms, ends. The test kernels leave it out.
//! `open` has its selection outside of it, for all tracers.
//!
//! The claims about a run as such (its bounds, its books under a storm, its end) are in `tests/run`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod conformance;
mod exec;
mod malloc;
mod oom_kill;
mod open;
mod page_fault;
mod rss;
mod syscall_count;
mod tcp_connect;
mod tcp_drop;
mod tcp_life;
mod tcp_retransmit;

use serde_json::json;
use std::ffi::{OsStr, OsString};
use tests::{Report, Wanted, Workload, cgroup_of};

/// Columns that are wanted, and their values.
type Columns = Vec<(&'static str, Wanted)>;

/// Who did it, as rows say it.
#[derive(Clone, Debug)]
struct Who {
    pid: u32,
    tid: u32,
    ns_pid: u32,
    uid: u32,
    gid: u32,
    comm: &'static str,
    cgroup: u64,
}

impl Who {
    /// The first thread of a process of root's in this test's own cgroup.
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

/// The wall clock's time of something that happened while a workload ran. Clocks are compared, so 20 ms are granted.
fn during(report: &Report) -> Wanted {
    let (began, ended) = report.realtime_ns;
    Wanted::Within(began - 20_000_000, ended + 20_000_000)
}

/// A duration of something that happened while a workload ran: more than nothing.
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
