//! Looks for targets in each hierarchy of cgroups.

use super::{
    find::{Cgroups, Levels, Place},
    hierarchy::{Hierarchy, hierarchies},
};
use crate::Error;

/// The cgroups of each hierarchy, read where they have not been yet.
#[derive(Default)]
pub(super) struct Walks(Vec<(Hierarchy, Cgroups)>);

impl Walks {
    /// What is found in the first hierarchy where it is; of all, or of the only one that may be.
    pub(super) fn first<T>(
        &mut self,
        only: Option<&Hierarchy>,
        find: impl Fn(&Cgroups) -> Result<T, Error>,
    ) -> Result<(Hierarchy, T), Error> {
        let all = match only {
            Some(only) => vec![only.clone()],
            None => hierarchies()?,
        };
        let mut outcome = Err(Error::NoCgroups);
        for hierarchy in all {
            let known = self.0.iter().position(|(known, _)| *known == hierarchy);
            let at = known.unwrap_or_else(|| {
                self.0.push((hierarchy.clone(), Cgroups::read(&hierarchy)));
                self.0.len() - 1
            });
            match find(&self.0[at].1) {
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

    /// A pod's cgroups, and where further ones would be made: in the hierarchy where it is; else where a kubelet would make it; else in the
    /// first one.
    pub(super) fn pod(
        &mut self,
        fixed: Option<&Hierarchy>,
        uid: &str,
    ) -> Result<(Hierarchy, (Levels, Vec<Place>)), Error> {
        let not_here = || Err(Error::NoContainer(uid.to_owned()));
        let there = |cgroups: &Cgroups| match cgroups.pod(uid)? {
            places if places.is_empty() => not_here(),
            places => Ok((cgroups.levels, places)),
        };
        let by_a_kubelet = |cgroups: &Cgroups| match cgroups.has_kubelet {
            false => not_here(),
            true => Ok((cgroups.levels, Vec::new())),
        };
        // Without a kubelet below it, the root of a cgroup namespace is that of a container, in which no pod will ever be.
        let anywhere = |cgroups: &Cgroups| match cgroups.is_of_a_namespace {
            true => not_here(),
            false => Ok((cgroups.levels, Vec::new())),
        };
        self.first(fixed, there)
            .or_else(|_| self.first(fixed, by_a_kubelet))
            .or_else(|_| self.first(fixed, anywhere))
    }
}
