//! Conversion of targets to the keys of the kernel side: PIDs, cgroup ids, pod uids. Targets may change while the trace runs.

use crate::limits::{MAX_CGROUPS, MAX_DEPTH};
use crate::{Bounds, Change, Denied, Error, Labels, Request, Selector, Target, bpf};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ffi::OsString,
    os::fd::BorrowedFd,
};
use tracers::control::{DEPTHS, Member, NO_DEPTH, POD_UID, Process, by};

mod bounds;
mod entry;
mod find;
pub(crate) mod hierarchy;
mod labelled;
mod listed;
mod look;
mod members;
pub(crate) mod names;
pub(crate) mod process;
pub(crate) mod programs;
mod removal;
mod walks;

pub(crate) use entry::Maps;
use entry::{Entry, Found, remove_entry, written};
use find::{Cgroups, Levels};
pub(crate) use hierarchy::{Hierarchy, hierarchies};
use labelled::Labelled;
pub(crate) use members::{CHOSEN, Counts, Members};
use process::Life;
pub(crate) use process::descendants;
use removal::RemovalWatch;
use walks::Walks;

const _: () = assert!(
    MAX_DEPTH as usize + 1 == DEPTHS,
    "a list of depths has room for each"
);

/// The keys by which a trace may select. They determine the loaded programs, and are known before the targets are searched for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// The value of the global `SELECT`.
    pub(crate) by: u32,
    /// Whether pods may be selected that do not exist yet.
    pub(crate) pods: bool,
    /// Whether events of several cgroups may share the ring.
    pub(crate) shared: bool,
    /// Whether targets may change.
    changing: bool,
}

impl Shape {
    pub(crate) fn of(targets: &[Target], changing: bool) -> Self {
        let bit = |target: &Target| match target.selector {
            Selector::Process(_) | Selector::ProcessSince(..) | Selector::Command(_) => by::PROCESS,
            Selector::Cgroup(_)
            | Selector::Container(_)
            | Selector::PodContainer(..)
            | Selector::Pod(_) => by::CGROUP,
            Selector::Host => by::HOST,
        };
        let first = if changing { by::CGROUP } else { 0 };
        let bits = targets
            .iter()
            .fold(first, |bits, target| bits | bit(target));
        let pod = |target: &Target| matches!(target.selector, Selector::Pod(_));
        Self {
            by: bits,
            pods: changing || targets.iter().any(pod),
            shared: changing || bits & by::HOST != 0 || targets.len() > 1,
            changing,
        }
    }

    pub(crate) fn by_process(self) -> bool {
        self.by & by::PROCESS != 0
    }

    pub(crate) fn by_cgroup(self) -> bool {
        self.by & by::CGROUP != 0
    }

    pub(crate) fn by_host(self) -> bool {
        self.by & by::HOST != 0
    }
}

/// The selection of a trace.
#[derive(Debug)]
pub(crate) struct Selection {
    entries: HashMap<Selector, Entry>,
    /// The number of the next entry.
    next: u32,
    labels: Labelled,
    /// Which of [`tracers::LABELS`] the first targets have.
    columns: [bool; tracers::LABELS.len()],
    shape: Shape,
    /// Bounds of the selection.
    bounds: Bounds,
    /// Depths at which pods' cgroups are created.
    levels: Levels,
    /// Whether the trace continues after its last cgroup was removed.
    outlives_cgroups: bool,
    /// The hierarchy of its cgroups; `None` without cgroups.
    hierarchy: Option<Hierarchy>,
    /// Whether no selected process may have ended unnoticed.
    settled: bool,
    /// Missing targets, as indices in the request, with the reasons.
    missing: Vec<(usize, Error)>,
    /// Wakes the reader when a cgroup may have been removed with which the trace ends.
    removals: RemovalWatch,
}

