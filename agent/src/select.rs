//! Targets become what the kernel side selects by: process numbers and cgroup ids.

use crate::{Error, Target};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What the kernel side selects by; the constants of `agent-ebpf/src/select.rs`.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    pub(crate) processes: Vec<u32>,
    /// Id and depth below the root of the hierarchy.
    pub(crate) cgroups: Vec<(u64, u32)>,
    pub(crate) host: bool,
    pub(crate) command: Option<Vec<std::ffi::OsString>>,
}

/// Deepest cgroup that the kernel side looks for: `DEPTHS` there.
const MAX_DEPTH: u32 = 24;
/// Room in the kernel's map `CGROUPS`.
pub(crate) const MAX_CGROUPS: u32 = 1024;

/// The numbers that `agent-ebpf/src/select.rs` gives them.
const BY_PROCESS: u32 = 1;
const BY_CGROUP: u32 = 2;
const BY_HOST: u32 = 4;

impl Selection {
    pub(crate) fn resolve(targets: &[Target]) -> Result<Self, Error> {
        if targets.is_empty() {
            return Err(Error::NothingSelected);
        }
        let mut selection = Self::default();
        for target in targets {
            match target {
                Target::Process(pid) => {
                    in_host_pid_namespace()?;
                    match process_of(*pid).ok_or(Error::NoProcess(*pid))? {
                        process if process == *pid => {}
                        process => {
                            return Err(Error::Thread {
                                thread: *pid,
                                process,
                            });
                        }
                    }
                    selection.processes.push(*pid);
                }
                Target::Cgroup(path) => {
                    let root = cgroup2_root()?;
                    selection.cgroups.push(cgroup(&root, &root.join(path))?);
                }
                Target::Container(id) => selection.cgroups.push(container(id)?),
                Target::Command(argv) => {
                    in_host_pid_namespace()?;
                    selection.command = Some(argv.clone());
                }
                Target::Host => selection.host = true,
            }
        }
        match selection.cgroups.len() {
            n if n > MAX_CGROUPS as usize => Err(Error::TooManyTargets(MAX_CGROUPS)),
            _ => Ok(selection),
        }
    }

    /// The value of the global `SELECT`.
    pub(crate) fn by(&self) -> u32 {
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        bit(self.by_process(), BY_PROCESS)
            | bit(!self.cgroups.is_empty(), BY_CGROUP)
            | bit(self.host, BY_HOST)
    }

    pub(crate) fn by_process(&self) -> bool {
        !self.processes.is_empty() || self.command.is_some()
    }

    /// The value of the global `CGROUP_DEPTHS`.
    pub(crate) fn depths(&self) -> u32 {
        self.cgroups
            .iter()
            .fold(0, |bits, (_, depth)| bits | 1 << depth)
    }
}

/// The kernel side knows processes by the host's numbers.
fn in_host_pid_namespace() -> Result<(), Error> {
    // PROC_PID_INIT_INO, include/linux/proc_ns.h.
    match fs::metadata("/proc/self/ns/pid") {
        Ok(ns) if ns.ino() != 0xefff_fffc => Err(Error::PidNamespace),
        _ => Ok(()),
    }
}

/// Where cgroup v2 is mounted.
pub(crate) fn cgroup2_root() -> Result<PathBuf, Error> {
    fs::read_to_string("/proc/self/mountinfo")
        .ok()
        .and_then(|mounts| mounts.lines().find_map(cgroup2_mount))
        .ok_or(Error::NoCgroup2)
}

/// The mount point of a line of mountinfo where it is a whole cgroup v2 hierarchy; proc_pid_mountinfo(5).
fn cgroup2_mount(line: &str) -> Option<PathBuf> {
    let (mount, rest) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    (rest.starts_with("cgroup2 ") && root == "/")
        .then(|| PathBuf::from(point.replace("\\040", " ")))
}

