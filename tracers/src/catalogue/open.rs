//! `open`: options and columns. Kernel side: `agent-ebpf/src/bin/open.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Files opened by open, openat, openat2 and creat, with result and latency.
///
/// The path of an opened file is the path that the kernel resolved, as seen from the root directory of the process.
/// If the call failed, the path is the caller's text, which another thread may have changed in the meantime.
/// A call that seccomp or a ptrace tracer handles instead of the kernel has a row as well: with `ENOSYS` if seccomp sends SIGSYS.
/// A call in which seccomp kills the thread at once (`SECCOMP_RET_KILL_THREAD`, before 5.16 also `SECCOMP_RET_KILL_PROCESS`) has no row.
/// If a ptrace tracer changes the number of a call, the row shows the new call, which the kernel executes.
/// Files opened through io_uring are not traced.
#[event]
pub struct Open {
    /// Time at which the call returned.
    #[wide]
    pub time: Time,
    /// Duration of the call; 0 if its start was not recorded, because it was before the trace or the kernel never started the call.
    pub latency_ns: u64,
    /// Task that made the call.
    pub task: Task,
    /// Flags as passed, without O_LARGEFILE, which the kernel adds itself; `unreadable` if the flags of openat2 could not be read.
    pub flags: OpenFlags,
    /// File descriptor, or the error.
    pub result: Outcome,
    /// Permission bits for a created file; 0 if the call does not create files.
    #[wide]
    pub mode: Mode,
    /// Whether `path` is the path that the kernel resolved. If not, `path` is the caller's text.
    #[wide]
    pub resolved: Bool,
    pub _pad: [u8; 3],
    /// Path of the file.
    pub path: Path,
}

/// Options of `open`. Each option restricts the traced events.
#[params]
pub struct Params {
    /// Show only failed calls.
    pub failed_only: bool,
    /// Show only calls that open for writing.
    pub write_only: bool,
    /// Show only calls with at least this duration.
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
