//! Selection of tasks. Programs check it first, so that an event of an unselected task costs one map lookup.

use crate::{
    BPF_F_MMAPABLE, Loss, TASK_TGID, add_atomic_u32, book, current, current_tgid, kernel_fields,
    masked, read_kernel, started, wake,
};
use aya_ebpf::{
    Global,
    helpers::{
        bpf_probe_read_kernel,
        generated::{bpf_get_current_ancestor_cgroup_id, bpf_probe_read_kernel_str},
    },
    macros::map,
    maps::{Array, HashMap},
    programs::RawTracePointContext,
};

use tracers::{
    Target,
    control::{
        CHOSEN_CGROUPS, CHOSEN_EACH, CHOSEN_PROCESSES, Chosen, Depths, Member, NO_DEPTH, POD_UID,
        PodUid, Process, STATIC_UID, by,
    },
    program,
};

/// The maps that select: a sum of the constants of [`by`].
#[unsafe(no_mangle)]
pub static SELECT: Global<u32> = Global::new(0);
/// PID of the tracing process in the machine's own PID namespace. This process is never selected, because its output would be traced again.
#[unsafe(no_mangle)]
pub static SELF: Global<u32> = Global::new(0);

/// 1 if tracing programs may call bpf_get_current_ancestor_cgroup_id: not on 5.10.
#[unsafe(no_mangle)]
pub static ANCESTOR_HELPER: Global<u32> = Global::new(0);

/// 0 if cgroups of version 2 are selected. Otherwise 1 + the number of the controller (`enum cgroup_subsys_id`) of the hierarchy of version 1.
#[unsafe(no_mangle)]
pub static CONTROLLER: Global<u32> = Global::new(0);
/// The number of that hierarchy; that of version 2 is 0 (cgroup_init, kernel/cgroup/cgroup.c).
#[unsafe(no_mangle)]
pub static HIERARCHY: Global<u32> = Global::new(0);

/// The id of the root of the loader's cgroup namespace, where that is not the hierarchy's: on a node that is a container. Depths of
/// `POD_LEVELS` and `CGROUP_DEPTHS` count from there; the helper counts from the hierarchy's, and is not used.
#[unsafe(no_mangle)]
pub static ROOT_CGROUP: Global<u64> = Global::new(0);

/// Number of levels at which the root of a cgroup namespace is searched for. A node that is a container lies 1 to 6 levels deep.
const ROOT_LEVELS: usize = 32;

/// At which depths below the hierarchy's root there are selected cgroups, the deepest first; [`NO_DEPTH`] ends the list.
/// The loader changes it as targets come and go: a cgroup is in `CGROUPS` before its depth is here.
#[map]
static CGROUP_DEPTHS: Array<Depths> = Array::with_max_entries(1, 0);
/// Selected processes. When it is full, a further child of a selected process is not traced, and is counted as `map_full`.
#[map]
pub static PROCESSES: HashMap<u32, Process> = HashMap::with_max_entries(16384, 0);

/// Ids of selected cgroups; each selects its whole subtree. The loader fills it and checks its size.
#[map]
pub static CGROUPS: HashMap<u64, Member> = HashMap::with_max_entries(1024, 0);

/// Upper bounds of the numbers of keys with each low part in `PROCESSES`, then in `CGROUPS`. Most unselected events cost one lookup here, a
/// fraction of a lookup in a hash map. The loader changes the numbers too, through a mapping.
#[map]
static CHOSEN: Array<Chosen> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[inline(always)]
fn chosen(of: usize, key: u64) -> Option<*mut u32> {
    let counts = CHOSEN.get_ptr_mut(0)?.cast::<u32>();
    Some(counts.wrapping_add(of + masked::<{ CHOSEN_EACH - 1 }>(key as usize)))
}

/// Returns whether a key may be in the map.
#[inline(always)]
fn may_be(of: usize, key: u64) -> bool {
    // SAFETY: an aligned u32 of the map's only entry.
    chosen(of, key).is_some_and(|count| unsafe { count.read_volatile() } != 0)
}

/// Counts a key that is about to be inserted, or was removed.
#[inline(always)]
fn choose(of: usize, key: u64, change: i32) {
    if let Some(count) = chosen(of, key) {
        // SAFETY: an aligned u32 of the map's only entry.
        unsafe { add_atomic_u32(count, change) };
    }
}

