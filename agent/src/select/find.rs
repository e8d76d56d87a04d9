//! Cgroups: where they are, and whose they are by their names.

use crate::Error;
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Deepest cgroup that the kernel side looks for: `DEPTHS` there.
pub(super) const MAX_DEPTH: u32 = 24;

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
pub(super) fn cgroup(root: &Path, path: &Path) -> Result<(u64, u32), Error> {
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
pub(super) fn container(id: &str) -> Result<(u64, u32), Error> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
    if id.len() < 4 || !id.chars().all(fine) {
        return Err(Error::BadContainerId(id.to_owned()));
    }
    let root = cgroup2_root()?;
    let found = directories(&root, |name| {
        container_id(name).map(|whole| whole.starts_with(id))
    });
    match found.as_slice() {
        [] => Err(Error::NoContainer(id.to_owned())),
        [one] => cgroup(&root, one),
        several => Err(Error::AmbiguousContainer {
            id: id.to_owned(),
            count: several.len(),
        }),
    }
}

/// Directories below the cgroup mount that are meant. `meant` says no by `Some(false)`, and nothing for one that is to be looked into.
fn directories(root: &Path, meant: impl Fn(&str) -> Option<bool>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_owned()];
    let mut seen = 0;
    while let Some(dir) = pending.pop() {
        // A directory may vanish while we walk.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            seen += 1;
            if seen > MAX_DIRECTORIES {
                return found;
            }
            match entry.file_name().to_str().and_then(&meant) {
                Some(true) => found.push(entry.path()),
                Some(false) => {}
                None => pending.push(entry.path()),
            }
        }
    }
    found
}

/// Bytes of a pod's uid.
pub(super) const POD_UID: usize = 36;

/// A pod's uid as the kernel side compares it.
pub(super) fn pod_uid(uid: &str) -> Result<[u8; POD_UID], Error> {
    let bad = || Error::BadPodUid(uid.to_owned());
    let fine = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    let bytes: [u8; POD_UID] = uid.as_bytes().try_into().map_err(|_| bad())?;
    match bytes.iter().copied().all(fine) {
        true => Ok(bytes),
        false => Err(bad()),
    }
}

/// The uid in the name of a pod's directory: `select_pod` of `agent-ebpf/src/select.rs` reads it alike.
fn pod_of(name: &str) -> Option<String> {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let uid = name.get(name.len().checked_sub(POD_UID)?..)?;
    Some(uid.replace('_', "-"))
}

/// The cgroup of a pod, where it exists already.
pub(super) fn pod(uid: &str) -> Result<Option<(u64, u32)>, Error> {
    let root = cgroup2_root()?;
    let found = directories(&root, |name| {
        // A container's directory is below its pod's; looking into it is in vain.
        match pod_of(name) {
            Some(found) if found == uid => Some(true),
            _ => container_id(name).map(|_| false),
        }
    });
    match found.first() {
        Some(path) => cgroup(&root, path).map(Some),
        None => Ok(None),
    }
}

/// The depths at which pods' cgroups are made here: one and two below the kubelet's own, `kubepods` or `kubepods.slice`.
/// Where there is no kubelet yet, where it puts them by default and in a container of its own.
pub(super) fn pod_depths() -> Result<Vec<u32>, Error> {
    let root = cgroup2_root()?;
    let kubelets = directories(&root, |name| {
        let name = name.strip_suffix(".slice").unwrap_or(name);
        match name.ends_with("kubepods") {
            true => Some(true),
            false => container_id(name).map(|_| false),
        }
    });
    let mut depths: Vec<u32> = kubelets
        .iter()
        .filter_map(|path| path.strip_prefix(&root).ok())
        .map(|below| below.components().count() as u32)
        .flat_map(|depth| [depth + 1, depth + 2])
        .collect();
    if depths.is_empty() {
        depths.extend(1..=6);
    }
    Ok(depths)
}

/// The container id in the name of a cgroup directory: at least 32 hexadecimal digits.
fn container_id(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = name.rsplit('-').next()?;
    let is_id = id.len() >= 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then_some(id)
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
    fn a_pod_is_found_by_both_of_the_kubelets_ways_to_name_its_directory() {
        let uid = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0";
        for name in [
            format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_")),
            format!("kubepods-pod{}.slice", uid.replace('-', "_")),
            format!("pod{uid}"),
        ] {
            assert_eq!(pod_of(&name).as_deref(), Some(uid), "{name}");
        }
        assert_eq!(pod_of("kubepods.slice"), None);
        // 36 bytes from the end of this lie amid a character.
        assert_eq!(pod_of(&format!("é{}", "a".repeat(35))), None);
    }

    #[test]
    fn a_hostile_pod_uid_is_refused() {
        for uid in [
            "",
            "../..",
            &"a".repeat(37),
            &"/".repeat(36),
            &"é".repeat(18),
        ] {
            assert!(matches!(pod_uid(uid), Err(Error::BadPodUid(_))), "{uid:?}");
        }
    }
}