/// Id and depth of a cgroup directory.
fn cgroup(root: &Path, path: &Path) -> Result<(u64, u32), Error> {
    let no_cgroup = |source| Error::NoCgroup {
        path: path.to_owned(),
        source,
    };
    let path = path.canonicalize().map_err(no_cgroup)?;
    let depth = match path.strip_prefix(root) {
        Ok(below) if path.join("cgroup.procs").exists() => below.components().count() as u32,
        _ => {
            let message = format!("it is not a cgroup below {}", root.display());
            return Err(no_cgroup(io::Error::new(
                io::ErrorKind::InvalidInput,
                message,
            )));
        }
    };
    if depth > MAX_DEPTH {
        let message = format!("it lies {depth} levels deep, and {MAX_DEPTH} are the most");
        return Err(no_cgroup(io::Error::new(
            io::ErrorKind::InvalidInput,
            message,
        )));
    }
    // A cgroup's id is its directory's inode number: kernfs, since 5.5.
    let id = fs::metadata(&path).map_err(no_cgroup)?.ino();
    Ok((id, depth))
}

/// Most directories that are looked at for a container.
const MAX_DIRECTORIES: usize = 100_000;

/// The cgroup of the container whose id begins so. Every runtime gives a container a directory with its whole id in the name:
/// `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, or just `ID`.
fn container(id: &str) -> Result<(u64, u32), Error> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
    if id.len() < 4 || !id.chars().all(fine) {
        return Err(Error::BadContainerId(id.to_owned()));
    }
    let root = cgroup2_root()?;
    let mut found = Vec::new();
    let mut pending = vec![root.clone()];
    let mut seen = 0;
    while let Some(dir) = pending.pop() {
        // A directory may vanish while we walk.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            seen += 1;
            if seen > MAX_DIRECTORIES {
                break;
            }
            match entry.file_name().to_str().and_then(container_id) {
                Some(whole) if whole.starts_with(id) => found.push(entry.path()),
                _ => pending.push(entry.path()),
            }
        }
    }
    match found.as_slice() {
        [] => Err(Error::NoContainer(id.to_owned())),
        [one] => cgroup(&root, one),
        several => Err(Error::AmbiguousContainer {
            id: id.to_owned(),
            count: several.len(),
        }),
    }
}

/// The container id in the name of a cgroup directory: at least 32 hexadecimal digits.
fn container_id(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = name.rsplit('-').next()?;
    let is_id = id.len() >= 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then_some(id)
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
fn process_of(pid: u32) -> Option<u32> {
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
    // The state follows the name, which may hold anything but ends with the last parenthesis: proc_pid_stat(5).
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    matches!(state, Some('Z' | 'X')) && threads <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runtime_has_its_id_found_in_the_directory_name() {
        let id = "3f2a".repeat(16);
        for name in [
            format!("docker-{id}.scope"),
            format!("cri-containerd-{id}.scope"),
            format!("crio-{id}.scope"),
            id.clone(),
        ] {
            assert_eq!(container_id(&name), Some(id.as_str()), "{name}");
        }
        assert_eq!(container_id("user-1000.slice"), None);
        assert_eq!(container_id("cafe"), None);
    }

    #[test]
    fn only_a_whole_cgroup2_hierarchy_counts_as_its_mount() {
        let line = "30 23 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(cgroup2_mount(line), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(
            cgroup2_mount(&line.replace("cgroup2 cgroup2", "cgroup cgroup")),
            None
        );
        assert_eq!(cgroup2_mount(&line.replace(" / /sys", " /pod /sys")), None);
    }

    #[test]
    fn a_hostile_container_id_is_refused() {
        for id in ["", "ab", "../../..", "a b c d", "abcd\x1b[2J", "abcd/ef"] {
            assert!(
                matches!(container(id), Err(Error::BadContainerId(_))),
                "{id:?}"
            );
        }
    }

    #[test]
    fn nothing_selected_is_an_error_and_not_everything() {
        assert!(matches!(
            Selection::resolve(&[]),
            Err(Error::NothingSelected)
        ));
    }
}
