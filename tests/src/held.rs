//! What a process holds: of BPF in the kernel, and of the machine.

use crate::workload::program;
use serde_json::Value;
use std::{collections::BTreeSet, fs, process::Command};

/// What of BPF there is in the kernel: `prog 12`, `map 7`, `link 3`. The lists that `bpftool` shows, by the same calls.
pub fn in_kernel() -> BTreeSet<String> {
    let output = Command::new(program("workload"))
        .arg("bpf-ids")
        .output()
        .unwrap();
    let lists: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lists = lists.as_object().unwrap();
    let ids = |kind: &str, ids: &Value| {
        let ids = ids.as_array().unwrap().clone();
        ids.into_iter()
            .map(move |id| format!("{kind} {id}"))
            .collect::<Vec<_>>()
    };
    lists
        .iter()
        .flat_map(|(kind, list)| ids(kind, list))
        .collect()
}

/// What of it a process has open, by the same names: /proc/PID/fdinfo.
pub fn held_by(pid: u32) -> BTreeSet<String> {
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let mut held = BTreeSet::new();
    for file in files {
        // A descriptor may be closed meanwhile.
        let text = fs::read_to_string(file.unwrap().path()).unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        // The information of a link has the id of its program too.
        if let Some(id) = field("link_id:") {
            held.insert(format!("link {id}"));
        } else if let Some(id) = field("map_id:") {
            held.insert(format!("map {id}"));
        }
        if let Some(id) = field("prog_id:") {
            held.insert(format!("prog {id}"));
        }
    }
    held
}

/// Memory of a process in RAM, KiB; `None` when it has gone.
pub fn resident(pid: u32) -> Option<i64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// The most memory that a process has had so far, KiB; `None` if it is gone.
pub fn most_resident(pid: u32) -> Option<i64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Open descriptors of a process.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Threads of a process.
pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// How often each thread of that name in a process has gone to sleep so far: `voluntary_ctxt_switches` of proc_pid_status(5).
pub fn sleeps(pid: u32, thread: &str) -> Vec<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status =
        threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).ok());
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    };
    let of_name = status.filter(|status| field(status, "Name:").as_deref() == Some(thread));
    of_name
        .filter_map(|status| field(&status, "voluntary_ctxt_switches:")?.parse().ok())
        .collect()
}
