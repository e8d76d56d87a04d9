//! Tasks: the identity of processes and threads.

use crate::{kernel_fields, read_kernel};
use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
    generated::{
        bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_task,
        bpf_ktime_get_boot_ns,
    },
};
use core::mem::MaybeUninit;
use tracers::{Pid, Target, Task};

kernel_fields! {
    TASK_TGID = task_struct.tgid: u32;
    TASK_PID = task_struct.pid: u32;
    TASK_COMM = task_struct.comm: u8;
    TASK_FLAGS = task_struct.flags: u32;
    TASK_GROUP_LEADER = task_struct.group_leader: *const u8;
    TASK_THREAD_PID = task_struct.thread_pid: *const u8;
    PID_LEVEL = pid.level: u32;
    PID_NUMBERS = pid.numbers: u8;
    UPID_NR = upid.nr: u32;
    UPID_NS = upid.ns: u64;
}

/// Returns the kernel's `struct task_struct` of the current task.
#[inline(always)]
pub fn current() -> *const u8 {
    // SAFETY: the helper only returns a pointer.
    unsafe { bpf_get_current_task() as *const u8 }
}

/// Flag of a thread that exits, set before sched_process_exit: PF_EXITING, include/linux/sched.h.
const EXITING: u32 = 4;

/// Returns whether a thread is exiting.
///
/// # Errors
/// Where the task cannot be read.
#[inline(always)]
pub fn is_exiting(task: *const u8) -> Result<bool, i32> {
    Ok(TASK_FLAGS.read(task)? & EXITING != 0)
}

/// Returns the time of CLOCK_BOOTTIME, ns.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper only returns a number.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Returns the PID of the current process in the host's namespace.
#[inline(always)]
pub fn current_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Returns the name of the current thread.
#[inline(always)]
pub fn current_comm() -> [u8; 16] {
    // Not zeroed before: the compiler would do it byte by byte.
    let mut comm = MaybeUninit::<[u64; 2]>::uninit();
    // SAFETY: the helper fills all of it, also where it fails.
    let words = unsafe {
        bpf_get_current_comm(comm.as_mut_ptr().cast(), 16);
        comm.assume_init()
    };
    // SAFETY: as many bytes, of which each is one of a name.
    unsafe { (&raw const words).cast::<[u8; 16]>().read() }
}

/// Returns the current task in the form of rows, selected by `target`.
#[inline(always)]
pub fn current_task(target: Target) -> Task {
    let (pid_tgid, uid_gid) = (bpf_get_current_pid_tgid(), bpf_get_current_uid_gid());
    let pid = (pid_tgid >> 32) as u32;
    Task {
        // SAFETY: the helper only returns a number.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        pid: Pid(pid),
        tid: pid_tgid as u32,
        ns_pid: current_ns_pid().unwrap_or(pid),
        uid: uid_gid as u32,
        gid: (uid_gid >> 32) as u32,
        target,
        comm: current_comm(),
    }
}

/// Returns the PID of the process of `task` in its own PID namespace.
#[inline(always)]
pub fn ns_pid(task: *const u8) -> Result<u32, i32> {
    let leader = TASK_GROUP_LEADER.read(task)?;
    let pid = TASK_THREAD_PID.read(leader)?;
    number(pid, PID_LEVEL.read(pid)?)
}

/// Returns the same for the current process.
#[inline(always)]
fn current_ns_pid() -> Result<u32, i32> {
    let leader = TASK_GROUP_LEADER.of_current_task()?;
    let pid = TASK_THREAD_PID.load(leader)?;
    match PID_LEVEL.load(pid)? {
        0 => number(pid, 0),
        // The verifier refuses the addition of an unknown number to a typed pointer.
        level => number(TASK_THREAD_PID.read(leader)?, level),
    }
}

/// Returns the number of a `struct pid` at a level.
#[inline(always)]
fn number(pid: *const u8, level: u32) -> Result<u32, i32> {
    // `numbers` is an array of `struct upid { int nr; struct pid_namespace *ns; }`: the pointer is its last member.
    let upid_bytes = UPID_NS.of(core::ptr::null()) as usize + size_of::<u64>();
    let upid = PID_NUMBERS
        .of(pid)
        .wrapping_add(level as usize * upid_bytes);
    UPID_NR.read(upid)
}

/// Returns the name of a task.
#[inline(always)]
pub fn comm(field: *const u8) -> Result<[u8; 16], i32> {
    let mut comm = [0; 16];
    read_kernel(field, &mut comm)?;
    Ok(comm)
}
