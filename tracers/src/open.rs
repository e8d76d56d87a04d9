//! `open`: what it takes and what it emits. Kernel side: `agent-ebpf/src/bin/open.rs`.
use crate::{Family, Tracer, prelude::*};

/// Files opened by open, openat, openat2 and creat, with result and latency.
///
/// The path of a file that was opened is the one that the kernel resolved, as the process sees it from its own root.
/// Where nothing was opened it is the text that the caller passed, which another thread may have changed meanwhile.
/// Files opened through io_uring are not seen.
#[event]
pub struct Open {
    /// When the call returned.
    #[wide]
    pub time: Time,
    /// Time in the call.
    pub latency_ns: u64,
    /// The task that called.
    pub task: Task,
    /// Flags as passed, but for O_LARGEFILE, which the kernel sets by itself.
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
    const FAMILY: Family = Family::Syscalls;
    const HOOKS: &'static [&'static [Hook]] = &[
        // All four calls, 32-bit ones too, go through this function, and nothing else is slowed down.
        &[
            fentry("do_sys_openat2").by("openat2_enter"),
            fexit("do_sys_openat2").by("openat2_exit"),
            raw_tp("sched_process_exit"),
        ],
        &[raw_tp("sys_enter"), raw_tp("sys_exit"), raw_tp("sched_process_exit")],
    ];
    const COST: &'static str = "about 2 µs per file opened; where the kernel has no fentry, 0.1 µs per system call of everything";
    const EXAMPLES: &'static [&'static str] =
        &["-o json -- ls -l /etc", "--failed-only --pid 4242", "--write-only --container 3f2a"];
}