/// Selected pods by uid, also before they have a cgroup; a static pod's uid is shorter, and padded with zeros.
#[map]
pub static PODS: HashMap<PodUid, Member> = HashMap::with_max_entries(1024, 0);
/// Bit n: pods' cgroups are created at depth n; bit 32 + n: cgroups of containers beside their pods are.
/// Cgroups that a container creates are deeper, whatever their names.
#[map]
static POD_LEVELS: Array<u64> = Array::with_max_entries(1, 0);
/// Prefix of a pod's uid in the kubelet's names.
const POD: [u8; 3] = *b"pod";

kernel_fields! {
    TASK_SIGNAL = task_struct.signal: *const u8;
    SIGNAL_LIVE = signal_struct.live: i32;
    TASK_CGROUPS = task_struct.cgroups: *const u8;
    CSS_SET_DFL = css_set.dfl_cgrp: *const u8;
    CSS_SET_SUBSYS = css_set.subsys: u8;
    CSS_CGROUP = cgroup_subsys_state.cgroup: *const u8;
    CGROUP_KN = cgroup.kn: *const u8;
    // All cgroups on the path from the root, by level: pointers since 6.1, ids before.
    optional CGROUP_ANCESTORS = cgroup.ancestors: *const u8;
    optional CGROUP_ANCESTOR_IDS = cgroup.ancestor_ids: u64;
    KERNFS_ID = kernfs_node.id: u64;
    KERNFS_NAME = kernfs_node.name: *const u8;
    CGROUP_ROOT = cgroup.root: *const u8;
    ROOT_HIERARCHY = cgroup_root.hierarchy_id: i32;
    CGROUP_LEVEL = cgroup.level: i32;
}

/// Returns the target that selects the current task. If that cannot be read, the event is counted as lost.
#[inline(always)]
pub fn selected() -> Option<Target> {
    let target = or_lost(target());
    if target.is_some() {
        started();
    }
    target
}

/// Returns the target; if it could not be read, the event is counted as lost.
#[inline(always)]
fn or_lost(target: Result<Option<Target>, i32>) -> Option<Target> {
    match target {
        Ok(target) => target,
        Err(unreadable) => {
            book(Err(unreadable.into()));
            None
        }
    }
}

#[inline(always)]
fn target() -> Result<Option<Target>, i32> {
    let how = SELECT.load();
    let tgid = current_tgid();
    if tgid == SELF.load() {
        return Ok(None);
    }
    if how & by::HOST != 0 {
        return Ok(Some(Target::NONE));
    }
    if how & by::PROCESS != 0
        && let Some(member) = process_selected(tgid)
    {
        return Ok(Some(member.target));
    }
    if how & by::CGROUP == 0 {
        return Ok(None);
    }
    match ANCESTOR_HELPER.load() {
        1 => Ok(current_in_cgroups()),
        _ => in_cgroups(current()),
    }
}

/// Returns the target that selects the current task by cgroup, by the depths of selected cgroups.
#[inline(always)]
fn current_in_cgroups() -> Option<Target> {
    let depths = CGROUP_DEPTHS.get(0)?;
    for depth in depths {
        if *depth == NO_DEPTH {
            break;
        }
        // SAFETY: the helper only returns a number, 0 where the task lies less deep.
        let id = unsafe { bpf_get_current_ancestor_cgroup_id(i32::from(*depth)) };
        if let Some(member) = cgroup_selected(id) {
            return Some(member.target);
        }
    }
    None
}

/// Returns the cgroup of a set for one of its controllers.
#[inline(always)]
pub fn controller_cgroup(set: *const u8, controller: u32) -> Result<*const u8, i32> {
    let state = CSS_SET_SUBSYS.of(set).wrapping_add(controller as usize * 8);
    // SAFETY: the helper checks the address.
    let state: *const u8 = unsafe { bpf_probe_read_kernel(state.cast()) }?;
    CSS_CGROUP.read(state)
}

/// Returns the target that selects a task by cgroup, by the depths of selected cgroups, at any depth of the task itself.
#[inline(always)]
fn in_cgroups(task: *const u8) -> Result<Option<Target>, i32> {
    let set = TASK_CGROUPS.read(task)?;
    let cgroup = match CONTROLLER.load() {
        0 => CSS_SET_DFL.read(set)?,
        one_more => controller_cgroup(set, one_more - 1)?,
    };
    below_selected(cgroup)
}

