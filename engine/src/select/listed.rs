//! Processes of /proc that may be selected, for the search of their files. The exact decision is made by the kernel side.

use super::{Selection, entry::Found};

impl Selection {
    /// Processes that were selected by PID.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let named = self.entries.values().filter_map(|entry| match entry.found {
            Found::Process(pid, _) => Some(pid),
            _ => None,
        });
        named.collect()
    }

    /// Returns whether a process with this `/proc/PID/cgroup` may be in a selected cgroup.
    ///
    /// In a cgroup namespace, paths start at the namespace's root, and the path of this root is unknown. So a process counts if any part of its
    /// path is the name of a selected cgroup: the names of containers' cgroups are their ids.
    pub(crate) fn may_hold(&self, cgroup: impl FnOnce() -> String) -> bool {
        if self.shape.by_host() {
            return true;
        }
        let places = self.entries.values().flat_map(|entry| match &entry.found {
            Found::Cgroup(place) => std::slice::from_ref(place),
            Found::Pod(_, places) => places,
            Found::Process(..) | Found::Command(_) | Found::Host => &[],
        });
        let mut names = places.map(|place| place.path().file_name().unwrap_or_default());
        let Some(first) = names.next() else {
            return false;
        };
        let cgroup = cgroup();
        let mut names = std::iter::once(first).chain(names);
        names.any(|name| name.to_str().is_none_or(|name| lies_in(&cgroup, name)))
    }
}

/// `4:memory:/path` or `0::/path`, a line for each hierarchy; cgroups(7).
fn lies_in(cgroup: &str, name: &str) -> bool {
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths
        .flat_map(|path| path.split('/'))
        .any(|part| part == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_lie_in_a_cgroup_that_is_a_part_of_its_path() {
        let container = "cri-containerd-3f2a.scope";
        assert!(lies_in(
            "0::/../../pod1.slice/cri-containerd-3f2a.scope/x",
            container
        ));
        assert!(lies_in(
            "4:memory:/cri-containerd-3f2a.scope\n0::/",
            container
        ));
        assert!(!lies_in("0::/cri-containerd-3f2a.scope2\n", container));
        assert!(!lies_in("", container));
    }
}
