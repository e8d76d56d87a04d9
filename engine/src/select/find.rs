//! Search for cgroups, and the pods and containers that own them, by their names.

use super::{
    hierarchy::Hierarchy,
    names::{Owner, container_id, is_kubelets, pod_beside, pod_named},
};
use crate::Error;
use crate::limits::{MAX_DEPTH, MAX_DIRECTORIES};
use std::{
    collections::HashMap,
    ffi::OsStr,
    fs, io,
    os::unix::fs::{DirEntryExt, MetadataExt},
    path::{Path, PathBuf},
};

/// A cgroup's directory.
#[derive(Clone, Debug)]
pub(super) struct Place {
    path: PathBuf,
    pub(super) id: u64,
    /// Depth below the mounted root.
    pub(super) depth: u32,
    gone: bool,
}

impl Place {
    /// Returns the directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path from this root.
    pub(super) fn below(&self, root: &Path) -> &Path {
        self.path.strip_prefix(root).unwrap_or(&self.path)
    }

    /// Returns whether the cgroup was removed. A later cgroup may have the same name, but never the same id.
    pub(super) fn is_gone(&mut self) -> bool {
        self.gone = self.gone || self.is_missing();
        self.gone
    }

    fn is_missing(&self) -> bool {
        match fs::metadata(&self.path) {
            Ok(data) if data.ino() == self.id => false,
            Ok(_) => !self.has_another_name(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => !self.has_another_name(),
            // Unknown.
            Err(_) => false,
        }
    }

    /// Cgroups of version 1 can be renamed where they are: cgroup1_rename, kernel/cgroup/cgroup-v1.c.
    fn has_another_name(&self) -> bool {
        let beside = self.path.parent().map(fs::read_dir);
        let mut beside = beside.into_iter().flatten().flatten().flatten();
        beside.any(|entry| entry.ino() == self.id)
    }
}

/// Returns the place of a cgroup directory.
pub(super) fn cgroup(root: &Path, path: &Path) -> Result<Place, Error> {
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
    Ok(Place {
        path,
        id,
        depth,
        gone: false,
    })
}

/// The existing cgroups of pods and containers, by one walk.
pub(super) struct Cgroups {
    hierarchy: Hierarchy,
    root: PathBuf,
    /// Whether there are more directories than the limit of the walk.
    is_cut: bool,
    /// The kubelets' own cgroups, which contain all pods.
    kubelets: Vec<PathBuf>,
    /// Containers, with their ids.
    containers: Vec<(String, PathBuf)>,
    /// Pods, with their uids.
    pods: Vec<(String, PathBuf)>,
    /// Containers beside their pods, with the pods' uids.
    beside: Vec<(String, PathBuf)>,
    pub(super) levels: Levels,
    /// Whether there is a kubelet.
    pub(super) has_kubelet: bool,
    /// Whether the walk started at the root of a cgroup namespace.
    pub(super) is_of_a_namespace: bool,
}

/// The depths at which cgroups of pods are created. Cgroups that a container creates are deeper, whatever their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Levels {
    /// Bit n: the kubelet creates pods' cgroups at depth n.
    pub(super) pods: u32,
    /// Bit n: a runtime creates containers' cgroups at depth n, beside those of their pods.
    pub(super) beside: u32,
}

impl Levels {
    /// Possible depths of pods' cgroups if there is no kubelet.
    const ANY_POD: u32 = 0b111_1110;
    /// Possible depths of containers beside their pods if there are none: below the root, or below the runtime's own cgroup.
    const ANY_BESIDE: u32 = 0b110;

    /// Returns the union of both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            pods: self.pods | other.pods,
            beside: self.beside | other.beside,
        }
    }

    /// Returns the value of `POD_LEVELS` of `agent-ebpf/src/select.rs`.
    pub(super) fn bytes(self) -> [u8; 8] {
        let Self { pods, beside } = self;
        (u64::from(beside) << 32 | u64::from(pods)).to_ne_bytes()
    }

    /// Returns every depth of either.
    pub(super) fn all(self) -> impl Iterator<Item = u32> {
        let Self { pods, beside } = self;
        (0..u32::BITS).filter(move |level| (pods | beside) >> level & 1 == 1)
    }
}

