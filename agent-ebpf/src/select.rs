//! Whom to trace: asked before anything else, so that what is not selected costs one look into a map.

use crate::{Loss, TASK_TGID, book, current, current_tgid, kernel_fields};
use aya_ebpf::{
    Global, helpers::generated::bpf_get_current_ancestor_cgroup_id, macros::map, maps::HashMap,
    programs::RawTracePointContext,
};

use tracers::program;

/// Which of the maps below count: a sum of the `BY_` constants.
#[unsafe(no_mangle)]
pub static SELECT: Global<u32> = Global::new(0);
/// Processes in `PROCESSES`.
pub const BY_PROCESS: u32 = 1;
/// Cgroups in `CGROUPS`.
pub const BY_CGROUP: u32 = 2;
/// Everything but the process in `SELF`.
pub const BY_HOST: u32 = 4;

/// The tracing process itself, which `BY_HOST` leaves out: its own output would be traced again.
#[unsafe(no_mangle)]
pub static SELF: Global<u32> = Global::new(0);

/// 1 where tracing programs may call bpf_get_current_ancestor_cgroup_id: 5.10's may not.
#[unsafe(no_mangle)]
pub static ANCESTOR_HELPER: Global<u32> = Global::new(0);

/// Bit n: a selected cgroup lies at depth n below the root.
#[unsafe(no_mangle)]
pub static CGROUP_DEPTHS: Global<u32> = Global::new(0);
/// Deepest cgroup that can be selected.
const DEPTHS: u32 = 24;

/// Selected processes: [`NOW`] or [`FROM_EXEC`]. When it is full a further child of a selected process is not traced,
/// and `map_full` says so.
#[map]
pub static PROCESSES: HashMap<u32, u32> = HashMap::with_max_entries(16384, 0);
/// Traced.
pub const NOW: u32 = 1;
/// Traced from when it executes a program: the command that we start is until then this program, not that.
pub const FROM_EXEC: u32 = 2;

/// Ids of selected cgroups, each with everything below it. Filled by the loader, which knows its size.
#[map]
pub static CGROUPS: HashMap<u64, u32> = HashMap::with_max_entries(1024, 0);

kernel_fields! {
    TASK_SIGNAL = task_struct.signal: *const u8;
    SIGNAL_LIVE = signal_struct.live: i32;
    TASK_CGROUPS = task_struct.cgroups: *const u8;
    CSS_SET_DFL = css_set.dfl_cgrp: *const u8;
    CGROUP_KN = cgroup.kn: *const u8;
    CGROUP_PARENT = cgroup.self.parent: *const u8;
    CGROUP_SELF = cgroup.self: u8;
    KERNFS_ID = kernfs_node.id: u64;
}

/// Whether the current task is traced.
#[inline(always)]
pub fn selected() -> bool {
    let by = SELECT.load();
    if by & BY_HOST != 0 {
        return current_tgid() != SELF.load();
    }
    if by & BY_PROCESS != 0 && process_selected(current_tgid()) {
        return true;
    }
    if by & BY_CGROUP == 0 {
        return false;
    }
    match ANCESTOR_HELPER.load() {
        1 => current_in_cgroups(),
        _ => in_cgroups(current()).unwrap_or(false),
    }
}

/// Whether the current task lies in a selected cgroup, by the depths at which there are any.
#[inline(always)]
fn current_in_cgroups() -> bool {
    let depths = CGROUP_DEPTHS.load();
    for depth in 0..DEPTHS {
        if depths >> depth == 0 {
            break;
        }
        if depths >> depth & 1 == 1 {
            // SAFETY: the helper only returns a number, 0 where the task lies less deep.
            let id = unsafe { bpf_get_current_ancestor_cgroup_id(depth as i32) };
            // SAFETY: the value is not read.
            if unsafe { CGROUPS.get(&id) }.is_some() {
                return true;
            }
        }
    }
    false
}

/// Whether a task lies in a selected cgroup, by going up from its own.
#[inline(always)]
fn in_cgroups(task: *const u8) -> Result<bool, i32> {
    let mut cgroup = CSS_SET_DFL.read(TASK_CGROUPS.read(task)?)?;
    for _ in 0..DEPTHS {
        let id = KERNFS_ID.read(CGROUP_KN.read(cgroup)?)?;
        // SAFETY: the value is not read.
        if unsafe { CGROUPS.get(&id) }.is_some() {
            return Ok(true);
        }
        let parent = CGROUP_PARENT.read(cgroup)?;
        if parent.is_null() {
            break;
        }
        // The parent is given by its `self` member.
        cgroup = CGROUP_SELF.container(parent);
    }
    Ok(false)
}

#[inline(always)]
fn process_selected(tgid: u32) -> bool {
    // SAFETY: a map value of four bytes, read once.
    unsafe { PROCESSES.get(&tgid) }.is_some_and(|state| *state == NOW)
}

/// Whether another task than the current one is traced; dearer than [`selected`], for rare events.
#[inline(always)]
pub fn task_selected(task: *const u8) -> Result<bool, i32> {
    let by = SELECT.load();
    let tgid = TASK_TGID.read(task)?;
    if by & BY_HOST != 0 {
        return Ok(tgid != SELF.load());
    }
    if by & BY_PROCESS != 0 && process_selected(tgid) {
        return Ok(true);
    }
    if by & BY_CGROUP == 0 {
        return Ok(false);
    }
    in_cgroups(task)
}

/// A child of a selected process is selected before its first instruction.
#[program(raw_tp = "sched_process_fork")]
fn select_fork(ctx: &RawTracePointContext) {
    book(on_fork(ctx));
}

#[inline(always)]
fn on_fork(ctx: &RawTracePointContext) -> Result<bool, Loss> {
    let (parent, child): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    if let (Ok(parent), Ok(child)) = (TASK_TGID.read(parent), TASK_TGID.read(child)) {
        // A new thread has its process's number.
        if parent != child && process_selected(parent) {
            PROCESSES
                .insert(&child, &NOW, 0)
                .map_err(|_| Loss::MapFull)?;
        }
    }
    Ok(false)
}

/// The command that we start is traced from here.
#[program(raw_tp = "sched_process_exec")]
fn select_exec(_ctx: &RawTracePointContext) {
    on_exec();
}

#[inline(always)]
fn on_exec() {
    let tgid = current_tgid();
    if let Some(state) = PROCESSES.get_ptr_mut(&tgid) {
        // SAFETY: an aligned u32 in a map, written whole.
        unsafe { *state = NOW };
    }
}

/// A process that is gone frees its place, and its number may be given again. Attached last, so that a tracer's own program at this
/// hook still finds it.
#[program(raw_tp = "sched_process_exit")]
fn select_exit(ctx: &RawTracePointContext) {
    on_exit(ctx);
}

#[inline(always)]
fn on_exit(ctx: &RawTracePointContext) {
    let task: *const u8 = ctx.arg(0);
    // `live` counts the threads that have not begun to exit.
    if let Ok(0) = TASK_SIGNAL
        .read(task)
        .and_then(|signal| SIGNAL_LIVE.read(signal))
    {
        let _ = PROCESSES.remove(&current_tgid());
    }
}
