//! Names of cgroup directories: the ids of pods and containers in them, as kubelets and container runtimes write them.

use crate::Error;
use std::path::Path;
use tracers::control::{POD_UID, PodUid, STATIC_UID};

/// The pod that a cgroup or a process belongs to.
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
    pub(super) fn of_process(pid: u32) -> Self {
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

/// The kubelet's own cgroup, below which pods are: `kubepods`, `kubepods.slice`, or with its root before it.
pub(super) fn is_kubelets(name: &str) -> bool {
    name.strip_suffix(".slice")
        .unwrap_or(name)
        .ends_with("kubepods")
}

/// What the kubelet puts before a pod's uid.
const POD: &str = "pod";

/// A pod's uid as the kernel side compares it: that of a static pod with zero bytes after it.
pub(crate) fn pod_uid(uid: &str) -> Result<PodUid, Error> {
    let fine = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    let is_uid = uid.len() == POD_UID && uid.bytes().all(fine);
    if !is_uid && !is_static_uid(uid) {
        return Err(Error::BadPodUid(uid.to_owned()));
    }
    let mut bytes = [0; POD_UID];
    bytes[..uid.len()].copy_from_slice(uid.as_bytes());
    Ok(bytes)
}

fn is_static_uid(uid: &str) -> bool {
    let digit = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    uid.len() == STATIC_UID && uid.bytes().all(digit)
}

/// The uid in the name of a pod's directory: `select_pod` of `agent-ebpf/src/select.rs` reads it alike.
pub(crate) fn pod_named(name: &str) -> Option<String> {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let (before, uid) = [POD_UID, STATIC_UID].into_iter().find_map(|bytes| {
        let (before, uid) = name.split_at_checked(name.len().checked_sub(bytes)?)?;
        Some((before.strip_suffix(POD)?, uid.replace('_', "-")))
    })?;
    let is_kubelets = before.is_empty() || before.ends_with('-');
    (is_kubelets && pod_uid(&uid).is_ok()).then_some(uid)
}

/// The uid in the name of a container's directory that lies beside its pod's: containerd by cgroupfs below a kubelet by systemd calls it
/// `kubepods-burstable-podUID.slice:cri-containerd:ID` (getCgroupsPath, internal/cri/server/podsandbox/helpers_linux.go in containerd).
/// `select_pod` of `agent-ebpf/src/select.rs` reads it alike.
pub(crate) fn pod_beside(name: &str) -> Option<String> {
    /// Bytes of an id: 32 random ones in hexadecimal (GenerateID, internal/cri/util/id.go).
    const ID: usize = 64;
    let (pod, id) = name.split_once(":cri-containerd:")?;
    (id.len() == ID && pod.ends_with(".slice"))
        .then(|| pod_named(pod))
        .flatten()
}

/// The container id in the name of a cgroup directory: at least 32 hexadecimal digits, behind the runtime's name, if that is there.
/// `crio-conmon-ID.scope` and `libpod-conmon-ID.scope` have the container's monitor, and not the container.
pub(crate) fn container_id(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let at = name.rfind(['-', ':']).map_or(0, |at| at + 1);
    let (before, id) = name.split_at(at);
    let is_id = id.len() >= 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    (is_id && !before.ends_with("conmon-")).then_some(id)
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
            format!("libpod-{id}.scope"),
            // containerd by cgroupfs below a kubelet by systemd.
            format!(
                "kubepods-burstable-podb4f3dfaf_f987_499d_a04c_2c60eb01958c.slice:cri-containerd:{id}"
            ),
            id.clone(),
        ] {
            assert_eq!(container_id(&name), Some(id.as_str()), "{name}");
        }
        for monitor in [
            format!("crio-conmon-{id}.scope"),
            format!("libpod-conmon-{id}.scope"),
        ] {
            assert_eq!(container_id(&monitor), None, "{monitor}");
        }
        assert_eq!(container_id("user-1000.slice"), None);
        assert_eq!(container_id("cafe"), None);
    }

    #[test]
    fn a_pod_is_found_by_both_of_the_kubelets_ways_to_name_its_directory() {
        let uid = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0";
        for name in [
            format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_")),
            format!("kubepods-pod{}.slice", uid.replace('-', "_")),
            format!("pod{uid}"),
        ] {
            assert_eq!(pod_named(&name).as_deref(), Some(uid), "{name}");
        }
        let hash = "8ba00f37e5a7d26c3b4d5b9f3a6e1c02";
        for name in [
            format!("kubepods-burstable-pod{hash}.slice"),
            format!("kubepods-pod{hash}.slice"),
            format!("pod{hash}"),
        ] {
            assert_eq!(pod_named(&name).as_deref(), Some(hash), "{name}");
        }
        // A container's id, of which the second half might be one.
        assert_ne!(pod_named(&hash.repeat(2)).as_deref(), Some(hash));
        let beside = format!(
            "kubepods-burstable-pod{}.slice:cri-containerd:{}",
            uid.replace('-', "_"),
            "3f2a".repeat(16)
        );
        assert_eq!(pod_beside(&beside).as_deref(), Some(uid));
        assert_eq!(pod_beside(&beside[..beside.len() - 1]), None);
        assert_eq!(pod_beside(&beside.replace(".slice", "")), None);
        assert_eq!(pod_named("kubepods.slice"), None);
        // The end of another cgroup's name is no uid: a class of pods below a root with a long name.
        let class = "some-node-with-a-name-kubelet-kubepods-burstable";
        assert_eq!(pod_named(class), None);
        // 36 bytes from the end of this lie amid a character.
        assert_eq!(pod_named(&format!("é{}", "a".repeat(35))), None);
    }

    #[test]
    fn a_hostile_pod_uid_is_refused() {
        for uid in [
            "",
            "../..",
            &"a".repeat(37),
            &"/".repeat(36),
            &"é".repeat(18),
            &"a".repeat(33),
            &"g".repeat(32),
            &"-".repeat(32),
        ] {
            assert!(matches!(pod_uid(uid), Err(Error::BadPodUid(_))), "{uid:?}");
        }
    }

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
