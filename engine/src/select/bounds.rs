//! Check of targets against the bounds of a trace. Cgroups are identified by their inodes and real directories, and processes by the kernel's
//! data, never by the text of a request.

use super::{entry::Found, find::Place, hierarchy::Hierarchy, names::Owner, process, walks::Walks};
use crate::{Bounds, Error, Selector, Target};
use std::path::Path;

/// The line of the configuration that allows everything on the node.
const HOST: &str = "policy.host";

/// Checks whether these bounds allow a resolved target.
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
            if let (Selector::Cgroup(_), Some(hierarchy)) = (&target.selector, hierarchy)
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
            // The checked process is still the selected one.
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

/// Checks that a cgroup outside of containers and pods contains neither pods nor this process.
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

/// Checks that a process cannot start pods: a process is selected with all its future descendants.
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
