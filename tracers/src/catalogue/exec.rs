//! `exec`: options and columns. Kernel side: `agent-ebpf/src/bin/exec.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Programs executed with execve and execveat, and failed attempts.
///
/// Arguments are read from the memory of the new program. After a failure they are read from the caller's memory.
/// A call that seccomp or a ptrace tracer handles instead of the kernel counts as failed: with `ENOSYS` if seccomp sends SIGSYS.
/// A call in which seccomp kills the thread at once (`SECCOMP_RET_KILL_THREAD`, before 5.16 also `SECCOMP_RET_KILL_PROCESS`) has no row.
/// If a ptrace tracer changes the number of a call, the row shows the new call, which the kernel executes.
#[event]
pub struct Exec {
    /// Time at which the program was loaded, or the call failed.
    #[wide]
    pub time: Time,
    /// Task that called exec. After a success it has the new program's name.
    pub task: Task,
    /// PID of the parent process, in the host's PID namespace.
    pub ppid: u32,
    pub _pad: u32,
    /// 0, or the error of the call.
    pub result: Outcome,
    /// Path of the program: the path that the kernel opened, or after a failure the caller's text.
    pub filename: Path,
    /// Arguments, starting with the program's name.
    pub args: Args,
}

/// Options of `exec`. Each option restricts the traced events.
#[params]
pub struct Params {
    /// Show only failed attempts.
    pub failed_only: bool,
}

impl Tracer for Exec {
    type Params = Params;
    const CLASS: Class = Class::Payload;
    const FAMILY: Family = Family::Syscalls;
    // Not the calls' functions: what seccomp answers never gets there.
    const POINTS: &'static [&'static [Point]] = &[&[raw_tp("sched_process_exec"), raw_tp("sys_exit")]];
    const COST: &'static str = "about 3 µs per program, and up to 0.1 µs per system call of everything on the host";
    const EXAMPLES: &'static [&'static str] =
        &["-- make -j4", "--failed-only --container 3f2a", "--host --duration 1m -o json"];
}