impl Selection {
    /// Resolves all targets, without writing to maps.
    ///
    /// # Errors
    /// If a target is missing and the request does not allow that, or selection is not possible on this machine.
    pub(crate) fn resolve(request: &Request) -> Result<Self, Error> {
        let (targets, changing) = (&request.targets, request.changing);
        if targets.is_empty() {
            return Err(Error::NothingSelected);
        }
        let host = targets
            .iter()
            .find(|target| target.selector == Selector::Host);
        // Rows of the host have the number 0.
        let first = host.map(|host| host.labels.clone()).unwrap_or_default();
        let mut selection = Self {
            entries: HashMap::new(),
            next: 1,
            settled: true,
            missing: Vec::new(),
            labels: Labelled::new(first),
            columns: request.label_columns(),
            shape: Shape::of(targets, changing),
            bounds: request.bounds,
            levels: Levels::default(),
            outlives_cgroups: request.outlives_cgroups,
            hierarchy: None,
            removals: RemovalWatch::default(),
        };
        let mut cgroups = Walks::default();
        // The last one of equal targets counts; the others are not searched for.
        let last: HashMap<&Selector, usize> = (targets.iter().enumerate())
            .map(|(at, target)| (&target.selector, at))
            .collect();
        let denied: HashMap<usize, &Denied> = request
            .denied
            .iter()
            .map(|denied| (denied.at, denied))
            .collect();
        for (at, target) in targets.iter().enumerate() {
            if last.get(&target.selector) != Some(&at) {
                continue;
            }
            let found = match denied.get(&at) {
                Some(Denied { line, why, .. }) => Err(Error::Denied {
                    line,
                    why: why.clone(),
                }),
                None => selection.find(target, &mut cgroups),
            };
            let entered =
                found.and_then(|found| selection.enter(target.clone(), found).map(|_| ()));
            match entered.map_err(Error::or_exhausted) {
                Err(error) if request.allow_missing && error.is_of_one_target() => {
                    selection.missing.push((at, error));
                }
                selected => selected?,
            }
        }
        // If no target remains, the denial is the error.
        let is_denial = |(_, error): &(usize, Error)| matches!(error, Error::Denied { .. });
        if selection.entries.is_empty()
            && let Some(at) = selection.missing.iter().position(is_denial)
        {
            return Err(selection.missing.swap_remove(at).1);
        }
        if changing && !selection.shape.by_host() && selection.hierarchy.is_none() {
            selection.choose_hierarchy(&mut cgroups);
        }
        selection.watch_removals();
        Ok(selection)
    }

    /// Takes the missing targets.
    pub(crate) fn take_missing(&mut self) -> Vec<(usize, Error)> {
        std::mem::take(&mut self.missing)
    }

    /// Chooses the hierarchy of later targets: the loaded programs select by one. If none is mounted, each added target fails with an error.
    fn choose_hierarchy(&mut self, cgroups: &mut Walks) {
        let by_a_kubelet = |cgroups: &Cgroups| match cgroups.has_kubelet {
            false => Err(Error::NoContainer(String::new())),
            true => Ok(()),
        };
        let chosen = cgroups
            .first(None, by_a_kubelet)
            .or_else(|_| cgroups.first(None, |_| Ok(())));
        self.hierarchy = chosen.ok().map(|(hierarchy, ())| hierarchy);
    }

    fn enter(&mut self, target: Target, found: Found) -> Result<&Entry, Error> {
        let number = self.labels.number(target.labels)?;
        let cgroups = |entry: &Entry| matches!(entry.found, Found::Cgroup(..) | Found::Pod(..));
        if matches!(found, Found::Cgroup(..) | Found::Pod(..))
            && self.entries.values().filter(|entry| cgroups(entry)).count() >= MAX_CGROUPS as usize
        {
            return Err(Error::TooManyTargets(MAX_CGROUPS));
        }
        let entry = Entry {
            number: self.next,
            target: number,
            found,
        };
        self.next = self.next.wrapping_add(1);
        Ok(self
            .entries
            .entry(target.selector)
            .insert_entry(entry)
            .into_mut())
    }

    /// Returns the label columns of rows.
    pub(crate) fn label_columns(&self) -> [bool; tracers::LABELS.len()] {
        self.columns
    }

    /// Returns the labels of a row's target.
    pub(crate) fn labels(&self, target: u32) -> &Labels {
        self.labels.set(target)
    }

    /// Returns the keys by which the kernel side may select.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// Returns whether only processes remain, which the kernel side tracks.
    pub(crate) fn has_processes_at_most(&mut self) -> bool {
        let outlives_cgroups = self.outlives_cgroups;
        let ends = self.shape.by_process() || !(outlives_cgroups || self.entries.is_empty());
        let mut others = self.entries.values_mut();
        let goes_on = |entry: &mut Entry| match entry.found {
            Found::Cgroup(_) if outlives_cgroups => true,
            _ => entry.may_go_on(),
        };
        ends && !self.shape.by_host() && !others.any(goes_on)
    }

    /// Watches the cgroups with which the trace ends, if it ends with cgroups.
    fn watch_removals(&mut self) {
        let entries = self.entries.values().filter(|_| !self.outlives_cgroups);
        self.removals
            .watch(entries.filter_map(Entry::parent_cgroup));
    }

