//! Processes: their existence, start times and descendants.

use crate::Error;
use std::{collections::HashSet, fs, os::unix::fs::MetadataExt, path::Path};

/// Returns whether a process is in the machine's own PID namespace; `None` if this is not permitted to read.
fn is_in_first_namespace(process: &Path) -> Option<bool> {
    /// PROC_PID_INIT_INO, include/linux/proc_ns.h.
    const FIRST: u64 = 0xefff_fffc;
    let namespace = fs::metadata(process.join("ns/pid")).ok()?;
    Some(namespace.ino() == FIRST)
}

/// Checks that PIDs here are those of the kernel side: the machine's own PID namespace.
pub(crate) fn in_host_pid_namespace() -> Result<(), Error> {
    match is_in_first_namespace("/proc/self".as_ref()) {
        Some(false) => Err(Error::PidNamespace),
        _ => Ok(()),
    }
}

/// Returns whether PIDs in this /proc are those of the kernel side: not in a container, nor on a node that is a container.
pub(crate) fn has_the_kernels_numbers(proc: &Path) -> bool {
    // In a container's /proc, `self` has no target for us, and process 1 is the container's own.
    ["self", "1"]
        .iter()
        .any(|process| is_in_first_namespace(&proc.join(process)) == Some(true))
}

/// Returns all descendants of a process, by the kernel's lists of children. The fork hook selects children that start at the same time.
pub(crate) fn descendants(pid: u32) -> HashSet<u32> {
    let mut found = HashSet::new();
    let mut pending = vec![pid];
    while let Some(pid) = pending.pop() {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|n| n.parse().ok()) {
                if found.insert(child) {
                    pending.push(child);
                }
            }
        }
    }
    found
}

/// Returns the process of a thread or process; `None` if it does not exist.
pub(super) fn process_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
}

/// Returns the parent of a process and its flags, the fourth and the ninth field of its stat: proc_pid_stat(5).
fn parent_and_flags(pid: u32) -> Option<(u32, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    Some((parent, fields.nth(9 - 5)?.parse().ok()?))
}

/// Returns whether a process is a kernel thread, or was started by the kernel itself like the first process.
pub(super) fn is_of_the_kernel(pid: u32) -> bool {
    /// PF_KTHREAD, include/linux/sched.h.
    const KERNEL_THREAD: u32 = 0x0020_0000;
    parent_and_flags(pid).is_some_and(|(parent, flags)| parent == 0 || flags & KERNEL_THREAD != 0)
}

/// Returns whether this process is the given one or one of its descendants.
pub(super) fn holds_this_one(pid: u32) -> bool {
    let parent = |pid: &u32| parent_and_flags(*pid).map(|(parent, _)| parent);
    let mut up = std::iter::successors(Some(std::process::id()), parent);
    up.any(|one| one == pid)
}

/// State of the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    /// In the kernel's `do_exit`, before or after the exit hook: the order is unknown here.
    Ending,
    /// All threads have ended; reaped or not.
    Gone,
}

impl Life {
    pub(crate) fn of(pid: u32) -> Self {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        tasks
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("stat")).ok())
            .map(|stat| life_in(&stat))
            .min_by_key(|life| *life as u8)
            .unwrap_or(Self::Gone)
    }
}

/// Returns the state of a thread's life, by its state and flags, the third and the ninth field of its stat. They follow the name, which may
/// contain any characters and ends with the last parenthesis: proc_pid_stat(5).
pub(crate) fn life_in(stat: &str) -> Life {
    /// PF_EXITING, include/linux/sched.h: set before `sched_process_exit`.
    const EXITING: u32 = 4;
    let mut fields = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace();
    let state = fields.next();
    let flags = fields
        .nth(9 - 4)
        .and_then(|field| field.parse::<u32>().ok());
    match (state, flags) {
        (Some("Z" | "X"), _) => Life::Gone,
        (_, Some(flags)) if flags & EXITING != 0 => Life::Ending,
        _ => Life::Running,
    }
}

/// Returns the start time of a process in clock ticks since boot: the 22nd field of its stat, proc_pid_stat(5).
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
    fn a_process_that_runs_ends_and_is_reaped_is_told_apart() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        assert_eq!(Life::of(child.id()), Life::Running);
        child.kill().unwrap();
        // It may take a while to end, and is a zombie then.
        while Life::of(child.id()) != Life::Gone {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(Life::of(child.id()), Life::Gone);
    }

    #[test]
    fn who_has_begun_to_exit_is_neither_running_nor_gone() {
        let stat =
            |state: char, flags: u32| format!("7 (a) R (b) {state} 1 7 7 0 -1 {flags} 0 0 0");
        assert_eq!(life_in(&stat('R', 0x0040_0000)), Life::Running);
        assert_eq!(life_in(&stat('R', 0x0040_0004)), Life::Ending);
        assert_eq!(life_in(&stat('Z', 0x0040_000c)), Life::Gone);
        for nothing in ["", ")", "7 (a", "7 (a) R"] {
            assert_eq!(life_in(nothing), Life::Running, "{nothing:?}");
        }
    }

    #[test]
    fn what_is_no_proc_of_the_first_namespace_has_other_numbers() {
        let first = in_host_pid_namespace().is_ok();
        assert_eq!(has_the_kernels_numbers("/proc".as_ref()), first);
        assert!(!has_the_kernels_numbers("/sys".as_ref()));
    }

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
