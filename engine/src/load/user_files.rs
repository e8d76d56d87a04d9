//! Functions of programs and libraries in user space: found in each target's own root, attached by file, and followed for new targets.
//!
//! A link of the kind `uprobe.multi` (`point::uprobe_multi`) is of a file and not of a process: the kernel runs the program in every process that has mapped the
//! file, and the program itself checks whether the process is selected. So a file is attached once for all processes that have it, and
//! stays attached until the trace ends.
//! This module does not read a target's files: `symbols` finds the functions, in a process without privileges.

use super::Loaded;
use crate::{
    Error, Untraced,
    bpf::{delete, keys, lookup},
    launch::found_in_path,
    limits::MAX_PROCESSES,
    select::{Selection, process::has_the_kernels_numbers},
};
use std::{
    collections::{HashMap, HashSet},
    ffi::CString,
    fs,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use symbols::{FindError, Finder, Object, ObserveError, Place, UserFile};
use tracers::{At, Point, Side, control::Process};
use zerocopy::{FromZeros, IntoBytes};

/// Maximum files that a trace attaches to.
const FILES_MAX: usize = 256;
/// Maximum files below one root, such as a container's: a container cannot use the room of others.
const FILES_OF_A_ROOT_MAX: usize = 32;
/// Maximum files below one root that cannot be attached to. The file reader is started for each.
const REFUSED_OF_A_ROOT_MAX: usize = 512;
/// Maximum files that are remembered, including unusable ones.
const SEEN_MAX: usize = 4096;
/// First pause until a process that has not mapped the wanted files is checked again; later pauses are longer. A loader maps a program's
/// libraries in its first millisecond.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The last pause: after it, the process is not checked until it executes another program.
const LAST_PAUSE: Duration = Duration::from_secs(10);
/// Interval of listing processes, to find those that started without executing a program.
const LISTED_EVERY: Duration = Duration::from_secs(2);
/// Longest time that the check of waiting processes takes at the end of a trace.
const LAST_CHECK: Duration = Duration::from_millis(200);
/// Maximum log messages of a trace about files and processes that cannot be traced.
const WARNINGS_MAX: usize = 64;
/// Maximum processes that are checked again at the same time.
const WAITING_MAX: usize = 4096;
/// Idle time after which the file reader's process is ended.
const REST: Duration = Duration::from_secs(10);

/// A function that a program is attached to.
struct UserPoint {
    object: Object,
    symbol: String,
    side: Side,
    point: Point,
}

/// The user functions of a trace, and the files in which they are attached.
pub(crate) struct UserProbes {
    points: Vec<UserPoint>,
    finder: Finder,
    proc: PathBuf,
    /// Whether PIDs there are those of the kernel side.
    same_numbers: bool,
    /// Attached files, and the reasons of the others: each is tried once.
    seen: HashMap<((u64, u64), Object), Option<Refusal>>,
    /// This program, which is not traced.
    own: Option<(u64, u64)>,
    of_root: HashMap<(u64, u64), OfRoot>,
    attached: usize,
    /// Processes that may still map wanted files.
    waiting: HashMap<u32, Waiting>,
    /// Processes that were listed before, selected or not.
    known: HashSet<u32>,
    listed: Option<Instant>,
    /// Whether the trace has started: a file that is attached to after that is attached to late.
    began: bool,
    /// Untraced parts of the selection.
    untraced: Untraced,
    /// Messages in the log.
    warnings: usize,
}

/// Why a file cannot be attached to, with its state at that time: another file may reuse its inode number.
struct Refusal {
    why: String,
    version: Option<Version>,
}

/// Size and time of the last change.
type Version = (i64, i128);

/// Files below one root.
#[derive(Default)]
struct OfRoot {
    attached: usize,
    refused: usize,
}

struct Waiting {
    next: Instant,
    pause: Duration,
}

/// Outcome of the check of a process or file.
#[derive(Debug)]
enum Outcome {
    /// All wanted functions are attached.
    Attached,
    /// No wanted file is mapped.
    NotYet,
    /// Not possible, for this reason.
    Refused(String),
}

impl UserProbes {
    /// Returns the user functions among these points; `None` if there are none.
    pub(crate) fn new(points: &[Point], proc: &Path) -> Option<Self> {
        let points: Vec<UserPoint> = points
            .iter()
            .filter_map(|point| match &point.at {
                At::UserFunction {
                    object,
                    symbol,
                    side,
                } => Some(UserPoint {
                    object: Object::named(object),
                    symbol: symbol.to_string(),
                    side: *side,
                    point: point.clone(),
                }),
                At::RawTracepoint(_)
                | At::TypedTracepoint(_)
                | At::FunctionEntry(_)
                | At::FunctionReturn(_)
                | At::FunctionVerdict(_)
                | At::KernelFunctions { .. }
                | At::Iterator(_)
                | At::CgroupPackets { .. }
                | At::CgroupAddress { .. } => None,
            })
            .collect();
        (!points.is_empty()).then(|| Self {
            points,
            finder: Finder::new(proc),
            proc: proc.to_owned(),
            same_numbers: has_the_kernels_numbers(proc),
            seen: HashMap::new(),
            own: { fs::metadata("/proc/self/exe") }
                .ok()
                .map(|data| (data.dev(), data.ino())),
            of_root: HashMap::new(),
            attached: 0,
            waiting: HashMap::new(),
            known: HashSet::new(),
            listed: None,
            began: false,
            untraced: Untraced::default(),
            warnings: 0,
        })
    }

    /// Attaches to the files of existing processes, and of a command that is about to start.
    ///
    /// # Errors
    /// If a named command or process cannot be attached to, and nothing else can.
    pub(crate) fn begin(
        &mut self,
        loaded: &mut Loaded,
        tracer: &'static str,
        selection: &Selection,
    ) -> Result<(), Error> {
        let mut refused = Vec::new();
        let program = selection.command().and_then(<[_]>::first);
        for command in program.map_or_else(Vec::new, |program| found_in_path(program)) {
            for object in self.objects() {
                let file = self.finder.of_program(&command, &object);
                if let Outcome::Refused(why) = self.file(loaded, &object, file) {
                    refused.push(why);
                }
            }
        }
        self.list(loaded, selection);
        let named = selection.processes();
        let pids: Vec<u32> = self.waiting.keys().copied().collect();
        for pid in pids {
            if let Outcome::Refused(why) = self.look(loaded, pid)
                && named.contains(&pid)
            {
                refused.push(why);
            }
        }
        self.began = true;
        match refused.pop() {
            Some(reason) if self.attached == 0 => Err(Error::Unsupported { tracer, reason }),
            _ => Ok(()),
        }
    }

    /// Attaches to the files of new processes.
    pub(crate) fn follow(&mut self, loaded: &mut Loaded, selection: &Selection) {
        let now = Instant::now();
        self.find(loaded, selection, now);
        let due: Vec<u32> = { self.waiting.iter() }
            .filter(|(_, waiting)| now >= waiting.next)
            .map(|(pid, _)| *pid)
            .collect();
        for pid in due {
            self.look(loaded, pid);
        }
        self.finder.rest(REST);
    }

    /// Checks every process that is still waiting, due or not, so that the last account contains it. Stops after [`LAST_CHECK`].
    pub(crate) fn finish(&mut self, loaded: &mut Loaded, selection: &Selection) {
        let now = Instant::now();
        self.find(loaded, selection, now);
        let waiting: Vec<u32> = self.waiting.keys().copied().collect();
        for pid in waiting {
            if now.elapsed() >= LAST_CHECK {
                break;
            }
            self.look(loaded, pid);
        }
    }

    /// Finds processes that have run another program, and processes that no exec(2) reports.
    fn find(&mut self, loaded: &Loaded, selection: &Selection, now: Instant) {
        let newcomers = loaded.map("NEWCOMERS");
        let newcomers = newcomers.map_or_else(|_| Vec::new(), newcomers_of);
        match self.same_numbers {
            true => newcomers
                .into_iter()
                .for_each(|pid| self.wait_for(pid, now)),
            // Their PIDs are those of another namespace: all processes are checked again.
            false if !newcomers.is_empty() => self.list_again(),
            false => {}
        }
        let is_old = |listed| now - listed >= LISTED_EVERY;
        if self.listed.is_none_or(is_old) {
            self.list(loaded, selection);
        }
    }

    /// Returns when processes must be checked, even without an exec(2).
    pub(crate) fn due(&self) -> Instant {
        let now = Instant::now();
        let listed = self.listed.map_or(now, |listed| listed + LISTED_EVERY);
        let waiting = self.waiting.values().map(|waiting| waiting.next);
        waiting.fold(listed, Instant::min)
    }

    /// Returns files that cannot be attached to, or that were attached to late.
    pub(crate) fn untraced(&self) -> &Untraced {
        &self.untraced
    }

    /// Lists processes again after a change of the selection.
    pub(crate) fn list_again(&mut self) {
        self.known.clear();
        self.listed = None;
    }

    fn objects(&self) -> HashSet<Object> {
        self.points
            .iter()
            .map(|point| point.object.clone())
            .collect()
    }

    fn wait_for(&mut self, pid: u32, now: Instant) {
        if self.waiting.len() < WAITING_MAX {
            let waiting = Waiting {
                next: now,
                pause: FIRST_PAUSE,
            };
            self.waiting.insert(pid, waiting);
        } else {
            // It is listed again.
            self.known.remove(&pid);
        }
    }

    /// Finds selected processes that did not exist at the last call.
    fn list(&mut self, loaded: &Loaded, selection: &Selection) {
        let now = Instant::now();
        self.listed = Some(now);
        let entries = fs::read_dir(&self.proc).into_iter().flatten().flatten();
        let pids: HashSet<u32> = entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        self.known.retain(|pid| pids.contains(pid));
        let processes = loaded.map("PROCESSES");
        let processes = processes.map_or_else(|_| HashSet::new(), traced);
        for pid in pids {
            if self.known.contains(&pid) {
                continue;
            }
            let cgroups = || fs::read_to_string(self.proc.join(format!("{pid}/cgroup")));
            let is_selected = (self.same_numbers && processes.contains(&pid))
                || selection.may_hold(|| cgroups().unwrap_or_default());
            if is_selected && self.waiting.len() >= WAITING_MAX {
                // The next time.
                continue;
            }
            self.known.insert(pid);
            if is_selected {
                self.wait_for(pid, now);
            }
        }
    }

    /// Attaches to the mapped files of a process. A process that may map more is checked again later.
    fn look(&mut self, loaded: &mut Loaded, pid: u32) -> Outcome {
        let mut last = Outcome::Attached;
        let mut not_yet = false;
        for object in self.objects() {
            let file = match self.finder.look(pid, &object) {
                // An ended process cannot be checked, and has nothing more to trace.
                Err(_) if has_ended(&self.proc, pid) => continue,
                file => file,
            };
            match self.file(loaded, &object, file) {
                Outcome::Attached => {}
                Outcome::NotYet => not_yet = true,
                refused @ Outcome::Refused(_) => last = refused,
            }
        }
        let again = self
            .waiting
            .get_mut(&pid)
            .filter(|waiting| not_yet && waiting.pause <= LAST_PAUSE);
        match again {
            Some(waiting) => {
                waiting.next = Instant::now() + waiting.pause;
                waiting.pause *= 2;
            }
            None => {
                self.waiting.remove(&pid);
            }
        }
        match not_yet && matches!(last, Outcome::Attached) {
            true => Outcome::NotYet,
            false => last,
        }
    }

    /// Attaches to a file, unless this was done or tried before.
    fn file(
        &mut self,
        loaded: &mut Loaded,
        object: &Object,
        found: Result<Option<UserFile>, FindError>,
    ) -> Outcome {
        let file = match found {
            Ok(Some(file)) => file,
            Ok(None) => return Outcome::NotYet,
            // An ended process has nothing more to trace.
            Err(FindError::Observe(ObserveError::Gone { .. })) => return Outcome::Attached,
            Err(error) => return self.refuse(error.to_string()),
        };
        let key = (file.identity, object.clone());
        let version = version(&file);
        match self.seen.get(&key) {
            Some(None) => return Outcome::Attached,
            Some(Some(refusal)) if refusal.version == version => {
                return Outcome::Refused(refusal.why.clone());
            }
            Some(Some(_)) | None => {}
        }
        if self.own == Some(file.identity) {
            return Outcome::Attached;
        }
        let of_root = self.of_root.entry(file.root).or_default();
        let path = file.path.to_string_lossy().escape_debug().to_string();
        if self.attached >= FILES_MAX || of_root.attached >= FILES_OF_A_ROOT_MAX {
            return self.refuse(format!(
                "functions of {path} are not traced: a trace attaches to {FILES_MAX} files at most, and to {FILES_OF_A_ROOT_MAX} below one root"
            ));
        }
        if self.seen.len() >= SEEN_MAX || of_root.refused >= REFUSED_OF_A_ROOT_MAX {
            return self.refuse(format!(
                "functions of {path} are not traced: too many files below its root have none"
            ));
        }
        let outcome = self.attach(loaded, object, &file);
        let of_root = self.of_root.entry(file.root).or_default();
        match outcome {
            Ok(()) => {
                of_root.attached += 1;
                self.attached += 1;
                self.seen.insert(key, None);
                if self.began {
                    let late = "attached to after a process had begun to run it: its calls before that are in no row";
                    self.untraced
                        .add(format!("functions of {path} were {late}"));
                }
                Outcome::Attached
            }
            Err(why) => {
                of_root.refused += 1;
                let why = format!("functions of {path} cannot be traced: {why}");
                let refusal = Refusal {
                    why: why.clone(),
                    version,
                };
                self.seen.insert(key, Some(refusal));
                self.refuse(why)
            }
        }
    }

    /// Reports that something cannot be traced: in the account, and in the log unless it has many such messages.
    fn refuse(&mut self, why: String) -> Outcome {
        self.untraced.add(why.clone());
        self.warnings += 1;
        if self.warnings <= WARNINGS_MAX {
            tracing::warn!("{why}");
        }
        Outcome::Refused(why)
    }

    fn attach(
        &mut self,
        loaded: &mut Loaded,
        object: &Object,
        file: &UserFile,
    ) -> Result<(), String> {
        let symbols: Vec<&str> = { self.points.iter() }
            .filter(|point| point.object == *object)
            .map(|point| point.symbol.as_str())
            .collect();
        let places =
            { self.finder.functions(file, &symbols) }.map_err(|error| error.to_string())?;
        let places: HashMap<&str, Place> = symbols.iter().copied().zip(places).collect();
        // Programs at returns come first: no entry is seen without its return.
        let mut programs: Vec<(bool, &'static str)> = { self.points.iter() }
            .filter(|point| point.object == *object)
            .map(|point| (point.side != Side::Return, point.point.program))
            .collect();
        programs.sort_unstable();
        programs.dedup();
        // Before 7.2 the kernel accepts only a path. This path leads to the open file, even if its name now leads to another.
        let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        let path = CString::new(path).map_err(|error| error.to_string())?;
        let mut any = false;
        for (_, program) in programs {
            let of_program = { self.points.iter() }.filter(|point| point.point.program == program);
            let (mut offsets, mut cookies) = (Vec::new(), Vec::new());
            let mut first = None;
            // The cookie is a point's place among those of its program.
            for (cookie, point) in of_program.enumerate() {
                let Some(Place::At(found)) = places.get(point.symbol.as_str()) else {
                    continue;
                };
                first.get_or_insert(&point.point);
                for offset in found {
                    // Two names may be one function.
                    if !offsets.contains(offset) {
                        offsets.push(*offset);
                        cookies.push(cookie as u64);
                    }
                }
            }
            if let Some(point) = first {
                any = true;
                { loaded.attach_to_file(point, &path, &offsets, &cookies) }
                    .map_err(|error| error.to_string())?;
            }
        }
        match any {
            true => Ok(()),
            false => Err(missing(&places)),
        }
    }
}

/// Returns whether a process has ended or is a zombie.
fn has_ended(proc: &Path, pid: u32) -> bool {
    let stat = fs::read_to_string(proc.join(format!("{pid}/stat"))).unwrap_or_default();
    // The name, in parentheses, may contain any characters.
    let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    state.is_empty() || state.starts_with(['Z', 'X'])
}

/// Returns why no function of a file could be attached to.
fn missing(places: &HashMap<&str, Place>) -> String {
    let mut names: Vec<&str> = places.keys().copied().collect();
    names.sort_unstable();
    let indirect = places.values().any(|place| *place == Place::Indirect);
    match indirect {
        true => format!(
            "its {} is chosen when the program runs (IFUNC)",
            names.join(", ")
        ),
        false => format!("it has none of {} in its symbol tables", names.join(", ")),
    }
}

fn version(file: &UserFile) -> Option<Version> {
    let stat = rustix::fs::fstat(file).ok()?;
    let modified_ns = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    Some((stat.st_size, modified_ns))
}

/// Returns the processes that are traced already. A command that is about to start is this program until then.
fn traced(map: BorrowedFd<'_>) -> HashSet<u32> {
    let is_traced = |pid: &[u8; 4]| {
        let mut process = Process::new_zeroed();
        lookup(map, pid, process.as_mut_bytes()).unwrap_or(false) && process.state == Process::NOW
    };
    let pids = keys::<4>(map, MAX_PROCESSES as usize).unwrap_or_default();
    let pids = pids.into_iter().filter(is_traced);
    pids.map(u32::from_ne_bytes).collect()
}

/// Removes the processes that have executed another program from the map. A process that does so again is added again.
fn newcomers_of(map: BorrowedFd<'_>) -> Vec<u32> {
    let mut pids = Vec::new();
    for key in keys::<4>(map, WAITING_MAX).unwrap_or_default() {
        if delete(map, &key).unwrap_or(false) {
            pids.push(u32::from_ne_bytes(key));
        }
    }
    pids
}
