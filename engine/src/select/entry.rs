//! The entries of the selection, and their keys in the selection maps.

use super::{Members, find::Place, process};
use crate::limits::{MAX_CGROUPS, MAX_PROCESSES};
use crate::{Error, bpf, select::descendants};
use std::{ffi::OsString, io, os::fd::BorrowedFd, path::Path};
use tracers::{
    Target,
    control::{Member, PodUid, Process},
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// A target in terms of the kernel.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// PID and start time.
    Process(u32, u64),
    Cgroup(Place),
    /// Uid, and the existing cgroups.
    Pod(PodUid, Vec<Place>),
    Command(Vec<OsString>),
    Host,
}

/// A selected target.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) number: u32,
    pub(super) target: u32,
    pub(super) found: Found,
}

/// The selection maps of the kernel side.
pub(crate) struct Maps<'a> {
    pub(crate) processes: Members<'a>,
    pub(crate) cgroups: Members<'a>,
    pub(crate) pods: Members<'a>,
    pub(crate) pod_levels: BorrowedFd<'a>,
    pub(crate) depths: BorrowedFd<'a>,
}

impl Entry {
    fn member(&self) -> Member {
        Member {
            target: Target(self.target),
            entry: self.number,
        }
    }

    pub(super) fn write(&self, maps: &Maps<'_>) -> Result<(), Error> {
        match &self.found {
            Found::Process(pid, _) => self.select(maps, *pid, Process::NOW),
            Found::Cgroup(place) => self.cgroup(maps, place.id),
            Found::Pod(uid, places) => {
                written(
                    "the map of selected pods",
                    maps.pods.insert(uid, self.member().as_bytes()),
                )?;
                places
                    .iter()
                    .try_for_each(|place| self.cgroup(maps, place.id))
            }
            Found::Command(_) | Found::Host => Ok(()),
        }
    }

    pub(super) fn write_descendants(&self, maps: &Maps<'_>) -> Result<(), Error> {
        match self.found {
            Found::Process(pid, _) => descendants(pid)
                .into_iter()
                .try_for_each(|child| self.select(maps, child, Process::NOW)),
            _ => Ok(()),
        }
    }

    /// Returns whether the target now resolves to another object: a process that has reused the PID, or a cgroup with the same path.
    pub(super) fn is_another(&self, now: &Found) -> bool {
        match (&self.found, now) {
            (Found::Process(_, then), Found::Process(_, now)) => then != now,
            (Found::Cgroup(then), Found::Cgroup(now)) => then.id != now.id,
            _ => false,
        }
    }

    /// Returns whether the entry may still produce rows. Processes are tracked by the kernel side.
    pub(super) fn may_go_on(&mut self) -> bool {
        match &mut self.found {
            Found::Process(..) | Found::Command(_) => false,
            Found::Cgroup(place) => !place.is_gone(),
            // A kubelet may make its cgroup again.
            Found::Pod(..) | Found::Host => true,
        }
    }

    /// Returns the directory above the cgroup with whose removal the entry ends.
    pub(super) fn parent_cgroup(&self) -> Option<&Path> {
        match &self.found {
            Found::Cgroup(place) => place.path().parent(),
            Found::Process(..) | Found::Pod(..) | Found::Command(_) | Found::Host => None,
        }
    }

    /// Removes a process that has reused the PID of the selected one.
    pub(super) fn forget_another(&self, maps: &Maps<'_>) -> Result<(), Error> {
        match self.found {
            Found::Process(pid, since) if process::began(pid) != Some(since) => written(
                "the map of selected processes",
                maps.processes.remove(&pid.to_ne_bytes()),
            ),
            _ => Ok(()),
        }
    }

    fn cgroup(&self, maps: &Maps<'_>, id: u64) -> Result<(), Error> {
        let updated = maps
            .cgroups
            .insert(&id.to_ne_bytes(), self.member().as_bytes());
        full(MAX_CGROUPS, "the map of selected cgroups", updated)
    }

    pub(super) fn select(&self, maps: &Maps<'_>, pid: u32, state: u32) -> Result<(), Error> {
        // This process is not traced even below a selected process: its output would be traced again.
        if pid == std::process::id() {
            return Ok(());
        }
        let member = self.member();
        let process = Process { state, member };
        let updated = maps
            .processes
            .insert(&pid.to_ne_bytes(), process.as_bytes());
        full(MAX_PROCESSES, "the map of selected processes", updated)
    }
}

pub(super) fn written(what: &'static str, outcome: io::Result<()>) -> Result<(), Error> {
    outcome.map_err(|source| Error::Read { what, source })
}

fn full(most: u32, what: &'static str, outcome: io::Result<()>) -> Result<(), Error> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(libc::E2BIG) => Err(Error::TooManyTargets(most)),
        outcome => written(what, outcome),
    }
}

/// Removes everything that belongs to an entry from a map with keys of `KEY` bytes and values `V`.
pub(super) fn remove_entry<const KEY: usize, V: FromZeros + FromBytes + IntoBytes>(
    members: Members<'_>,
    number: u32,
    member: impl Fn(&V) -> Member,
) -> Result<(), Error> {
    let failed = |source| Error::Read {
        what: "a map of the selection",
        source,
    };
    for key in bpf::keys::<KEY>(members.map, MAX_PROCESSES as usize).map_err(failed)? {
        let mut value = V::new_zeroed();
        // A key that was removed in the meantime is no error.
        if bpf::lookup(members.map, &key, value.as_mut_bytes()).map_err(failed)?
            && member(&value).entry == number
        {
            members.remove(&key).map_err(failed)?;
        }
    }
    Ok(())
}
