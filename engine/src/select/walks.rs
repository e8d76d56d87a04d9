//! Search for targets in each hierarchy of cgroups.

use super::{
    find::{Cgroups, Place},
    hierarchy::{Hierarchy, hierarchies},
};
use crate::Error;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// The hierarchies of one request, each read once, when it is needed.
#[derive(Default)]
pub(super) struct Walks {
    hierarchies: Option<Vec<Hierarchy>>,
    all: Vec<Walk>,
    /// Number of cgroups, containers and pods that were searched for.
    pub(super) cgroups_seen: u32,
    /// Number of other targets that were searched for.
    pub(super) processes_seen: u32,
}

struct Walk {
    hierarchy: Hierarchy,
    cgroups: Cgroups,
    holders: Option<Option<HashMap<u64, &'static str>>>,
}

impl Walks {
    fn hierarchies(&mut self) -> Result<&[Hierarchy], Error> {
        let known = match self.hierarchies.take() {
            Some(known) => known,
            None => hierarchies()?,
        };
        Ok(self.hierarchies.insert(known))
    }

    fn walk(&mut self, hierarchy: &Hierarchy) -> &mut Walk {
        let known = self
            .all
            .iter()
            .position(|walk| walk.hierarchy == *hierarchy);
        let at = known.unwrap_or_else(|| {
            self.all.push(Walk {
                hierarchy: hierarchy.clone(),
                cgroups: Cgroups::read(hierarchy),
                holders: None,
            });
            self.all.len() - 1
        });
        &mut self.all[at]
    }

    /// Returns the cgroups of a hierarchy.
    pub(super) fn cgroups(&mut self, hierarchy: &Hierarchy) -> &Cgroups {
        &self.walk(hierarchy).cgroups
    }

    /// Returns [`Cgroups::holders`] of a hierarchy.
    pub(super) fn holders(&mut self, hierarchy: &Hierarchy) -> Option<&HashMap<u64, &'static str>> {
        let walk = self.walk(hierarchy);
        let cgroups = &walk.cgroups;
        walk.holders
            .get_or_insert_with(|| cgroups.holders())
            .as_ref()
    }

    /// Returns whether any hierarchy may have pods.
    pub(super) fn may_have_pods(&mut self) -> Result<bool, Error> {
        let all = match self.hierarchies() {
            Ok(all) => all.to_vec(),
            // No hierarchy is mounted: a kubelet needs one.
            Err(Error::NoCgroups) => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(all.iter().any(|one| self.cgroups(one).may_have_pods()))
    }

    /// Returns the hierarchy of a path, and the absolute path; a relative one starts at the first hierarchy.
    pub(super) fn of_path(&mut self, path: &Path) -> Result<(Hierarchy, PathBuf), Error> {
        let all = self.hierarchies()?;
        let inside = all.iter().find(|one| path.starts_with(&one.root));
        // A path outside of all hierarchies gets the error of the first one.
        let one = inside.or(all.first()).ok_or(Error::NoCgroups)?;
        Ok((one.clone(), one.root.join(path)))
    }

    /// Returns the result of the first hierarchy that has one; only that of `only`, if given.
    pub(super) fn first<T>(
        &mut self,
        only: Option<&Hierarchy>,
        find: impl Fn(&Cgroups) -> Result<T, Error>,
    ) -> Result<(Hierarchy, T), Error> {
        let all = match only {
            Some(only) => vec![only.clone()],
            None => self.hierarchies()?.to_vec(),
        };
        let mut outcome = Err(Error::NoCgroups);
        for hierarchy in all {
            match find(self.cgroups(&hierarchy)) {
                Ok(found) => return Ok((hierarchy, found)),
                // Maybe in the next.
                Err(Error::NoContainer(id)) if hierarchy.namespace.is_some() => {
                    outcome = Err(Error::NoContainerInNamespace {
                        id,
                        root: hierarchy.root,
                    });
                }
                Err(error @ Error::NoContainer(_)) => {
                    if !matches!(outcome, Err(Error::NoContainerInNamespace { .. })) {
                        outcome = Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        outcome
    }

    /// Returns a pod's cgroups: in its hierarchy; otherwise in the one where a kubelet would create it; otherwise in the first one.
    pub(super) fn pod(
        &mut self,
        fixed: Option<&Hierarchy>,
        uid: &str,
    ) -> Result<(Hierarchy, Vec<Place>), Error> {
        let not_here = || Err(Error::NoContainer(uid.to_owned()));
        let there = |cgroups: &Cgroups| match cgroups.pod(uid)? {
            places if places.is_empty() => not_here(),
            places => Ok(places),
        };
        let by_a_kubelet = |cgroups: &Cgroups| match cgroups.has_kubelet {
            false => not_here(),
            true => Ok(Vec::new()),
        };
        // The root of a cgroup namespace without a kubelet is that of a container, which never contains pods.
        let anywhere = |cgroups: &Cgroups| match cgroups.is_of_a_namespace {
            true => not_here(),
            false => Ok(Vec::new()),
        };
        self.first(fixed, there)
            .or_else(|_| self.first(fixed, by_a_kubelet))
            .or_else(|_| self.first(fixed, anywhere))
    }
}