/// Returns the target that selects a cgroup of the selection's hierarchy.
#[inline(always)]
fn below_selected(cgroup: *const u8) -> Result<Option<Target>, i32> {
    let level = CGROUP_LEVEL.read(cgroup)? as u32;
    let Some(root) = root_level(cgroup, level)? else {
        return Ok(None);
    };
    let Some(depths) = CGROUP_DEPTHS.get(0) else {
        return Ok(None);
    };
    for depth in depths {
        if *depth == NO_DEPTH {
            break;
        }
        let at = root + u32::from(*depth);
        if at <= level
            && let Some(member) = cgroup_selected(ancestor(cgroup, at)?)
        {
            return Ok(Some(member.target));
        }
    }
    Ok(None)
}

/// Returns the id of a cgroup's ancestor at a level; the cgroup itself is its ancestor at its own level.
#[inline(always)]
fn ancestor(cgroup: *const u8, level: u32) -> Result<u64, i32> {
    let at = level as usize * 8;
    if CGROUP_ANCESTORS.exists() {
        let ancestor = CGROUP_ANCESTORS.of(cgroup).cast::<u8>().wrapping_add(at);
        // SAFETY: the helper checks the address.
        let ancestor: *const u8 = unsafe { bpf_probe_read_kernel(ancestor.cast()) }?;
        return KERNFS_ID.read(CGROUP_KN.read(ancestor)?);
    }
    if !CGROUP_ANCESTOR_IDS.exists() {
        return Err(NO_ANCESTORS);
    }
    let id = CGROUP_ANCESTOR_IDS.of(cgroup).cast::<u8>().wrapping_add(at);
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(id.cast()) }
}

/// ENOENT: this kernel has no known representation of a cgroup's ancestors.
const NO_ANCESTORS: i32 = -2;
/// ELOOP: the root of a cgroup namespace is deeper than the search.
const TOO_DEEP: i32 = -40;

/// Returns the level of the cgroup from which depths count; `None` if a cgroup of this level is not below it.
#[inline(always)]
fn root_level(cgroup: *const u8, level: u32) -> Result<Option<u32>, i32> {
    let root = ROOT_CGROUP.load();
    if root == 0 {
        return Ok(Some(0));
    }
    for at in 0..ROOT_LEVELS as u32 {
        if at > level {
            return Ok(None);
        }
        if ancestor(cgroup, at)? == root {
            return Ok(Some(at));
        }
    }
    Err(TOO_DEEP)
}

#[inline(always)]
fn cgroup_selected(id: u64) -> Option<Member> {
    if !may_be(CHOSEN_CGROUPS, id) {
        return None;
    }
    // SAFETY: copied at once.
    unsafe { CGROUPS.get(&id) }.copied()
}

#[inline(always)]
fn process_selected(tgid: u32) -> Option<Member> {
    if !may_be(CHOSEN_PROCESSES, tgid.into()) {
        return None;
    }
    // SAFETY: words of a map's value, each read once.
    match unsafe { PROCESSES.get(&tgid) } {
        Some(process) if process.state == Process::NOW => Some(process.member),
        _ => None,
    }
}

/// Returns the target that selects another task than the current one. It costs more than [`selected`], for rare events.
#[inline(always)]
pub fn task_selected(task: *const u8) -> Result<Option<Target>, i32> {
    let target = target_of(task)?;
    if target.is_some() {
        started();
    }
    Ok(target)
}

/// Returns the same for iterator programs: if it cannot be read, the task is counted as a lost event.
#[inline(always)]
pub fn selected_task(task: *const u8) -> Option<Target> {
    or_lost(task_selected(task))
}

#[inline(always)]
fn target_of(task: *const u8) -> Result<Option<Target>, i32> {
    let how = SELECT.load();
    let tgid = TASK_TGID.read(task)?;
    if tgid == SELF.load() {
        return Ok(None);
    }
    if how & by::HOST != 0 {
        return Ok(Some(Target::NONE));
    }
    if how & by::PROCESS != 0
        && let Some(member) = process_selected(tgid)
    {
        return Ok(Some(member.target));
    }
    if how & by::CGROUP == 0 {
        return Ok(None);
    }
    in_cgroups(task)
}

