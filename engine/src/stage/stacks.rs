//! Symbolization of stacks: conversion of the kernel side's hashes to frames.

use super::{Of, unwound::UnwoundStacks};
use crate::limits::{BATCH_FRAMES, BATCH_TEXT_BYTES, STACK_FRAMES, STACKS_AT_ONCE, TABLE_FRAMES};
use crate::{
    Error, bpf, launch::found_in_path, load::Loaded, select::process::has_the_kernels_numbers,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ffi::OsString,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use symbols::{FrameId, Symbolizer, UserAddr};
use tracers::{
    Batch, Column, Data, Frame, Value,
    control::{KernelHead, UserFrame, UserHead},
};
use zerocopy::{FromBytes, KnownLayout};

/// Maximum depth of our own program's frames in a kernel stack.
const OWN_FRAMES: usize = 6;

/// Bytes of a table's stacks: a number for each frame, and each distinct frame once.
pub(crate) const TABLE_BYTES: usize =
    TABLE_FRAMES * size_of::<u32>() + symbols::FRAMES_MAX * size_of::<Frame>();
/// Bytes of the same as messages, where names are texts and frames are numbers.
pub(crate) const MESSAGES_BYTES: usize =
    TABLE_FRAMES * size_of::<u32>() + symbols::FRAMES_MAX * 24 + symbols::WORDS_BYTES;
/// Bytes of the stacks of a batch of events: a number for each frame, each distinct frame, and their texts in a message.
pub(crate) const BATCH_BYTES: usize =
    BATCH_FRAMES * (size_of::<u32>() + size_of::<Frame>()) + BATCH_TEXT_BYTES;
/// Bytes of the names of addresses, and of the stacks during symbolization.
pub(crate) const NAMES_BYTES: usize =
    symbols::MEMORY_MAX + 2 * (TABLE_FRAMES + STACK_FRAMES * STACKS_AT_ONCE) * size_of::<FrameId>();

/// First pause between two observations of a process. The pauses grow, because a process maps most of its libraries early.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Maximum of these pauses.
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// Idle time after which the symbol worker is ended.
const REST: Duration = Duration::from_secs(10);
/// Maximum processes that are observed at once; others are symbolized by build id only.
const FOLLOWED: usize = 4096;
/// Interval of listing processes if their PIDs are not those of the kernel.
const LISTED_EVERY: Duration = Duration::from_millis(100);

/// Symbolization of the stacks of one trace.
pub(crate) struct Stacks {
    /// Columns with stacks.
    columns: Vec<(usize, Of)>,
    /// Column with the process of a user stack.
    process: Option<usize>,
    symbolizer: Symbolizer,
    followed: HashMap<u32, Followed>,
    /// Time of the next observation.
    due: Option<Instant>,
    numbers: Numbers,
    /// Stacks with final names: they are symbolized once, and not for each table.
    known: Named,
    /// Stacks that were unwound from copies.
    pub(super) unwound: UnwoundStacks,
}

/// The kind of PIDs in the observed /proc.
enum Numbers {
    /// PIDs of the kernel, as in rows.
    Kernels,
    /// Other PIDs, on a node that is a container: a row's process cannot be found there, and its PID there belongs to another process.
    /// So all processes are observed, and stacks are symbolized by build id only.
    Others {
        proc: PathBuf,
        listed: Option<Instant>,
    },
}

struct Followed {
    next: Instant,
    pause: Duration,
}

impl Stacks {
    /// Returns the symbolizer, for addresses outside of stacks.
    pub(super) fn symbolizer(&mut self) -> &mut Symbolizer {
        &mut self.symbolizer
    }

    /// Creates the symbolization of these columns, for processes in the procfs at `proc`.
    pub(super) fn new(columns: &[Column], stacks: Vec<(usize, Of)>, proc: &Path) -> Self {
        let numbers = match has_the_kernels_numbers(proc) {
            true => Numbers::Kernels,
            false => Numbers::Others {
                proc: proc.to_owned(),
                listed: None,
            },
        };
        Self {
            columns: stacks,
            process: columns
                .iter()
                .position(|column| matches!(column.kind, tracers::Kind::Process)),
            symbolizer: Symbolizer::new().with_proc(proc),
            followed: HashMap::new(),
            due: None,
            numbers,
            known: Named::default(),
            unwound: UnwoundStacks::default(),
        }
    }

    /// Returns the number of columns with stacks.
    pub(super) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Reads the symbols of a program that is about to start, in case it ends before it is observed.
    pub(crate) fn know_command(&mut self, argv: &[OsString]) {
        if let Some(program) = argv.first().filter(|_| !self.columns.is_empty()) {
            for path in found_in_path(program) {
                self.symbolizer.know_file(&path);
            }
        }
    }

    /// Observes the selected processes while they exist.
    pub(crate) fn observe(&mut self, loaded: &Loaded) {
        if !self.columns.is_empty()
            && let Some(pids) = self.numbers.there(loaded)
        {
            self.follow(&pids);
            let followed = pids.iter().filter_map(|pid| self.followed.get(pid));
            self.due = followed.map(|followed| followed.next).min();
        }
        self.symbolizer.rest(REST);
    }

    /// Returns the time of the next observation.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.numbers {
            Numbers::Kernels => self.due,
            Numbers::Others { listed, .. } => listed.map(|listed| listed + LISTED_EVERY),
        }
    }

    /// Observes processes that were not observed for a while.
    pub(super) fn follow(&mut self, pids: &[u32]) {
        let now = Instant::now();
        for &pid in pids {
            if self.followed.len() >= FOLLOWED {
                self.followed.clear();
            }
            let followed = self.followed.entry(pid).or_insert(Followed {
                next: now,
                pause: FIRST_PAUSE,
            });
            if now >= followed.next {
                // If it has just ended, earlier observations are used.
                let _ = self.symbolizer.observe(pid);
                followed.next = now + followed.pause;
                followed.pause = (followed.pause * 2).min(LAST_PAUSE);
            }
        }
    }

    /// Replaces hashes by frames, and returns the depths of user stacks. Stacks without room are `[too many frames]`: rows of tables are in descending order.
    pub(super) fn resolve(
        &mut self,
        mut batch: Batch,
        loaded: &Loaded,
        Room {
            frames: mut room,
            text_bytes,
        }: Room,
    ) -> Result<(Batch, Depths), Error> {
        let processes = self.processes(&batch);
        let mut pids: Vec<u32> = processes.clone();
        pids.sort_unstable();
        pids.dedup();
        if !self.columns.is_empty() && matches!(self.numbers, Numbers::Kernels) {
            self.follow(&pids);
        }
        let mut dictionary = Dictionary::default();
        let mut depths = Depths {
            most: loaded.depth as usize,
            columns: Vec::new(),
        };
        for (column, of) in self.columns.clone() {
            let keys: Vec<Key> = match of {
                // The kernel is the same for all.
                Of::Kernel => hashes(&batch, column).map(|hash| (None, hash)).collect(),
                Of::User => {
                    let hashes = hashes(&batch, column);
                    let processes = processes.iter().copied().map(Some);
                    processes.zip(hashes).collect()
                }
            };
            let named = self.name(&keys, of, loaded)?;
            let (mut ends, mut ids) = (Vec::with_capacity(keys.len()), Vec::new());
            for key in &keys {
                let frames = self.known.frames(key).or_else(|| named.frames(key));
                let mut frames = frames.unwrap_or(&[FrameId::UNKNOWN]);
                if frames.len() > room || dictionary.text_bytes > text_bytes {
                    frames = &[FrameId::TOO_MANY];
                }
                room = room.saturating_sub(frames.len());
                let local = |id: &FrameId| dictionary.local(*id, &self.symbolizer);
                ids.extend(frames.iter().map(local));
                ends.push(ids.len() as u32);
            }
            batch.columns[column] = Data::Frames { ends, ids };
            match of {
                Of::Kernel => {}
                Of::User => {
                    let depth = |key| self.known.depth(key).or_else(|| named.depth(key));
                    depths.columns.push(keys.iter().map(depth).collect());
                }
            }
        }
        batch.frames = dictionary.frames;
        Ok((batch, depths))
    }

    /// Symbolizes stacks, each once, some at a time: their addresses need more memory than their names.
    /// Stacks after the deadline are omitted.
    fn name(&mut self, keys: &[Key], of: Of, loaded: &Loaded) -> Result<Named, Error> {
        let mut named = Named::default();
        // The first one is the stack without room.
        named.ids.push(FrameId::TOO_MANY);
        let mut new: Vec<Key> = Vec::new();
        let mut seen: HashSet<Key> = HashSet::new();
        let unknown = |key: &&Key| self.known.frames(key).is_none() && seen.insert(**key);
        new.extend(keys.iter().filter(unknown));
        drop(seen);
        for some in new.chunks(STACKS_AT_ONCE) {
            if self.symbolizer.is_late() {
                break;
            }
            // The known stacks were symbolized in the same way.
            if named.ids.len() + self.known.ids.len() >= 2 * TABLE_FRAMES {
                let too_many = some.iter().map(|key| (*key, (0..1, None)));
                named.places.extend(too_many);
                continue;
            }
            match of {
                Of::Kernel => self.name_kernel(some, loaded, &mut named)?,
                Of::User => self.name_user(some, loaded, &mut named)?,
            }
        }
        Ok(named)
    }

    fn name_kernel(
        &mut self,
        keys: &[Key],
        loaded: &Loaded,
        named: &mut Named,
    ) -> Result<(), Error> {
        for key in keys {
            let addresses = kernel_addresses(loaded, key.1)?;
            // Few addresses, so repeated requests cost little.
            let mut frames = self.symbolizer.kernel(&addresses);
            self.cut_own(&mut frames);
            let is_deeper = addresses.len() >= loaded.depth as usize;
            self.mark_truncated(is_deeper, &mut frames);
            named.add(*key, &frames, addresses.len());
        }
        Ok(())
    }

    /// Removes the innermost frames: the program that recorded the stack, and its callers.
    fn cut_own(&self, frames: &mut Vec<FrameId>) {
        // kernel/trace/bpf_trace.c: bpf_trace_run1 to bpf_trace_run12, called by the tracepoint's __bpf_trace_NAME.
        let own = |id: &FrameId| {
            let name = &self.symbolizer.frames().get(*id).name;
            name.starts_with("bpf_trace_run") || name.starts_with("__bpf_trace_")
        };
        if let Some(last) = frames.iter().take(OWN_FRAMES).rposition(own) {
            frames.drain(..=last);
        }
    }

    /// Marks a stack that is deeper than recorded, or has too many frames due to inlined functions: the caller of its outermost frame is
    /// unknown.
    fn mark_truncated(&mut self, is_deeper: bool, frames: &mut Vec<FrameId>) {
        if is_deeper || frames.len() > STACK_FRAMES {
            frames.truncate(STACK_FRAMES);
            frames.push(self.symbolizer.deeper());
        }
    }

    /// Symbolizes the stacks of a process together, so that each file is read once.
    fn name_user(&mut self, keys: &[Key], loaded: &Loaded, named: &mut Named) -> Result<(), Error> {
        let mut by_process: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for (pid, hash) in keys {
            by_process.entry(pid.unwrap_or(0)).or_default().push(*hash);
        }
        for (pid, hashes) in by_process {
            let stacks = hashes
                .iter()
                .map(|hash| self.addresses(loaded, *hash))
                .collect::<Result<Vec<_>, Error>>()?;
            let all: Vec<&[UserAddr]> = stacks.iter().map(|(stack, _)| stack.as_slice()).collect();
            self.symbolizer.prepare(pid, &all);
            for (hash, (stack, is_deeper)) in hashes.iter().zip(&stacks) {
                let (mut frames, whole) = self.symbolizer.user_once(pid, stack);
                self.mark_truncated(*is_deeper, &mut frames);
                // A missing stack may follow.
                let whole = whole && !stack.is_empty();
                // An unwound stack may be whole and deeper than the kernel records stacks, or flatter and not whole.
                let most = loaded.depth as usize;
                let depth = match is_deeper {
                    true => stack.len().max(most),
                    false => stack.len().min(most.saturating_sub(1)),
                };
                match whole && self.known.ids.len() < TABLE_FRAMES {
                    true => self.known.add((Some(pid), *hash), &frames, depth),
                    false => named.add((Some(pid), *hash), &frames, depth),
                }
            }
        }
        Ok(())
    }

    /// Returns the addresses of a user stack, and whether it is deeper than recorded.
    fn addresses(&self, loaded: &Loaded, number: u64) -> Result<(Vec<UserAddr>, bool), Error> {
        if let Some(unwound) = self.unwound.get(number) {
            return Ok(unwound);
        }
        let addresses = user_addresses(loaded, number)?;
        let is_deeper = addresses.len() >= loaded.depth as usize;
        Ok((addresses, is_deeper))
    }

    /// Returns the process of each row, if it can be observed; 0 is none.
    fn processes(&self, batch: &Batch) -> Vec<u32> {
        let column = match self.numbers {
            Numbers::Kernels => self.process,
            Numbers::Others { .. } => None,
        };
        (0..batch.rows())
            .map(|row| match column.map(|column| batch.value(column, row)) {
                Some(Value::Unsigned(pid)) => u32::try_from(pid).unwrap_or(0),
                _ => 0,
            })
            .collect()
    }
}