impl Cgroups {
    pub(super) fn read(hierarchy: &Hierarchy) -> Self {
        let mut cgroups = Self {
            hierarchy: hierarchy.clone(),
            root: hierarchy.root.clone(),
            is_cut: false,
            kubelets: Vec::new(),
            containers: Vec::new(),
            pods: Vec::new(),
            beside: Vec::new(),
            levels: Levels::default(),
            has_kubelet: false,
            is_of_a_namespace: hierarchy.namespace.is_some(),
        };
        let mut pending = vec![(hierarchy.root.clone(), 1)];
        let mut seen = 0;
        while let Some((dir, depth)) = pending.pop() {
            // A directory may vanish while we walk.
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                seen += 1;
                if seen > MAX_DIRECTORIES {
                    cgroups.is_cut = true;
                    pending.clear();
                    break;
                }
                // Deeper cgroups cannot be selected, and pods are not that deep.
                if cgroups.see(&entry.file_name(), entry.path(), depth) && depth < MAX_DEPTH {
                    pending.push((entry.path(), depth + 1));
                }
            }
        }
        let levels = &mut cgroups.levels;
        cgroups.has_kubelet = *levels != Levels::default();
        if levels.pods == 0 {
            levels.pods = Levels::ANY_POD;
        }
        if levels.beside == 0 {
            levels.beside = Levels::ANY_BESIDE;
        }
        cgroups
    }

    /// Returns whether a directory is walked. A container's is not, because cgroups that it creates may have any name.
    fn see(&mut self, name: &OsStr, path: PathBuf, depth: u32) -> bool {
        let Some(name) = name.to_str() else {
            return true;
        };
        if let Some(id) = container_id(name) {
            if let Some(uid) = pod_beside(name) {
                self.levels.beside |= 1 << depth;
                self.beside.push((uid, path.clone()));
            }
            self.containers.push((id.to_owned(), path));
            return false;
        }
        if is_kubelets(name) {
            // Of guaranteed pods one below; of others two, by their class.
            self.levels.pods |= 0b110 << depth;
            self.kubelets.push(path.clone());
        }
        if let Some(uid) = pod_named(name) {
            self.pods.push((uid, path));
        }
        true
    }

    /// Returns the cgroup of the container with this prefix of its id. Every runtime creates a directory with the full id in its name:
    /// `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `SLICE:cri-containerd:ID`, or just `ID`.
    pub(super) fn container(&self, id: &str) -> Result<Place, Error> {
        let fine = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
        if id.len() < 4 || !id.chars().all(fine) {
            return Err(Error::BadContainerId(id.to_owned()));
        }
        let mut found = self
            .containers
            .iter()
            .filter(|(whole, _)| whole.starts_with(id));
        match (found.next(), found.count()) {
            (None, _) => Err(Error::NoContainer(id.to_owned())),
            (Some((_, one)), 0) => cgroup(&self.root, one),
            (_, others) => Err(Error::AmbiguousContainer {
                id: id.to_owned(),
                count: 1 + others,
            }),
        }
    }

    /// Returns the cgroup of a pod's container, by its full id.
    pub(super) fn container_of(&self, pod: &str, id: &str) -> Result<Place, Error> {
        let is_it = |(whole, path): &&(String, PathBuf)| {
            let below = path.strip_prefix(&self.root).unwrap_or(path);
            whole == id && Owner::of(below).pod.as_deref() == Some(pod)
        };
        match self.containers.iter().find(is_it) {
            Some((_, path)) => cgroup(&self.root, path),
            None => Err(Error::NoContainer(id.to_owned())),
        }
    }

    /// Returns whether there may be pods: there is a kubelet, or the walk reached its limit.
    pub(super) fn may_have_pods(&self) -> bool {
        !self.kubelets.is_empty() || self.is_cut
    }

    /// Returns the cgroups that contain more than a service, by their ids, each with a description; `None` if unknown.
    pub(super) fn holders(&self) -> Option<HashMap<u64, &'static str>> {
        if self.is_cut {
            return None;
        }
        let mut holders = HashMap::new();
        let mut add = |path: &Path, what: &'static str| {
            let up = path.ancestors().take_while(|up| up.starts_with(&self.root));
            for data in up.filter_map(|up| fs::metadata(up).ok()) {
                holders.insert(data.ino(), what);
            }
        };
        if let Some(own) = self.own()? {
            add(&own, "holds this agent");
        }
        for path in &self.kubelets {
            add(path, "holds pods");
        }
        for path in self.beside.iter().filter_map(|(_, path)| path.parent()) {
            add(path, "holds containers of pods");
        }
        add(&self.root, "is the root, which holds everything");
        Some(holders)
    }

    /// Returns the cgroup of this process if it is below the root; the outer `None` if unknown.
    fn own(&self) -> Option<Option<PathBuf>> {
        let me = std::process::id().to_string();
        let has_me = |dir: &Path| {
            let processes = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            processes.lines().any(|pid| pid == me)
        };
        // The path starts at the root of our cgroup namespace, which may be another one.
        let named = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let named = named.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let number: u32 = fields.next()?.parse().ok()?;
            let path = fields.nth(1)?.trim_start_matches('/');
            (number == self.hierarchy.number).then(|| self.root.join(path))
        });
        if let Some(named) = named.filter(|dir| has_me(dir)) {
            return Some(Some(named));
        }
        let mut pending = vec![self.root.clone()];
        let mut seen = 0;
        while let Some(dir) = pending.pop() {
            if has_me(&dir) {
                return Some(Some(dir));
            }
            seen += 1;
            if seen > MAX_DIRECTORIES {
                return None;
            }
            let below = fs::read_dir(&dir).into_iter().flatten().flatten();
            let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            pending.extend(below.map(|entry| entry.path()));
        }
        Some(None)
    }

    /// Returns the existing cgroups of a pod: its own, and those of containers beside it.
    pub(super) fn pod(&self, uid: &str) -> Result<Vec<Place>, Error> {
        let mut places = Vec::new();
        let all = [
            (&self.pods, self.levels.pods),
            (&self.beside, self.levels.beside),
        ];
        for (known, levels) in all {
            for (_, path) in known.iter().filter(|(known, _)| known == uid) {
                match cgroup(&self.root, path) {
                    Ok(place) if levels >> place.depth & 1 == 1 => places.push(place),
                    Ok(_) => {}
                    // Removed since the walk.
                    Err(Error::NoCgroup { source, .. })
                        if source.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Cgroups {
        Cgroups::read(&crate::select::hierarchies().unwrap()[0])
    }

    #[test]
    fn a_hostile_container_id_is_refused() {
        for id in ["", "ab", "../../..", "a b c d", "abcd\x1b[2J", "abcd/ef"] {
            assert!(
                matches!(here().container(id), Err(Error::BadContainerId(_))),
                "{id:?}"
            );
        }
    }
}
