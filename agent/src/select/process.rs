//! Processes: whether they are there, since when, and whom they have started.

use crate::Error;
use std::{fs, os::unix::fs::MetadataExt};

/// The kernel side knows processes by the host's numbers.
pub(super) fn in_host_pid_namespace() -> Result<(), Error> {
    // PROC_PID_INIT_INO, include/linux/proc_ns.h.
    match fs::metadata("/proc/self/ns/pid") {
        Ok(ns) if ns.ino() != 0xefff_fffc => Err(Error::PidNamespace),
        _ => Ok(()),
    }
}

/// Every process below one in the tree, by the kernel's lists of children. A child that is born meanwhile is the fork hook's.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut pending = vec![pid];
    while let Some(pid) = pending.pop() {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|n| n.parse().ok()) {
                if !found.contains(&child) {
                    found.push(child);
                    pending.push(child);
                }
            }
        }
    }
    found
}

/// The process of a thread, or of a process itself; `None` where there is neither.
pub(super) fn process_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
}

/// Whether a process has ended with all its threads, reaped or not.
pub(crate) fn is_gone(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    matches!(state_in(&stat), Some('Z' | 'X')) && threads <= 1
}

/// The state follows the name, which may hold anything but ends with the last parenthesis: proc_pid_stat(5).
pub(crate) fn state_in(stat: &str) -> Option<char> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.trim_start().chars().next()
}

/// When a process began, in clock ticks since boot: the 22nd field of its stat, proc_pid_stat(5).
pub(super) fn began(pid: u32) -> Option<u64> {
    began_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

pub(crate) fn began_in(stat: &str) -> Option<u64> {
    // The third follows the name, which ends with the last parenthesis.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_begun_before_its_child() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let (me, it) = (began(std::process::id()), began(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(me.unwrap() <= it.unwrap());
        assert_eq!(began(child.id()), None);
    }
}