impl Numbers {
    /// Returns the existing processes by their PIDs there; `None` if they have just been listed.
    fn there(&mut self, loaded: &Loaded) -> Option<Vec<u32>> {
        match self {
            Self::Kernels => {
                let processes = loaded.map("PROCESSES");
                let pids = processes.map(|map| bpf::keys::<4>(map, FOLLOWED).unwrap_or_default());
                let pids = pids.unwrap_or_default().into_iter();
                Some(pids.map(u32::from_ne_bytes).collect())
            }
            Self::Others { proc, listed } => {
                if listed.is_some_and(|listed| listed.elapsed() < LISTED_EVERY) {
                    return None;
                }
                *listed = Some(Instant::now());
                let entries = fs::read_dir(proc).into_iter().flatten().flatten();
                let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
                Some(numbers.take(FOLLOWED).collect())
            }
        }
    }
}

/// Limits of the stacks of one batch.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// Frames of all stacks.
    pub(super) frames: usize,
    /// Bytes of the texts of distinct frames.
    pub(super) text_bytes: usize,
}

/// The distinct frames of one batch.
#[derive(Default)]
struct Dictionary {
    /// Bytes of their texts.
    text_bytes: usize,
    frames: Vec<Frame>,
    index: HashMap<FrameId, u32>,
}

