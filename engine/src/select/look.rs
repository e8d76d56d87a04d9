//! Resolution of the targets of a request.

use super::{
    Selection, bounds, entry::Found, find, hierarchy::Hierarchy, names, process, walks::Walks,
};
use crate::limits::{MAX_CGROUPS, MAX_PROCESSES};
use crate::{Error, Selector, Target};

impl Selection {
    /// Resolves a target within the bounds. The cgroups are read once for several targets.
    ///
    /// # Errors
    /// If the target does not exist, exceeds the bounds, or exceeds the maximum number of targets: it is not searched for then.
    pub(super) fn find(&mut self, target: &Target, walks: &mut Walks) -> Result<Found, Error> {
        let (seen, most) = match &target.selector {
            Selector::Cgroup(_)
            | Selector::Container(_)
            | Selector::PodContainer(..)
            | Selector::Pod(_) => (&mut walks.cgroups_seen, MAX_CGROUPS),
            _ => (&mut walks.processes_seen, MAX_PROCESSES),
        };
        if *seen >= most {
            return Err(Error::TooManyTargets(most));
        }
        *seen += 1;
        let (hierarchy, found) = self.look(&target.selector, walks)?;
        bounds::check(self.bounds, target, &found, hierarchy.as_ref(), walks)?;
        if let Some(hierarchy) = hierarchy {
            self.lie_in(&hierarchy)?;
            if matches!(found, Found::Pod(..)) {
                self.levels = self.levels.and(walks.cgroups(&hierarchy).levels);
            }
        }
        Ok(found)
    }

    fn look(
        &self,
        selector: &Selector,
        walks: &mut Walks,
    ) -> Result<(Option<Hierarchy>, Found), Error> {
        let only = self.hierarchy.as_ref();
        Ok(match selector {
            Selector::Process(pid) => (None, process(*pid)?),
            Selector::ProcessSince(pid, since) => match process(*pid)? {
                Found::Process(_, began) if began != *since => {
                    return Err(Error::OtherProcess(*pid));
                }
                process => (None, process),
            },
            Selector::Cgroup(path) => {
                let (hierarchy, path) = walks.of_path(path)?;
                let place = find::cgroup(&hierarchy.root, &path)?;
                (Some(hierarchy), Found::Cgroup(place))
            }
            Selector::Container(id) => {
                let (hierarchy, place) = walks.first(only, |cgroups| cgroups.container(id))?;
                (Some(hierarchy), Found::Cgroup(place))
            }
            Selector::PodContainer(pod, id) => {
                names::pod_uid(pod)?;
                let found = walks.first(only, |cgroups| cgroups.container_of(pod, id));
                let (hierarchy, place) = found.map_err(|error| match error {
                    Error::NoContainer(id) | Error::NoContainerInNamespace { id, .. } => {
                        Error::NotInPod {
                            id,
                            pod: pod.clone(),
                        }
                    }
                    error => error,
                })?;
                (Some(hierarchy), Found::Cgroup(place))
            }
            Selector::Pod(uid) => {
                let bytes = names::pod_uid(uid)?;
                let (hierarchy, places) = walks.pod(only, uid)?;
                (Some(hierarchy), Found::Pod(bytes, places))
            }
            Selector::Command(argv) => {
                process::in_host_pid_namespace()?;
                (None, Found::Command(argv.clone()))
            }
            Selector::Host => (None, Found::Host),
        })
    }

    /// Checks that all cgroups of a trace are in one hierarchy.
    fn lie_in(&mut self, hierarchy: &Hierarchy) -> Result<(), Error> {
        match &self.hierarchy {
            Some(known) if known != hierarchy => Err(Error::Unchangeable(
                "its cgroup is of another hierarchy than those of the other targets, and a trace selects by one",
            )),
            Some(_) => Ok(()),
            None => {
                self.hierarchy = Some(hierarchy.clone());
                Ok(())
            }
        }
    }
}

fn process(pid: u32) -> Result<Found, Error> {
    process::in_host_pid_namespace()?;
    let gone = || Error::NoProcess(pid);
    match process::process_of(pid).ok_or_else(gone)? {
        process if process == pid => {
            let began = process::began(pid).ok_or_else(gone)?;
            Ok(Found::Process(pid, began))
        }
        process => Err(Error::Thread {
            thread: pid,
            process,
        }),
    }
}
