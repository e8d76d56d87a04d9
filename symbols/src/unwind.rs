//! Unwinding of copied stacks of processes without frame pointers. The worker does it, by the unwind tables of the mapped files.

use super::{
    Symbolizer, UserAddr,
    files::FileId,
    link::AskError,
    name::ASK_LIMIT,
    processes::What,
    wire::{Chain, Copied, Detail, End, Key, Mapped, Reply, Request, Source},
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::{Duration, Instant},
};

/// Stacks of one request: 4 MiB of copies.
const COPIES_MAX: usize = 64;
/// Requests for one answer: in each, the worker reports the files whose tables it needs next.
const ROUNDS_MAX: usize = 64;
/// Timeout of one call. Stacks that are not unwound by then have failed.
const UNWIND_LIMIT: Duration = Duration::from_secs(5);
/// Workers that may fail at stacks of one process. Its stacks are not unwound after that.
const FAILURES_MAX: u32 = 3;
/// Keys of tables are those of their files and this bit; keys of perf maps have another one.
pub(super) const TABLES_KEY: Key = 1 << 61;

/// Registers of a thread of a user process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Instruction pointer: `rip`, `pc`.
    pub ip: u64,
    /// Stack pointer: `rsp`, `sp`.
    pub sp: u64,
    /// Frame pointer: `rbp`, `x29`.
    pub fp: u64,
    /// Link register: `x30`. It is ignored on x86-64.
    pub lr: u64,
}

/// A copy of the innermost part of a stack.
#[derive(Clone, Copy, Debug)]
pub struct StackCopy<'a> {
    /// Registers at the time of the copy.
    pub registers: Registers,
    /// Address of the first byte of the copy: the stack pointer.
    pub address: u64,
    /// Bytes of the stack. At most [`STACK_COPY_BYTES`](super::STACK_COPY_BYTES) are used.
    pub bytes: &'a [u8],
}

/// An unwound stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwound {
    /// Frames for [`Symbolizer::user`], at least one: the instruction pointer first, then return addresses.
    pub frames: Vec<UserAddr>,
    /// Reason why there are no further frames.
    pub end: UnwindEnd,
}

/// Reason why an unwound stack ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnwindEnd {
    /// The last frame is the start of the thread.
    Complete,
    /// The copy ends before the frame of the next caller.
    StackEnd,
    /// There is no usable unwind information for the last frame, or its return address is in no executable mapping.
    NoInfo,
    /// The stack has more frames than [`UNWOUND_FRAMES_MAX`](super::UNWOUND_FRAMES_MAX), or needs too much work.
    Limit,
    /// The worker failed, or took too long. The stack has its innermost frame only.
    Failed,
}

