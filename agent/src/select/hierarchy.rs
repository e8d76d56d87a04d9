//! Hierarchies of cgroups: version 2, or one of version 1 where the targets are there. A trace selects by one.

use crate::Error;
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// One that is mounted whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where.
    pub(crate) root: PathBuf,
    /// The kernel's number of it; that of version 2 is 0.
    pub(crate) number: u32,
    /// The constant of `enum cgroup_subsys_id` of a controller that is there; none in version 2, where all are together.
    pub(crate) subsystem: Option<&'static str>,
}

/// Controllers of version 1 that every runtime makes a container's cgroup with, in the order in which they are looked at.
const CONTROLLERS: [(&str, &str); 5] = [
    ("memory", "memory_cgrp_id"),
    ("pids", "pids_cgrp_id"),
    ("devices", "devices_cgrp_id"),
    ("freezer", "freezer_cgrp_id"),
    ("cpu", "cpu_cgrp_id"),
];

/// Those that there are, version 2 first. Of version 1 one is enough: a container's cgroups are alike in all.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>, Error> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let numbers = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let found = read(&mounts, &numbers, is_root);
    match found.is_empty() {
        true => Err(Error::NoCgroups),
        false => Ok(found),
    }
}

/// The inode of the root of every hierarchy: cgroup_setup_root in kernel/cgroup/cgroup.c warns where it is another (Linux 5.10 to 7).
const ROOT: u64 = 1;

/// Whether a folder is the root of a hierarchy, and not what a container may see of it: both are called `/` by whom they belong to.
fn is_root(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|data| data.ino() == ROOT)
}

fn read(mounts: &str, numbers: &str, is_root: impl Fn(&Path) -> bool) -> Vec<Hierarchy> {
    let find = |of: &dyn Fn(&str) -> Option<PathBuf>| {
        let mut points = mounts.lines().filter_map(of);
        points.find(|point| is_root(point))
    };
    let second = find(&cgroup2_mount).map(|root| Hierarchy {
        root,
        number: 0,
        subsystem: None,
    });
    let first = CONTROLLERS.iter().find_map(|(controller, subsystem)| {
        Some(Hierarchy {
            root: find(&|line| cgroup1_mount(line, controller))?,
            number: numbers.lines().find_map(|line| number(line, controller))?,
            subsystem: Some(subsystem),
        })
    });
    second.into_iter().chain(first).collect()
}

/// The mount point of a line of mountinfo where it may be a whole cgroup v2 hierarchy; proc_pid_mountinfo(5).
pub(crate) fn cgroup2_mount(line: &str) -> Option<PathBuf> {
    let (point, rest) = whole(line)?;
    rest.starts_with("cgroup2 ").then_some(point)
}

/// The same of version 1 with a controller, which is among the options of its file system.
fn cgroup1_mount(line: &str, controller: &str) -> Option<PathBuf> {
    let (point, rest) = whole(line)?;
    let options = rest.strip_prefix("cgroup ")?.rsplit(' ').next()?;
    options
        .split(',')
        .any(|option| option == controller)
        .then_some(point)
}

/// Mount point and what follows the fields of it, where all of a file system may be mounted. Who is in a cgroup namespace sees what is
/// above its own root as `/..`: the host's hierarchy in a container too; cgroup_namespaces(7).
fn whole(line: &str) -> Option<(PathBuf, &str)> {
    let (mount, rest) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let mut parts = root.split('/');
    parts
        .all(|part| part.is_empty() || part == "..")
        .then(|| (PathBuf::from(point.replace("\\040", " ")), rest))
}

/// `4:memory:/path` of /proc/PID/cgroup, cgroups(7).
fn number(line: &str, controller: &str) -> Option<u32> {
    let mut fields = line.splitn(3, ':');
    let number = fields.next()?.parse().ok()?;
    let mut controllers = fields.next()?.split(',');
    controllers.any(|one| one == controller).then_some(number)
}

/// The hierarchy in which a path lies; a relative one starts at the first.
pub(crate) fn of_path(path: &Path) -> Result<(Hierarchy, PathBuf), Error> {
    let mut all = hierarchies()?;
    let inside = all.iter().position(|one| path.starts_with(&one.root));
    // Where it is nowhere, the first says so.
    let one = all.swap_remove(inside.unwrap_or(0));
    let whole = one.root.join(path);
    Ok((one, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
    const NUMBERS: &str = "9:name=systemd:/\n4:memory:/a:b\n1:cpu,cpuacct:/\n0::/";

    #[test]
    fn version_2_comes_first_and_one_of_version_1_after_it() {
        let [second, first] = &read(MOUNTS, NUMBERS, |_| true)[..] else {
            panic!("two")
        };
        assert_eq!((second.number, second.subsystem), (0, None));
        assert_eq!(second.root, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!((first.number, first.subsystem), (4, Some("memory_cgrp_id")));
        assert_eq!(first.root, Path::new("/sys/fs/cgroup/memory"));
    }

    #[test]
    fn a_host_of_version_1_alone_has_the_first_controller_that_is_mounted() {
        let cpu_only = MOUNTS.lines().next().unwrap();
        let found = read(cpu_only, NUMBERS, |_| true);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].number, found[0].subsystem),
            (1, Some("cpu_cgrp_id"))
        );
        assert_eq!(read("", "", |_| true), []);
    }

    #[test]
    fn a_container_finds_the_hosts_hierarchy_and_not_its_own() {
        let own = "50 40 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw";
        let hosts = "51 40 0:26 /../../../.. /host/cgroup ro - cgroup2 cgroup2 rw";
        let above = "52 40 0:26 /../.. /host/kubepods ro - cgroup2 cgroup2 rw";
        let found = read(&[own, above, hosts].join("\n"), NUMBERS, |point| {
            point == Path::new("/host/cgroup")
        });
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].root, Path::new("/host/cgroup"));
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
}
