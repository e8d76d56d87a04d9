//! The mappings of each process, kept beyond its end. It does not open files.

use super::{
    OBSERVE_AGAIN,
    files::FileId,
    maps::{Backing, MappedFile, Mapping},
    observe::Seen,
    open::{Held, Identity},
    wire::Key,
};
use std::{
    collections::{HashMap, HashSet},
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

/// Maximum processes, with some 40 mappings each: 10 MB.
const PROCESSES_MAX: usize = 4096;
/// Maximum mappings of a process, old and new. Beyond this number, old ones are removed.
const MAPPINGS_MAX: usize = 16_384;
/// Maximum files of a process that could not be held. The list is cleared beyond this number.
const LOST_MAX: usize = 1024;
/// Keys of perf maps; files have those below.
const FIRST_PERF_MAP_KEY: Key = 1 << 62;

/// The processes, by their current PIDs.
#[derive(Debug, Default)]
pub(super) struct Processes {
    processes: HashMap<u32, Process>,
    clock: u64,
    perf_maps: u64,
}

/// Data of a process.
#[derive(Debug)]
pub(super) struct Process {
    start_time: u64,
    /// Sorted, without overlaps.
    areas: Vec<Area>,
    /// Its files, as its mappings name them.
    pub(super) files: HashMap<MappedFile, FileId>,
    /// Its files that could not be held, with the build ids that its memory shows.
    pub(super) lost: HashMap<MappedFile, Option<[u8; 20]>>,
    pub(super) perf_map: Option<HeldPerfMap>,
    /// Time of the last observation or attempt.
    pub(super) observed: Instant,
    /// Pause until an unknown address causes another observation. It grows while observations do not help.
    pub(super) look_again: Duration,
    /// Copies of its stacks are unwound, so that the unwind tables of its files are needed.
    pub(super) is_unwound: bool,
    /// Workers that failed while they unwound its stacks.
    pub(super) failures: u32,
    used: u64,
}

/// The map of a just-in-time compiler's functions.
#[derive(Debug)]
pub(super) struct HeldPerfMap {
    pub(super) fd: Arc<OwnedFd>,
    identity: Identity,
    pub(super) key: Key,
    /// Its length when it was read; `None` if it was not read.
    pub(super) read_bytes: Option<u64>,
    /// Time of the last check of its length.
    pub(super) looked: Option<Instant>,
    /// It made the worker fail.
    pub(super) bad: bool,
}

#[derive(Clone, Debug)]
struct Area {
    start: u64,
    end: u64,
    offset: u64,
    what: What,
}

/// The object that contains an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    File(FileId),
    /// A file that could not be held, by its name.
    Lost(Arc<str>),
    Vdso,
    Anonymous,
}

impl Processes {
    pub(super) fn get(&self, pid: u32) -> Option<&Process> {
        self.processes.get(&pid)
    }

    pub(super) fn get_mut(&mut self, pid: u32) -> Option<&mut Process> {
        self.processes.get_mut(&pid)
    }

    pub(super) fn clear(&mut self) {
        self.processes.clear();
    }

    /// Releases perf maps of processes that were not observed for this long. Mappings stay.
    pub(super) fn release(&mut self, unused: Duration) {
        for process in self.processes.values_mut() {
            if process.observed.elapsed() >= unused {
                process.perf_map = None;
            }
        }
    }

    /// Adds an observation of a process: `held` are its new held files, and `found` those that could not be held, with their build ids.
    ///
    /// Another start time means another process. Otherwise earlier mappings are kept where there are no new ones, because earlier stacks may
    /// still be symbolized.
    pub(super) fn update(
        &mut self,
        pid: u32,
        seen: &mut Seen,
        held: HashMap<MappedFile, FileId>,
        found: HashMap<MappedFile, Option<[u8; 20]>>,
    ) {
        self.clock += 1;
        let old = self
            .processes
            .remove(&pid)
            .filter(|process| process.start_time == seen.start_time);
        let (is_unwound, failures) = old
            .as_ref()
            .map_or((false, 0), |old| (old.is_unwound, old.failures));
        let (old_areas, mut files, mut lost, old_perf_map, look_again) = match old {
            Some(old) => (old.areas, old.files, old.lost, old.perf_map, old.look_again),
            None => (
                Vec::new(),
                HashMap::new(),
                HashMap::new(),
                None,
                OBSERVE_AGAIN,
            ),
        };
        files.extend(held);
        lost.extend(found);
        if lost.len() > LOST_MAX {
            lost.clear();
        }
        let new_areas = seen
            .mappings
            .drain(..)
            .map(|mapping| area(mapping, &files))
            .collect();
        let areas = merge(old_areas, new_areas);
        // Names of files that nothing is mapped from any more are of no use.
        let mapped: HashSet<FileId> = areas.iter().filter_map(|area| area.what.file()).collect();
        files.retain(|_, id| mapped.contains(id));
        let perf_map = match (old_perf_map, seen.perf_map.take()) {
            // The program may have run another one since, which has its own.
            (Some(old), Some(new)) if !new.identity.is_same_file(&old.identity) => {
                Some(self.hold(new))
            }
            (None, Some(new)) => Some(self.hold(new)),
            (old, _) => old,
        };
        let process = Process {
            start_time: seen.start_time,
            areas,
            files,
            lost,
            perf_map,
            observed: Instant::now(),
            look_again,
            is_unwound,
            failures,
            used: self.clock,
        };
        self.processes.insert(pid, process);
        self.forget_old();
    }

    fn hold(&mut self, perf_map: Held) -> HeldPerfMap {
        self.perf_maps += 1;
        HeldPerfMap {
            fd: Arc::new(perf_map.fd),
            identity: perf_map.identity,
            key: FIRST_PERF_MAP_KEY + self.perf_maps,
            read_bytes: None,
            looked: None,
            bad: false,
        }
    }

