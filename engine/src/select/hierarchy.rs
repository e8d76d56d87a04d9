//! Hierarchies of cgroups: version 2, or one of version 1 if the targets are in it. A trace selects by one hierarchy.

use crate::Error;
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// A mounted hierarchy, from its root or from the root of a cgroup namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Mount point.
    pub(crate) root: PathBuf,
    /// Number of the hierarchy in the kernel; that of version 2 is 0.
    pub(crate) number: u32,
    /// The constant of `enum cgroup_subsys_id` of one of its controllers; `None` for version 2, which has all of them.
    pub(crate) subsystem: Option<&'static str>,
    /// Id of the cgroup at `root`, if this is the root of a cgroup namespace and not of the hierarchy: on a node that is a container.
    pub(crate) namespace: Option<u64>,
}

/// Controllers of version 1 that every runtime uses for a container's cgroup, in the order of the search.
const CONTROLLERS: [(&str, &str); 5] = [
    ("memory", "memory_cgrp_id"),
    ("pids", "pids_cgrp_id"),
    ("devices", "devices_cgrp_id"),
    ("freezer", "freezer_cgrp_id"),
    ("cpu", "cpu_cgrp_id"),
];

/// Returns the mounted hierarchies, version 2 first. One of version 1 is enough: a container has the same cgroups in all.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>, Error> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let numbers = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let found = read(&mounts, &numbers, root_id);
    match found.is_empty() {
        true => Err(Error::NoCgroups),
        false => Ok(found),
    }
}

/// The inode of the root of every hierarchy: cgroup_setup_root in kernel/cgroup/cgroup.c warns about any other (Linux 5.10 to 7).
const ROOT: u64 = 1;

/// Returns the id of the cgroup at a mount point; `None` if something else is mounted over it.
fn root_id(point: &Path) -> Option<u64> {
    let data = fs::metadata(point).ok()?;
    point.join("cgroup.procs").exists().then(|| data.ino())
}

fn read(mounts: &str, numbers: &str, root_id: impl Fn(&Path) -> Option<u64>) -> Vec<Hierarchy> {
    // The whole hierarchy; else the most of it that is mounted.
    let find = |of: &dyn Fn(&str) -> Option<Mount>| {
        let mut points: Vec<(Mount, u64)> = Vec::new();
        for mount in mounts.lines().filter_map(of) {
            // A later mount at the same point hides the earlier one.
            points.retain(|(other, _)| other.point != mount.point);
            if let Some(id) = root_id(&mount.point) {
                points.push((mount, id));
            }
        }
        let first = points
            .iter()
            .map(|(mount, id)| (*id == ROOT, mount.above))
            .max()?;
        let is_first = |(mount, id): &(Mount, u64)| (*id == ROOT, mount.above) == first;
        let (mount, id) = points.into_iter().find(is_first)?;
        Some((mount.point, (id != ROOT).then_some(id)))
    };
    let second = find(&cgroup2_mount).map(|(root, namespace)| Hierarchy {
        root,
        number: 0,
        subsystem: None,
        namespace,
    });
    let first = CONTROLLERS.iter().find_map(|(controller, subsystem)| {
        let (root, namespace) = find(&|line| cgroup1_mount(line, controller))?;
        Some(Hierarchy {
            root,
            number: numbers.lines().find_map(|line| number(line, controller))?,
            subsystem: Some(subsystem),
            namespace,
        })
    });
    second.into_iter().chain(first).collect()
}

/// A mounted hierarchy.
#[derive(Debug)]
pub(crate) struct Mount {
    point: PathBuf,
    /// Levels of its root above the root of our own cgroup namespace.
    above: usize,
}

/// Returns the mount of a line of mountinfo, if it may be the visible hierarchy of cgroup v2; proc_pid_mountinfo(5).
pub(crate) fn cgroup2_mount(line: &str) -> Option<Mount> {
    let (mount, rest) = whole(line)?;
    rest.starts_with("cgroup2 ").then_some(mount)
}