impl Symbolizer {
    /// Unwinds copied stacks of one process.
    ///
    /// Call it while the process exists, or after [`Symbolizer::observe`]. Many stacks at once take less time: the first stacks of a process
    /// read the tables of its files, which takes milliseconds, and each call has a round trip to the worker.
    pub fn unwind(&mut self, pid: u32, copies: &[StackCopy<'_>]) -> Vec<Unwound> {
        let deadline = Instant::now() + UNWIND_LIMIT;
        if self.processes.get(pid).is_none() {
            // If it fails, the frames are addresses.
            let _ = self.observe(pid);
        }
        if let Some(process) = self.processes.get_mut(pid) {
            process.is_unwound = true;
        }
        let mut unwound = Vec::with_capacity(copies.len());
        for copies in copies.chunks(COPIES_MAX) {
            let chains = self.chains(pid, copies, deadline);
            let all = copies.iter().zip(chains);
            unwound.extend(all.map(|(copy, chain)| self.unwound(pid, copy, chain)));
        }
        unwound
    }

    /// Returns the addresses of each stack; `None` for stacks that failed.
    fn chains(
        &mut self,
        pid: u32,
        copies: &[StackCopy<'_>],
        deadline: Instant,
    ) -> Vec<Option<Chain>> {
        let mut chains = vec![None; copies.len()];
        let mut open: Vec<usize> = (0..copies.len()).collect();
        let mut looked = None;
        let mut closed = HashSet::new();
        for _ in 0..ROUNDS_MAX {
            let failed = self.processes.get(pid).map(|process| process.failures);
            let may = failed.is_some_and(|failures| failures < FAILURES_MAX);
            if open.is_empty() || !may || Instant::now() >= deadline {
                break;
            }
            let (mappings, files) = self.mapped(pid, &closed);
            let copies = open.iter().filter_map(|index| copies.get(*index));
            let request = Request::Unwind {
                mappings,
                copies: copies.map(copied).collect(),
            };
            let Some(found) = self.ask_to_unwind(pid, &request, open.len()) else {
                break;
            };
            let mut wanted = BTreeSet::new();
            let mut is_lost = false;
            let mut again = Vec::new();
            for (index, chain) in open.into_iter().zip(found) {
                match chain.end {
                    End::NotLoaded(key) => {
                        wanted.insert(key);
                        again.push(index);
                    }
                    End::Unmapped => is_lost = true,
                    End::Complete | End::Short | End::NoTables | End::Limit => {}
                }
                chains[index] = Some(chain);
            }
            let wanted = wanted.iter().map(|key| files.get(key).copied());
            for id in wanted.collect::<Vec<_>>() {
                match id {
                    Some(id) => {
                        if !self.load_tables(pid, id) {
                            closed.insert(id);
                        }
                    }
                    // A hostile file has taken over the worker.
                    None => again.clear(),
                }
            }
            if is_lost
                && looked.is_none()
                && let Some((_, pause)) = self.may_look_again(pid)
            {
                // It may have mapped more files since.
                looked = Some(pause);
                let _ = self.observe(pid);
                again.extend((0..chains.len()).filter(|index| is_unmapped(&chains[*index])));
            }
            open = again;
        }
        if let Some(pause) = looked {
            self.note_look(pid, pause, !chains.iter().any(is_unmapped));
        }
        chains
    }

    fn ask_to_unwind(&mut self, pid: u32, request: &Request, count: usize) -> Option<Vec<Chain>> {
        match self.link.ask(request, &[], ASK_LIMIT) {
            Ok(Reply::Unwound(chains)) if chains.len() == count => Some(chains),
            Err(AskError::Start { .. } | AskError::NotStarted) => None,
            Ok(_) | Err(AskError::TimedOut { .. } | AskError::Ended) => {
                self.counts.failures += 1;
                if let Some(process) = self.processes.get_mut(pid) {
                    process.failures += 1;
                }
                None
            }
        }
    }

    /// Returns the mappings of a process, and its files by the keys of their tables.
    fn mapped(
        &mut self,
        pid: u32,
        closed: &HashSet<FileId>,
    ) -> (Vec<Mapped>, HashMap<Key, FileId>) {
        let vdso = self.vdso();
        let mut files = HashMap::new();
        let Some(process) = self.processes.get(pid) else {
            return (Vec::new(), files);
        };
        let mappings = process.mapped().map(|(start, end, offset, what)| {
            let id = match what {
                What::File(id) => Some(*id),
                What::Vdso => vdso,
                What::Lost(_) | What::Anonymous => None,
            };
            let id = id.filter(|id| {
                let file = self.files.get(*id);
                !file.without_tables && file.detail != Detail::Nothing && !closed.contains(id)
            });
            let tables = id.map(|id| (TABLES_KEY | self.files.key(id), id));
            files.extend(tables);
            Mapped {
                start,
                end,
                offset,
                tables: tables.map(|(key, _)| key),
            }
        });
        (mappings.collect(), files)
    }

    /// Sends the tables of a file to the worker, or records that there are none. Returns `false` if the file cannot be opened now.
    fn load_tables(&mut self, pid: u32, id: FileId) -> bool {
        if self.files.get(id).held().is_none() {
            // It was released; the process still has it, or nothing has.
            let _ = self.observe(pid);
        }
        self.files.touch(id);
        let reply = self.load(id, Source::Tables);
        let started = self.link.started();
        if let Some(Err(AskError::TimedOut { .. } | AskError::Ended)) = &reply {
            self.blame_for(id);
        }
        let file = self.files.get_mut(id);
        match reply {
            Some(Ok(Reply::Loaded { .. })) => file.tables_by = started,
            // Somebody else may have ended the worker, or have slowed it down.
            Some(Err(AskError::Ended)) if !file.ended_a_worker => file.ended_a_worker = true,
            Some(Err(AskError::TimedOut { .. })) if !file.load_timed_out => {
                file.load_timed_out = true;
            }
            Some(Err(AskError::Start { .. } | AskError::NotStarted)) => {}
            Some(Ok(_) | Err(AskError::TimedOut { .. } | AskError::Ended)) => {
                file.without_tables = true;
            }
            None => return false,
        }
        true
    }

    fn unwound(&self, pid: u32, copy: &StackCopy<'_>, chain: Option<Chain>) -> Unwound {
        let Some(Chain { addresses, end }) = chain else {
            return Unwound {
                frames: vec![self.user_addr(pid, copy.registers.ip, 0)],
                end: UnwindEnd::Failed,
            };
        };
        let end = match end {
            End::Complete => UnwindEnd::Complete,
            End::Short => UnwindEnd::StackEnd,
            End::NoTables | End::Unmapped => UnwindEnd::NoInfo,
            End::Limit => UnwindEnd::Limit,
            End::NotLoaded(_) => UnwindEnd::Failed,
        };
        let addresses = addresses.into_iter().enumerate();
        let frames = addresses
            .map(|(index, address)| self.user_addr(pid, address, u64::from(index > 0)))
            .collect();
        Unwound { frames, end }
    }

    /// Returns an address as the kernel returns those of its own stacks. `back` is 1 for return addresses: the call is in the mapping.
    fn user_addr(&self, pid: u32, address: u64, back: u64) -> UserAddr {
        let process = self.processes.get(pid);
        let found = process.and_then(|process| process.at(address.wrapping_sub(back)));
        if let Some((What::File(id), offset)) = found
            && let Some(id) = self.files.get(*id).build_id
        {
            let offset = offset.wrapping_add(back);
            return UserAddr::BuildId { id, offset };
        }
        UserAddr::Ip(address)
    }
}

fn is_unmapped(chain: &Option<Chain>) -> bool {
    let end = chain.as_ref().map(|chain| chain.end);
    end == Some(End::Unmapped)
}

fn copied(copy: &StackCopy<'_>) -> Copied {
    Copied {
        registers: copy.registers,
        address: copy.address,
        stack: copy.bytes[..copy.bytes.len().min(super::STACK_COPY_BYTES)].to_vec(),
    }
}