    fn forget_old(&mut self) {
        if self.processes.len() <= PROCESSES_MAX {
            return;
        }
        let mut used: Vec<u64> = self
            .processes
            .values()
            .map(|process| process.used)
            .collect();
        let (_, middle, _) = used.select_nth_unstable(PROCESSES_MAX / 4);
        let middle = *middle;
        self.processes.retain(|_, process| process.used > middle);
    }
}

impl What {
    fn file(&self) -> Option<FileId> {
        match self {
            Self::File(id) => Some(*id),
            _ => None,
        }
    }
}

impl Process {
    /// Returns the object that contains the address, and the offset in its file.
    pub(super) fn at(&self, address: u64) -> Option<(&What, u64)> {
        let after = self.areas.partition_point(|area| area.start <= address);
        let area = &self.areas[after.checked_sub(1)?];
        (address < area.end).then(|| (&area.what, (address - area.start).wrapping_add(area.offset)))
    }

    /// Returns all mappings by ascending address: start, end, offset in the file, and object.
    pub(super) fn mapped(&self) -> impl Iterator<Item = (u64, u64, u64, &What)> {
        let areas = self.areas.iter();
        areas.map(|area| (area.start, area.end, area.offset, &area.what))
    }
}

fn area(mapping: Mapping, files: &HashMap<MappedFile, FileId>) -> Area {
    let Mapping {
        start,
        end,
        offset,
        backing,
        head: _,
    } = mapping;
    let what = match backing {
        Backing::Vdso => What::Vdso,
        Backing::Anonymous | Backing::Nameless(_) => What::Anonymous,
        Backing::File(file) => match files.get(&file) {
            Some(id) => What::File(*id),
            None => What::Lost(file.shown().into()),
        },
    };
    Area {
        start,
        end,
        offset,
        what,
    }
}

/// New areas, and old ones where these leave room.
fn merge(old: Vec<Area>, new: Vec<Area>) -> Vec<Area> {
    let mut areas = new;
    areas.sort_by_key(|area| area.start);
    let new_count = areas.len();
    for area in old {
        if areas.len() >= MAPPINGS_MAX {
            break;
        }
        let after = areas[..new_count].partition_point(|other| other.start < area.end);
        let free = after
            .checked_sub(1)
            .is_none_or(|before| areas[before].end <= area.start);
        if free {
            areas.push(area);
        }
    }
    areas.sort_by_key(|area| area.start);
    areas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(start_time: u64, areas: &[(u64, u64, &str)]) -> Seen {
        Seen {
            start_time,
            root: None,
            mappings: areas
                .iter()
                .map(|(start, end, path)| Mapping {
                    start: *start,
                    end: *end,
                    offset: 0x100,
                    backing: Backing::File(MappedFile {
                        device: 1,
                        inode: 2,
                        path: path.into(),
                        deleted: false,
                    }),
                    head: None,
                })
                .collect(),
            files: Vec::new(),
            heads: Vec::new(),
            perf_map: None,
        }
    }

    fn at(processes: &Processes, address: u64) -> Option<(String, u64)> {
        let (what, offset) = processes.get(7)?.at(address)?;
        let What::Lost(path) = what else {
            panic!("a lost file")
        };
        Some((path.to_string(), offset))
    }

    #[test]
    fn an_address_is_in_the_area_that_covers_it() {
        let mut processes = Processes::default();
        processes.update(
            7,
            &mut seen(1, &[(0x1000, 0x2000, "a"), (0x3000, 0x4000, "b")]),
            HashMap::new(),
            HashMap::new(),
        );
        assert_eq!(at(&processes, 0x1010), Some(("a".into(), 0x110)));
        assert_eq!(at(&processes, 0x3fff), Some(("b".into(), 0x10ff)));
        assert_eq!(at(&processes, 0xfff), None);
        assert_eq!(at(&processes, 0x2000), None);
    }

    #[test]
    fn what_was_mapped_before_stays_where_nothing_new_is() {
        let mut processes = Processes::default();
        processes.update(
            7,
            &mut seen(1, &[(0x1000, 0x2000, "a"), (0x3000, 0x4000, "b")]),
            HashMap::new(),
            HashMap::new(),
        );
        processes.update(
            7,
            &mut seen(1, &[(0x1800, 0x2800, "c")]),
            HashMap::new(),
            HashMap::new(),
        );
        assert_eq!(at(&processes, 0x1900), Some(("c".into(), 0x200)));
        assert_eq!(at(&processes, 0x1000), None);
        assert_eq!(at(&processes, 0x3000), Some(("b".into(), 0x100)));
    }

    #[test]
    fn another_process_of_that_number_has_nothing_of_the_old_one() {
        let mut processes = Processes::default();
        processes.update(
            7,
            &mut seen(1, &[(0x1000, 0x2000, "a")]),
            HashMap::new(),
            HashMap::new(),
        );
        processes.update(
            7,
            &mut seen(2, &[(0x3000, 0x4000, "b")]),
            HashMap::new(),
            HashMap::new(),
        );
        assert_eq!(at(&processes, 0x1000), None);
        assert_eq!(at(&processes, 0x3000), Some(("b".into(), 0x100)));
    }

    #[test]
    fn the_longest_unseen_processes_are_forgotten_first() {
        let mut processes = Processes::default();
        for pid in 0..=PROCESSES_MAX as u32 {
            processes.update(pid, &mut seen(1, &[]), HashMap::new(), HashMap::new());
        }
        assert!(processes.get(0).is_none());
        assert!(processes.get(PROCESSES_MAX as u32).is_some());
        assert!(processes.processes.len() > PROCESSES_MAX / 2);
    }
}