/// Returns the target that selects an object of a cgroup of version 2, such as a socket. The current task and selected processes are not
/// considered. A trace that selects by a hierarchy of version 1 selects no such object.
#[inline(always)]
pub fn cgroup_of_object_selected(
    cgroup: impl FnOnce() -> Result<*const u8, i32>,
) -> Result<Option<Target>, i32> {
    let how = SELECT.load();
    let target = if how & by::HOST != 0 {
        Some(Target::NONE)
    } else if how & by::CGROUP == 0 || CONTROLLER.load() != 0 {
        None
    } else {
        match cgroup()? {
            cgroup if cgroup.is_null() => None,
            cgroup => below_selected(cgroup)?,
        }
    };
    if target.is_some() {
        started();
    }
    Ok(target)
}

/// Selects the child of a selected process, before the first instruction of the child.
#[program(raw_tp = "sched_process_fork")]
fn select_fork(ctx: &RawTracePointContext) {
    book(on_fork(ctx));
}

#[inline(always)]
fn on_fork(ctx: &RawTracePointContext) -> Result<bool, Loss> {
    let (parent, child): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    if let (Ok(parent), Ok(child)) = (TASK_TGID.read(parent), TASK_TGID.read(child)) {
        // A new thread has the PID of its process.
        if parent != child
            && let Some(member) = process_selected(parent)
        {
            started();
            let process = Process {
                state: Process::NOW,
                member,
            };
            choose(CHOSEN_PROCESSES, child.into(), 1);
            if PROCESSES.insert(&child, &process, 0).is_err() {
                choose(CHOSEN_PROCESSES, child.into(), -1);
                return Err(Loss::MapFull);
            }
            // The reader observes the process while it exists.
            wake();
        }
    }
    Ok(false)
}

/// Selects the command that we start, from its exec.
#[program(raw_tp = "sched_process_exec")]
fn select_exec(_ctx: &RawTracePointContext) {
    on_exec();
}

#[inline(always)]
fn on_exec() {
    let tgid = current_tgid();
    if let Some(process) = PROCESSES.get_ptr_mut(&tgid) {
        // SAFETY: an aligned u32 in a map, written whole.
        unsafe { (*process).state = Process::NOW };
    }
}

/// Removes an ended process from the selection, because its PID may be reused. Attached last, so that a tracer's own program at this hook still
/// finds it.
#[program(raw_tp = "sched_process_exit")]
fn select_exit(ctx: &RawTracePointContext) {
    on_exit(ctx);
}

#[inline(always)]
fn on_exit(ctx: &RawTracePointContext) {
    let task: *const u8 = ctx.arg(0);
    // `live` counts the threads that have not started to exit.
    if let Ok(0) = TASK_SIGNAL
        .read(task)
        .and_then(|signal| SIGNAL_LIVE.read(signal))
    {
        let tgid = current_tgid();
        if PROCESSES.remove(&tgid).is_ok() {
            choose(CHOSEN_PROCESSES, tgid.into(), -1);
            // It may have been the last process.
            wake();
        }
    }
}

/// Bytes of a directory's name, of which the kubelet's has fewer: NAME_MAX, include/uapi/linux/limits.h.
const NAME: usize = 256;
/// Suffix of a pod's uid with the systemd driver.
const SLICE: [u8; 6] = *b".slice";
/// What containerd puts behind that, with 64 digits after it, where it uses no driver of systemd's.
const BESIDE: [u8; 22] = *b".slice:cri-containerd:";
const CONTAINER_ID: usize = 64;

