//! What a target is here, and whether the bounds of a trace allow that: cgroups are told by their inodes and by the directories that
//! they really lie in, processes by what the kernel says of them, and never by how a request spells them.

use super::{entry::Found, find::Place, hierarchy::Hierarchy, process, walks::Walks};
use crate::{Bounds, Error, Target, Whom};
use std::path::Path;

/// The line of the configuration that allows everything on the node.
const HOST: &str = "policy.host";

/// Whose a cgroup or a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owner {
    /// The uid of its pod.
    pub(super) pod: Option<String>,
    /// Whether it lies below the kubelet's own cgroup, where all pods are.
    pub(super) is_kubelets: bool,
}

impl Owner {
    /// The owner of a cgroup, by the names of the directories from the hierarchy's root down to it. The outermost pod or container counts:
    /// what is made inside of one may have any name.
    pub(super) fn of(below: &Path) -> Self {
        use super::find::{container_id, is_kubelets, pod_beside, pod_named};
        let mut owner = Self::default();
        for part in below.components() {
            let Some(name) = part.as_os_str().to_str() else {
                continue;
            };
            owner.pod = pod_beside(name).or_else(|| pod_named(name));
            if owner.pod.is_some() || container_id(name).is_some() {
                break;
            }
            owner.is_kubelets |= is_kubelets(name);
        }
        owner
    }

    /// The owner of a process: that of the first of its cgroups that is a pod's.
    fn of_process(pid: u32) -> Self {
        let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let owners = cgroups
            .lines()
            .filter_map(|line| line.splitn(3, ':').nth(2))
            .map(|path| Self::of(path.as_ref()));
        owners
            .into_iter()
            .find(|owner| owner.pod.is_some())
            .unwrap_or_default()
    }
}

/// Whether these bounds allow a target, now that it is known what it is.
///
/// # Errors
/// [`Error::Denied`] with the line of the policy.
pub(super) fn check(
    bounds: Bounds,
    target: &Target,
    found: &Found,
    hierarchy: Option<&Hierarchy>,
    walks: &mut Walks,
) -> Result<(), Error> {
    let owner = match found {
        Found::Host | Found::Command(_) => return Ok(()),
        Found::Pod(..) => Owner {
            pod: Some(String::new()),
            is_kubelets: true,
        },
        Found::Cgroup(place) => {
            let root = hierarchy.map_or(Path::new("/"), |hierarchy| &hierarchy.root);
            let owner = Owner::of(place.below(root));
            if let (Whom::Cgroup(_), Some(hierarchy)) = (&target.whom, hierarchy)
                && !bounds.host
            {
                cgroup(&owner, place, hierarchy, walks)?;
            }
            owner
        }
        Found::Process(pid, began) => {
            let owner = Owner::of_process(*pid);
            if !bounds.host {
                self::process(&owner, *pid, walks)?;
            }
            // What was looked at is what is meant.
            if process::began(*pid) != Some(*began) {
                return Err(Error::NoProcess(*pid));
            }
            owner
        }
    };
    let is_in_pod = owner.pod.is_some() || owner.is_kubelets;
    match bounds.needs_namespace && is_in_pod && target.labels.namespace().is_empty() {
        true => Err(Error::Denied {
            line: "policy.deniedNamespaces",
            why: "this node denies the pods of some namespaces, and a target in a pod comes without the label of its namespace".to_owned(),
        }),
        false => Ok(()),
    }
}

/// A cgroup that is no container and no part of a pod must not hold pods, nor this process.
fn cgroup(
    owner: &Owner,
    place: &Place,
    hierarchy: &Hierarchy,
    walks: &mut Walks,
) -> Result<(), Error> {
    let denied = |what: &str| {
        Err(Error::Denied {
            line: HOST,
            why: format!(
                "this node does not allow tracing the whole host, and cgroup {} {what}; select pods, containers, or cgroups of single services",
                place.path().display()
            ),
        })
    };
    if owner.pod.is_some() {
        return Ok(());
    }
    if owner.is_kubelets {
        return denied("is one of those that hold all pods");
    }
    match walks.holders(hierarchy) {
        None => denied("cannot be checked for pods: this host has too many cgroups"),
        Some(holders) => holders.get(&place.id).map_or(Ok(()), |what| denied(what)),
    }
}

/// A process is selected with everything that it ever starts, so one that may start pods is more than a tree of processes.
fn process(owner: &Owner, pid: u32, walks: &mut Walks) -> Result<(), Error> {
    let what = if process::is_of_the_kernel(pid) {
        "is the first one, or one of the kernel's own threads"
    } else if process::holds_this_one(pid) {
        "is this agent, or has started it"
    } else if owner.pod.is_none() && walks.may_have_pods()? {
        "is outside of every pod on a node with a kubelet, where it may start pods"
    } else {
        return Ok(());
    };
    Err(Error::Denied {
        line: HOST,
        why: format!("this node does not allow tracing the whole host, and process {pid} {what}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_pod_or_container_owns_a_cgroup_whatever_is_named_inside() {
        let (uid, other) = (
            "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0",
            "1b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0",
        );
        let id = "3f2a".repeat(16);
        let slice = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
        let owner = |path: &str| Owner::of(Path::new(path));
        let kubepods = "kubepods.slice/kubepods-burstable.slice";
        for inside in ["", "/a", &format!("/cri-containerd-{id}.scope/pod{other}")] {
            let owner = owner(&format!("{kubepods}/{slice}{inside}"));
            assert_eq!(owner.pod.as_deref(), Some(uid), "{inside}");
        }
        assert_eq!(
            owner(&format!("kubepods/pod{uid}/{id}")).pod.as_deref(),
            Some(uid)
        );
        let beside = format!("system.slice/{slice}:cri-containerd:{id}/pod{other}");
        assert_eq!(owner(&beside).pod.as_deref(), Some(uid));
        for above in [
            "kubepods.slice",
            kubepods,
            "kubelet.slice/kubelet-kubepods.slice",
        ] {
            assert!(
                owner(above).is_kubelets && owner(above).pod.is_none(),
                "{above}"
            );
        }
        // A container that is no pod's may call what it makes as it likes.
        let inner = owner(&format!("docker/{id}/kubepods/pod{uid}"));
        assert_eq!(inner, Owner::default());
        assert_eq!(owner("system.slice/ssh.service"), Owner::default());
        assert_eq!(owner(""), Owner::default());
    }
}
