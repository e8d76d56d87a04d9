//! Names kernel addresses, through the worker's table of /proc/kallsyms.

use super::{
    FrameId, RESOLVED_MAX, Symbolizer,
    wire::{Found, Key, Reply, Request, Source},
};
use rustix::fs::{Mode, OFlags};
use std::{
    collections::HashSet,
    fs::File,
    os::fd::AsFd,
    time::{Duration, Instant},
};

const KEY: Key = Key::MAX;
/// Reading all symbols takes 100 ms.
const LIMIT: Duration = Duration::from_secs(5);
const ADDRESSES_MAX: usize = 4096;
/// Maximum time until new modules and BPF programs have names.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// How often a lost worker is replaced for one question.
const TRIES_MAX: usize = 4;

/// Why kernel addresses have no names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelUnnamed {
    /// The kernel shows us no addresses.
    #[error("kernel symbols need CAP_SYSLOG, and sysctl kernel.kptr_restrict below 2")]
    Hidden,
    /// The list of symbols cannot be read.
    #[error("kernel symbols cannot be read from /proc/kallsyms")]
    Unreadable,
}

/// What is known of the kernel's symbols.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    unnamed: Option<KernelUnnamed>,
    loaded_by: u64,
    loaded: Option<Instant>,
}

impl Kernel {
    pub(super) fn unnamed(&self) -> Option<KernelUnnamed> {
        self.unnamed
    }
}

/// Maximum number of innermost frames that may be the probe's own.
const PROBE_FRAMES_MAX: usize = 6;

/// Returns whether a kernel function only calls the programs of a tracepoint (include/trace/bpf_probe.h, include/linux/tracepoint.h), or
/// is such a program.
fn is_of_probe(name: &str) -> bool {
    ["__traceiter_", "__bpf_trace_", "bpf_trace_run", "bpf_prog_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

impl Symbolizer {
    /// Names a kernel stack, innermost frame first, without the frames of the probe that recorded it.
    ///
    /// A frame without a name is `[kernel]`, without its address: addresses would reveal the kernel's location in memory, which the node hides.
    /// [`Symbolizer::kernel_unnamed`] returns why there are no names.
    pub fn kernel(&mut self, stack: &[u64]) -> Vec<FrameId> {
        // As for user stacks: callers are at their calls.
        let addresses: Vec<u64> = stack
            .iter()
            .enumerate()
            .map(|(index, address)| address.saturating_sub(u64::from(index > 0)))
            .collect();
        self.name_in_kernel(&addresses);
        let mut frames = Vec::with_capacity(stack.len());
        for address in addresses {
            match self.resolved.get(&(KEY, address)) {
                Some(resolved) => frames.extend_from_slice(resolved),
                None => frames.push(self.unnamed_in_kernel()),
            }
        }
        let innermost = frames.iter().take(PROBE_FRAMES_MAX);
        let of_probe = innermost.map(|id| is_of_probe(&self.frames.get(*id).name));
        let probe = of_probe.collect::<Vec<_>>().into_iter().rposition(|is| is);
        frames.drain(..probe.map_or(0, |last| last + 1));
        frames
    }

    fn unnamed_in_kernel(&mut self) -> FrameId {
        let name = self.frames.word("[kernel]");
        self.plain_frame(name, "[kernel]", 0)
    }

    fn name_in_kernel(&mut self, addresses: &[u64]) {
        let new = |address: &&u64| !self.resolved.contains_key(&(KEY, **address));
        let mut missing: Vec<u64> = addresses
            .iter()
            .filter(new)
            .copied()
            .collect::<HashSet<_>>()
            .into_iter()
            .collect();
        if missing.is_empty() || self.kernel.unnamed.is_some() {
            return;
        }
        if self.resolved.len() + missing.len() > RESOLVED_MAX {
            self.forget_resolved();
            missing = addresses.to_vec();
        }
        for addresses in missing.chunks(ADDRESSES_MAX) {
            if self.is_late() {
                return;
            }
            let Some(found) = self.ask_of_kernel(addresses) else {
                return;
            };
            for (address, found) in addresses.iter().zip(found) {
                let frames = match found.is_empty() {
                    true => [self.unnamed_in_kernel()].into(),
                    false => self.take(found, "[kernel]"),
                };
                self.remember((KEY, *address), frames);
            }
        }
    }

    fn ask_of_kernel(&mut self, addresses: &[u64]) -> Option<Vec<Vec<Found>>> {
        for _ in 0..TRIES_MAX {
            let fresh = self
                .kernel
                .loaded
                .is_some_and(|loaded| loaded.elapsed() < READ_AGAIN);
            let loaded = fresh && self.kernel.loaded_by == self.link.started();
            let request = Request::Resolve {
                key: KEY,
                addresses: addresses.to_vec(),
            };
            let reply = match loaded {
                true => self.link.ask(&request, &[], LIMIT).ok(),
                false => {
                    let began = Instant::now();
                    let reply = self.load_kernel();
                    // It depends on this machine alone, and everything after it would be late on a busy one.
                    self.deadline = self.deadline.map(|deadline| deadline + began.elapsed());
                    reply
                }
            };
            match reply {
                Some(Reply::Resolved(found)) if found.len() == addresses.len() => {
                    return Some(found);
                }
                Some(Reply::Loaded { .. }) => {
                    self.kernel.loaded_by = self.link.started();
                    self.kernel.loaded = Some(Instant::now());
                }
                Some(Reply::Hidden) => {
                    self.kernel.unnamed = Some(KernelUnnamed::Hidden);
                    return None;
                }
                // A worker that was lost, maybe by no fault of ours; or one that had to make room.
                _ => self.kernel.loaded = None,
            }
        }
        self.kernel.unnamed = Some(KernelUnnamed::Unreadable);
        None
    }

    fn load_kernel(&mut self) -> Option<Reply> {
        // The kernel decides here whether the reader of this descriptor sees addresses (kernel/kallsyms.c, v6.12: kallsyms_open).
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open("/proc/kallsyms", flags, Mode::empty()).ok()?);
        let request = Request::Load {
            key: KEY,
            source: Source::Kernel,
        };
        self.link.ask(&request, &[file.as_fd()], LIMIT).ok()
    }
}
