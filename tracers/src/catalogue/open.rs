//! `open`: what it takes and what it emits. Kernel side: `agent-ebpf/src/bin/open.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Files opened by open, openat, openat2 and creat, with result and latency.
///
/// The path of a file that was opened is the one that the kernel resolved, as the process sees it from its own root.
/// Where nothing was opened it is the text that the caller passed, which another thread may have changed meanwhile.
/// A call that seccomp or a tracer (ptrace) answers in the kernel's place is a row as well: `ENOSYS` where seccomp answers by SIGSYS.
/// One in which seccomp kills the thread at once (`SECCOMP_RET_KILL_THREAD`, before 5.16 also `SECCOMP_RET_KILL_PROCESS`) is in no row.
/// A call whose number a tracer changes is the call of its new number, as for the kernel.
/// Files opened through io_uring are not seen.
#[event]
pub struct Open {
    /// When the call returned.
    #[wide]
    pub time: Time,
    /// Time in the call; 0 where its beginning was not seen, because it was before the trace or the kernel never began the call.
    pub latency_ns: u64,
    /// The task that called.
    pub task: Task,
    /// Flags as passed, but for O_LARGEFILE, which the kernel sets by itself; `unreadable` where those of openat2 could not be read.
    pub flags: OpenFlags,
    /// The file descriptor, or the error.
    pub result: Outcome,
    /// Permission bits for a file that would be created; 0 where none would.
    #[wide]
    pub mode: Mode,
    /// Whether `path` is the kernel's; if not, it is the caller's text.
    #[wide]
    pub resolved: Bool,
    pub _pad: [u8; 3],
    /// The path.
    pub path: Path,
}

/// Options of `open`; each narrows what is traced.
#[params]
pub struct Params {
    /// Only calls that failed.
    pub failed_only: bool,
    /// Only calls that asked to write.
    pub write_only: bool,
    /// Only calls that took at least this long.
    pub min_latency_ns: u64,
}

impl Tracer for Open {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Syscalls;
    // Not the function do_sys_openat2: what seccomp answers never gets there, nor does a hook see a call that is in it already.
    const POINTS: &'static [&'static [Point]] = &[&[raw_tp("sys_enter"), raw_tp("sys_exit"), raw_tp("sched_process_exit")]];
    const COST: &'static str = "about 2 µs per file opened, and up to 0.1 µs per system call of everything on the host";
    const EXAMPLES: &'static [&'static str] =
        &["-o json -- ls -l /etc", "--failed-only --pid 4242", "--write-only --container 3f2a"];
}