/// Returns the selected pod whose uid, after the kubelet's `pod`, ends the name of a cgroup, without the suffix of the systemd driver.
#[inline(always)]
fn pod_selected(name: *const u8, length: usize) -> Result<Option<Member>, Loss> {
    let mut uid = [0_u8; POD_UID];
    if let Some(start) = length.checked_sub(POD.len() + POD_UID)
        && is_pods(name.wrapping_add(start))?
    {
        read_kernel(name.wrapping_add(start + POD.len()), &mut uid)?;
        for byte in &mut uid {
            if *byte == b'_' {
                *byte = b'-';
            }
        }
        // SAFETY: copied at once.
        return Ok(unsafe { PODS.get(&uid) }.copied());
    }
    let Some(start) = length.checked_sub(POD.len() + STATIC_UID) else {
        return Ok(None);
    };
    if !is_pods(name.wrapping_add(start))? {
        return Ok(None);
    }
    let mut digits = [0_u8; STATIC_UID];
    read_kernel(name.wrapping_add(start + POD.len()), &mut digits)?;
    uid[..STATIC_UID].copy_from_slice(&digits);
    // SAFETY: copied at once.
    Ok(unsafe { PODS.get(&uid) }.copied())
}

/// Returns whether a part of a name is the kubelet's prefix of a uid.
#[inline(always)]
fn is_pods(name: *const u8) -> Result<bool, i32> {
    let mut before = [0_u8; POD.len()];
    read_kernel(name, &mut before)?;
    Ok(before == POD)
}

/// `(struct cgroup *cgrp, const char *path)`. Selects a pod's cgroup at its creation, before it can contain processes.
#[program(raw_tp = "cgroup_mkdir")]
fn select_pod(ctx: &RawTracePointContext) {
    if let Err(loss) = on_mkdir(ctx.arg(0)) {
        book(Err(loss));
    }
}

/// The kubelet names a pod's directory `kubepods-burstable-podUID.slice`, with `_` for `-` in the uid, or `podUID`:
/// pkg/kubelet/cm/{pod_container_manager,cgroup_manager}_linux.go. A static pod's name may be shorter than another pod's uid. `pod_named`
/// and `pod_beside` of `engine/src/select/names.rs` read the same names.
#[inline(always)]
fn on_mkdir(cgroup: *const u8) -> Result<(), Loss> {
    let node = CGROUP_KN.read(cgroup)?;
    let name = KERNFS_NAME.read(node)?;
    let mut whole = [0_u8; NAME];
    // SAFETY: the buffer has that many bytes; a bad source is an error.
    let read =
        unsafe { bpf_probe_read_kernel_str(whole.as_mut_ptr().cast(), NAME as u32, name.cast()) };
    // Without its zero byte; an error is negative.
    if (read as i64) < (POD.len() + STATIC_UID) as i64 {
        return Ok(());
    }
    let length = read as usize - 1;
    let mut end = [0_u8; SLICE.len()];
    read_kernel(name.wrapping_add(length - SLICE.len()), &mut end)?;
    let (after, first_level) = if end == SLICE {
        (SLICE.len(), 0)
    } else if is_beside(name, length)? {
        (BESIDE.len() + CONTAINER_ID, 32)
    } else {
        (0, 0)
    };
    let Some(member) = pod_selected(name, length - after)? else {
        return Ok(());
    };
    // Numbers of cgroups are unique only within a hierarchy.
    if ROOT_HIERARCHY.read(CGROUP_ROOT.read(cgroup)?)? != HIERARCHY.load() as i32 {
        return Ok(());
    }
    let level = CGROUP_LEVEL.read(cgroup)? as u32;
    let Some(root) = root_level(cgroup, level)? else {
        return Ok(());
    };
    let depth = level - root;
    // Deeper than any bit: not a pod's cgroup, whatever its name.
    if depth > 31 {
        return Ok(());
    }
    let bit = first_level + (depth & 31);
    if POD_LEVELS
        .get(0)
        .is_none_or(|levels| levels >> bit & 1 == 0)
    {
        return Ok(());
    }
    let id = KERNFS_ID.read(node)?;
    choose(CHOSEN_CGROUPS, id, 1);
    if CGROUPS.insert(&id, &member, 0).is_err() {
        choose(CHOSEN_CGROUPS, id, -1);
        return Err(Loss::MapFull);
    }
    Ok(())
}

/// Returns whether a name of this length ends like those of containers beside their pods.
#[inline(always)]
fn is_beside(name: *const u8, length: usize) -> Result<bool, i32> {
    let Some(start) = length.checked_sub(BESIDE.len() + CONTAINER_ID) else {
        return Ok(false);
    };
    let mut end = [0_u8; BESIDE.len()];
    read_kernel(name.wrapping_add(start), &mut end)?;
    Ok(end == BESIDE)
}