/// Returns the same for version 1 with a controller, which is among the options of its file system.
fn cgroup1_mount(line: &str, controller: &str) -> Option<Mount> {
    let (mount, rest) = whole(line)?;
    let options = rest.strip_prefix("cgroup ")?.rsplit(' ').next()?;
    options
        .split(',')
        .any(|option| option == controller)
        .then_some(mount)
}

/// Returns a mount and the rest of its line, if its root is not below the root of our cgroup namespace.
/// In a cgroup namespace, levels above its root are `/..`, also in the host's hierarchy in a container; cgroup_namespaces(7).
fn whole(line: &str) -> Option<(Mount, &str)> {
    let (mount, rest) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let parts = root.split('/').filter(|part| !part.is_empty());
    let above = parts.clone().count();
    let point = PathBuf::from(point.replace("\\040", " "));
    parts
        .into_iter()
        .all(|part| part == "..")
        .then_some((Mount { point, above }, rest))
}

/// `4:memory:/path` of /proc/PID/cgroup, cgroups(7).
fn number(line: &str, controller: &str) -> Option<u32> {
    let mut fields = line.splitn(3, ':');
    let number = fields.next()?.parse().ok()?;
    let mut controllers = fields.next()?.split(',');
    controllers.any(|one| one == controller).then_some(number)
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
        let [second, first] = &read(MOUNTS, NUMBERS, |_| Some(ROOT))[..] else {
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
        let found = read(cpu_only, NUMBERS, |_| Some(ROOT));
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].number, found[0].subsystem),
            (1, Some("cpu_cgrp_id"))
        );
        assert_eq!(read("", "", |_| Some(ROOT)), []);
    }

    #[test]
    fn a_container_finds_the_hosts_hierarchy_and_not_its_own() {
        let own = "50 40 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw";
        let hosts = "51 40 0:26 /../../../.. /host/cgroup ro - cgroup2 cgroup2 rw";
        let above = "52 40 0:26 /../.. /host/kubepods ro - cgroup2 cgroup2 rw";
        let id = |point: &Path| {
            Some(if point == Path::new("/host/cgroup") {
                ROOT
            } else {
                7
            })
        };
        let found = read(&[own, above, hosts].join("\n"), NUMBERS, id);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].root, Path::new("/host/cgroup"));
        assert_eq!(found[0].namespace, None);
    }

    #[test]
    fn on_a_node_that_is_a_container_the_most_that_can_be_seen_is_the_hierarchy() {
        let own = "50 40 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw";
        let nodes = "51 40 0:26 /../../.. /host/cgroup ro - cgroup2 cgroup2 rw";
        let id = |point: &Path| {
            Some(if point == Path::new("/host/cgroup") {
                42
            } else {
                77
            })
        };
        let seen = |mounts: &[&str]| {
            let found = read(&mounts.join("\n"), NUMBERS, id).remove(0);
            (found.root, found.namespace)
        };
        assert_eq!(seen(&[own, nodes]), ("/host/cgroup".into(), Some(42)));
        assert_eq!(seen(&[nodes, own]), ("/host/cgroup".into(), Some(42)));
        assert_eq!(seen(&[own]), ("/sys/fs/cgroup".into(), Some(77)));
        // Its own one lies over the one that it was started with.
        let hidden = own.replace("0:26 / ", "0:26 /../.. ");
        assert_eq!(seen(&[&hidden, own]), ("/sys/fs/cgroup".into(), Some(77)));
        // Under something that is no cgroup there is none.
        assert_eq!(read(own, NUMBERS, |_| None), []);
    }

    #[test]
    fn a_part_of_a_cgroup2_hierarchy_is_not_its_mount() {
        let line = "30 23 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw";
        let mount = cgroup2_mount(line).unwrap();
        assert_eq!(mount.point, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(mount.above, 0);
        assert!(cgroup2_mount(&line.replace("cgroup2 cgroup2", "cgroup cgroup")).is_none());
        assert!(cgroup2_mount(&line.replace(" / /sys", " /pod /sys")).is_none());
    }
}
