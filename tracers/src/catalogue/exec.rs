//! `exec`: what it takes and what it emits. Kernel side: `agent-ebpf/src/bin/exec.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Programs started, and those that failed to, by execve and execveat.
///
/// The arguments of a program that started are read from its own memory, those of one that failed from the caller's.
/// A call that seccomp or a tracer (ptrace) answers in the kernel's place is a failure as well: `ENOSYS` where seccomp answers by SIGSYS.
/// One in which seccomp kills the thread at once (`SECCOMP_RET_KILL_THREAD`, before 5.16 also `SECCOMP_RET_KILL_PROCESS`) is in no row.
/// A call whose number a tracer changes is the call of its new number, as for the kernel.
#[event]
pub struct Exec {
    /// When the program was in place, or the call had failed.
    #[wide]
    pub time: Time,
    /// The task: its name is already the new program's where that started.
    pub task: Task,
    /// The parent process, as the host numbers it.
    pub ppid: u32,
    pub _pad: u32,
    /// 0, or the error.
    pub result: Outcome,
    /// The program's file: as the kernel opened it where it started, as the caller named it where not.
    pub filename: Path,
    /// The arguments, the first of which is the program's own name.
    pub args: Args,
}

/// Options of `exec`; each narrows what is traced.
#[params]
pub struct Params {
    /// Only programs that failed to start.
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