impl Dictionary {
    fn local(&mut self, id: FrameId, symbolizer: &Symbolizer) -> u32 {
        *self.index.entry(id).or_insert_with(|| {
            let frame = symbolizer.frames().get(id);
            let file_bytes = frame.file.as_ref().map_or(0, |file| file.len());
            self.text_bytes += frame.name.len() + frame.module.len() + file_bytes;
            self.frames.push(Frame {
                name: frame.name.clone(),
                module: frame.module.clone(),
                offset: frame.offset,
                file: frame.file.clone().unwrap_or_default(),
                line: frame.line.unwrap_or(0),
            });
            self.frames.len() as u32 - 1
        })
    }
}

/// Depths of the user stacks of a batch: numbers of addresses, without inlined functions.
#[derive(Debug, Default)]
pub(crate) struct Depths {
    /// Maximum recorded depth.
    pub(crate) most: usize,
    /// Depths by row, for each column with user stacks; `None` if unknown.
    pub(crate) columns: Vec<Vec<Option<u16>>>,
}

/// A stack: its process, if it is a user stack, and its hash.
type Key = (Option<u32>, u64);

/// Symbolized stacks.
#[derive(Default)]
struct Named {
    ids: Vec<FrameId>,
    /// Frames, and the number of addresses if it is known.
    places: HashMap<Key, (Range<usize>, Option<u16>)>,
}