    /// Returns the descriptor that is readable when a cgroup may have been removed with which the trace ends.
    pub(crate) fn removals(&self) -> Option<BorrowedFd<'_>> {
        self.removals.fd()
    }

    /// Makes the descriptor of [`Self::removals`] unreadable until the next removal.
    pub(crate) fn clear_removals(&self) {
        self.removals.clear();
    }

    /// Returns the command to start.
    pub(crate) fn command(&self) -> Option<&[OsString]> {
        self.entries.values().find_map(|entry| match &entry.found {
            Found::Command(argv) => Some(argv.as_slice()),
            _ => None,
        })
    }

    /// Selects all targets, and the process of a command from its exec.
    pub(crate) fn write(&self, maps: &Maps<'_>, command: Option<u32>) -> Result<(), Error> {
        for entry in self.entries.values() {
            if let (Found::Command(_), Some(pid)) = (&entry.found, command) {
                entry.select(maps, pid, Process::FROM_EXEC)?;
            }
            entry.write(maps)?;
        }
        self.write_depths(maps)
    }

    /// Selects the descendants that processes started before the fork hook was attached. The hook selects all later ones.
    pub(crate) fn write_descendants(&self, maps: &Maps<'_>) -> Result<(), Error> {
        self.entries
            .values()
            .try_for_each(|entry| entry.write_descendants(maps))
    }

    /// Removes ended processes that the exit hook has missed: they were selected after the hook ran or before it was attached, and their PIDs may
    /// be reused. Called after every selection of processes, and again until none of them is ending.
    pub(crate) fn forget_the_dead(&mut self, maps: &Maps<'_>) -> Result<(), Error> {
        let what = "the map of selected processes";
        let failed = |source| Error::Read { what, source };
        self.settled = true;
        for key in bpf::keys::<4>(maps.processes.map, usize::MAX).map_err(failed)? {
            match Life::of(u32::from_ne_bytes(key)) {
                Life::Running => {}
                Life::Ending => self.settled = false,
                Life::Gone => maps.processes.remove(&key).map_err(failed)?,
            }
        }
        for entry in self.entries.values() {
            entry.forget_another(maps)?;
        }
        Ok(())
    }

    /// Returns whether no selected process may have ended unnoticed.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Applies changes within these bounds while the trace runs: in order, each with its outcome.
    pub(crate) fn change(
        &mut self,
        changes: Vec<Change>,
        bounds: Bounds,
        maps: &Maps<'_>,
    ) -> Vec<Result<(), Error>> {
        self.bounds = bounds;
        let mut cgroups = Walks::default();
        let pod = |change: &Change| {
            matches!(
                change,
                Change::Add(Target {
                    selector: Selector::Pod(_),
                    ..
                })
            )
        };
        let pods = changes.iter().any(pod);
        let mut outcomes: Vec<_> = changes
            .into_iter()
            .map(|change| match change {
                Change::Add(target) => {
                    let added = self.add(target, maps, &mut cgroups);
                    added.map_err(Error::or_exhausted)
                }
                Change::Remove(selector) => self.remove(&selector, maps),
                Change::Only(selector) => self.retain(&selector, maps),
            })
            .collect();
        if pods && let Err(error) = self.look_for_pods(maps) {
            outcomes.push(Err(error));
        }
        self.watch_removals();
        outcomes
    }

    fn add(&mut self, target: Target, maps: &Maps<'_>, cgroups: &mut Walks) -> Result<(), Error> {
        self.check_addition(&target)?;
        let found = match self.find(&target, cgroups) {
            // A denied target is also removed if it was selected before.
            Err(error @ Error::Denied { .. }) => {
                self.remove(&target.selector, maps)?;
                return Err(error);
            }
            found => found?,
        };
        let selector = target.selector.clone();
        if let Some(known) = self.entries.get(&selector) {
            if self.labels.known(&target.labels) == Some(known.target) && !known.is_another(&found)
            {
                return Ok(());
            }
            self.remove(&selector, maps)?;
        }
        self.settled &= !matches!(found, Found::Process(..));
        let entry = self.enter(target, found)?;
        let written = entry
            .write(maps)
            .and_then(|()| entry.write_descendants(maps))
            .and_then(|()| entry.forget_another(maps));
        match written.and_then(|()| self.write_depths(maps)) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.remove(&selector, maps)?;
                Err(error)
            }
        }
    }

    fn check_addition(&self, target: &Target) -> Result<(), Error> {
        let why = match &target.selector {
            _ if !self.shape.changing => "this trace keeps its targets",
            Selector::Host | Selector::Command(_) => {
                "the host and commands are selected from the start, or not at all"
            }
            _ if self.shape.by_host() => "this trace has everything selected already",
            Selector::Process(_) | Selector::ProcessSince(..) if !self.shape.by_process() => {
                "a trace that began without processes takes none later"
            }
            _ if target
                .has_labels()
                .iter()
                .zip(self.columns)
                .any(|(present, column)| *present && !column) =>
            {
                "its labels are of other names than those of the first targets, which made the columns"
            }
            _ => return Ok(()),
        };
        Err(Error::Unchangeable(why))
    }

    /// Selects existing cgroups of pods, after the pods are in the map: the kernel side selects only cgroups that are created later.
    pub(crate) fn look_for_pods(&mut self, maps: &Maps<'_>) -> Result<(), Error> {
        let Some(hierarchy) = &self.hierarchy else {
            return Ok(());
        };
        let cgroups = Cgroups::read(hierarchy);
        for (selector, entry) in &mut self.entries {
            if let (Selector::Pod(uid), Found::Pod(_, places)) = (selector, &mut entry.found) {
                *places = cgroups.pod(uid)?;
                entry.write(maps)?;
            }
        }
        self.write_depths(maps)
    }

    /// Returns the hierarchy of its cgroups.
    pub(crate) fn hierarchy(&self) -> Option<&Hierarchy> {
        self.hierarchy.as_ref()
    }

    fn remove(&mut self, selector: &Selector, maps: &Maps<'_>) -> Result<(), Error> {
        let Some(entry) = self.entries.remove(selector) else {
            return Ok(());
        };
        // First the map from which the kernel side adds to the others.
        let itself = |member: &Member| *member;
        remove_entry::<POD_UID, _>(maps.pods, entry.number, itself)?;
        remove_entry::<8, _>(maps.cgroups, entry.number, itself)?;
        remove_entry::<4, _>(maps.processes, entry.number, |process: &Process| {
            process.member
        })?;
        self.write_depths(maps)
    }

    fn retain(&mut self, kept: &[Selector], maps: &Maps<'_>) -> Result<(), Error> {
        let kept: HashSet<&Selector> = kept.iter().collect();
        let gone: Vec<Selector> = self
            .entries
            .keys()
            .filter(|selector| !kept.contains(selector))
            .cloned()
            .collect();
        gone.iter()
            .try_for_each(|selector| self.remove(selector, maps))
    }

    fn write_depths(&self, maps: &Maps<'_>) -> Result<(), Error> {
        let found = self.entries.values().map(|entry| match &entry.found {
            Found::Cgroup(place) => std::slice::from_ref(place),
            Found::Pod(_, places) => places,
            _ => &[],
        });
        let found = found.flatten().map(|place| place.depth);
        let pods = self
            .entries
            .values()
            .any(|entry| matches!(entry.found, Found::Pod(..)));
        // Depths beyond the room of the list are not selected.
        let reached = |depth: &u32| *depth <= MAX_DEPTH;
        let ahead = self.levels.all().filter(|_| pods).filter(reached);
        let depths: BTreeSet<u32> = found.chain(ahead).collect();
        let mut list = [NO_DEPTH; DEPTHS];
        for (at, depth) in list.iter_mut().zip(depths.into_iter().rev()) {
            *at = depth as u8;
        }
        written(
            "the depths of selected cgroups",
            bpf::update(maps.depths, &[0; 4], &list),
        )?;
        written(
            "the depths of pods' cgroups",
            bpf::update(maps.pod_levels, &[0; 4], &self.levels.bytes()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(targets: Vec<Target>) -> Result<Selection, Error> {
        let spec = tracers::Spec::new(tracers::ALL[0].name()).unwrap();
        Selection::resolve(&Request {
            bounds: Bounds::NONE,
            label_columns: [true, false, false, false],
            ..Request::new(spec, targets)
        })
    }

    #[test]
    fn nothing_selected_is_an_error_and_not_everything() {
        assert!(matches!(resolve(vec![]), Err(Error::NothingSelected)));
    }

    #[test]
    fn a_process_with_another_start_time_is_not_selected() {
        let me = std::process::id();
        let since = process::began(me).unwrap();
        let selects = |since| resolve(vec![Selector::ProcessSince(me, since).into()]);
        assert!(selects(since).is_ok());
        assert!(matches!(selects(since + 1), Err(Error::OtherProcess(pid)) if pid == me));
    }

    #[test]
    fn targets_with_the_same_labels_have_one_number() {
        let labelled = |pod: &str, selector| Target {
            selector,
            labels: Labels([String::new(), String::new(), pod.to_owned(), String::new()]),
        };
        let me = Selector::Process(std::process::id());
        let since = process::began(std::process::id()).unwrap();
        let again = Selector::ProcessSince(std::process::id(), since);
        let pod = Selector::Pod("a".repeat(36));
        let selection = resolve(vec![
            labelled("a", me.clone()),
            labelled("a", again.clone()),
            labelled("b", pod.clone()),
        ])
        .unwrap();
        let number = |selector| selection.entries[selector].target;
        assert_eq!(number(&me), number(&again));
        assert_ne!(number(&me), number(&pod));
        assert_eq!(selection.labels(number(&pod)).0[2], "b");
        // One of the request, and one of a target.
        assert_eq!(selection.label_columns(), [true, false, true, false]);
    }
}