impl Named {
    fn add(&mut self, key: Key, frames: &[FrameId], depth: usize) {
        let start = self.ids.len();
        self.ids.extend_from_slice(frames);
        let place = (start..self.ids.len(), u16::try_from(depth).ok());
        self.places.insert(key, place);
    }

    fn depth(&self, key: &Key) -> Option<u16> {
        self.places.get(key)?.1
    }

    fn frames(&self, key: &Key) -> Option<&[FrameId]> {
        let (place, _) = self.places.get(key)?;
        Some(&self.ids[place.clone()])
    }
}

fn hashes(batch: &Batch, column: usize) -> impl Iterator<Item = u64> {
    (0..batch.rows()).map(move |row| match batch.value(column, row) {
        Value::Unsigned(hash) => hash,
        _ => 0,
    })
}

/// Returns the frames of a stack, from a map whose values start with `H`; empty if the kernel side has no such stack.
fn stack<H: FromBytes + KnownLayout, F: FromBytes>(
    loaded: &Loaded,
    map: &str,
    hash: u64,
    len: impl Fn(H) -> usize,
) -> Result<Vec<F>, Error> {
    let depth = loaded.depth as usize;
    let mut value = vec![0; size_of::<H>() + depth * size_of::<F>()];
    let found = hash != 0
        && bpf::lookup(loaded.map(map)?, &hash.to_ne_bytes(), &mut value).map_err(|source| {
            Error::Read {
                what: "the map of stacks",
                source,
            }
        })?;
    let Some((head, frames)) = H::read_from_prefix(&value).ok().filter(|_| found) else {
        return Ok(Vec::new());
    };
    let frames = frames.chunks(size_of::<F>()).take(len(head));
    Ok(frames
        .filter_map(|frame| F::read_from_bytes(frame).ok())
        .collect())
}

fn kernel_addresses(loaded: &Loaded, hash: u64) -> Result<Vec<u64>, Error> {
    stack(loaded, "KERNEL_STACKS", hash, |head: KernelHead| {
        head.len as usize
    })
}

/// Returns the addresses of a user stack of the kernel side.
pub(super) fn user_addresses(loaded: &Loaded, hash: u64) -> Result<Vec<UserAddr>, Error> {
    let frames = stack(loaded, "USER_STACKS", hash, |head: UserHead| {
        head.len as usize
    })?;
    let address = |frame: UserFrame| match frame.status {
        // An address below the first mapping has that mapping's file and a negative offset: unwinding by frame pointers has failed in code without
        // them, and all following frames are wrong.
        UserFrame::VALID if frame.offset_or_ip > i64::MAX as u64 => None,
        UserFrame::VALID => Some(UserAddr::BuildId {
            id: frame.build_id,
            offset: frame.offset_or_ip,
        }),
        _ => Some(UserAddr::Ip(frame.offset_or_ip)),
    };
    Ok(frames.into_iter().map_while(address).collect())
}
