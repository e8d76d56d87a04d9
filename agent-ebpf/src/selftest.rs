//! A counting program at each kind of point, for the tests of `engine/src/point`. It is not a tracer.
#![no_std]
#![no_main]
use agent_ebpf::{
    IteratorContext, TASK_TGID, Verdict, add_atomic, argument, first_argument, function_result,
    point, row_passes,
};
use aya_ebpf::{
    Global,
    helpers::bpf_get_current_pid_tgid,
    macros::map,
    maps::Array,
    programs::{
        BtfTracePointContext, FEntryContext, FExitContext, ProbeContext, RawTracePointContext,
        RetProbeContext, SkBuffContext, SockAddrContext,
    },
};
use tracers::program;

/// PID of the process whose events count, in the host's namespace.
#[unsafe(no_mangle)]
static TESTED: Global<u32> = Global::new(0);

/// Number of events of a point, by function.
#[map]
static HITS: Array<u64> = Array::with_max_entries(4, 0);

/// The last value of a program at kernel functions: the first argument of a system call, or a result.
#[map]
static LAST_NUMBER: Array<u64> = Array::with_max_entries(1, 0);

#[inline(always)]
fn hit() {
    hit_at(0);
}

#[inline(always)]
fn hit_at(function: u32) {
    if let Some(hits) = HITS.get_ptr_mut(function) {
        // SAFETY: an aligned u64 of the map.
        unsafe { add_atomic(hits, 1) };
    }
}

#[inline(always)]
fn tested() -> bool {
    (bpf_get_current_pid_tgid() >> 32) as u32 == TESTED.load()
}

#[inline(always)]
fn hit_if_tested() {
    if tested() {
        hit();
    }
}

#[program(raw_tp = "sys_enter")]
fn test_raw_tp(_ctx: &RawTracePointContext) {
    hit_if_tested();
}

/// A row, which only tests write.
#[map]
static ROW: Array<[u64; 32]> = Array::with_max_entries(1, 0);

/// Counts a row that passes the filter in its slot. Tests run it without attaching it.
#[program(raw_tp = "sys_enter")]
fn test_slot(_ctx: &RawTracePointContext) {
    let Some(row) = ROW.get_ptr(0) else {
        return;
    };
    // SAFETY: an entry of the map, which the kernel has initialised and aligned to 8 bytes.
    if unsafe { row_passes(row.cast()) } {
        hit();
    }
}

#[program(tp_btf = "sys_enter")]
fn test_tp_btf(_ctx: &BtfTracePointContext) {
    hit_if_tested();
}

#[program(fentry = "vfs_read")]
fn test_fentry(_ctx: &FEntryContext) {
    hit_if_tested();
}

#[program(fexit = "vfs_read")]
fn test_fexit(_ctx: &FExitContext) {
    hit_if_tested();
}

#[program(fmod_ret = "security_task_getpgid")]
fn test_fmod_ret(_ctx: &FEntryContext) -> Verdict {
    if !tested() {
        return Verdict::Allow;
    }
    hit();
    Verdict::Deny
}

#[program(iter = "task")]
fn test_iter(ctx: &IteratorContext) {
    let task = ctx.object();
    if !task.is_null() && TASK_TGID.read(task) == Ok(TESTED.load()) {
        hit();
    }
}

/// At the function of a system call, whose argument is the registers.
#[program(kprobe = "eventfd2")]
fn test_kprobe(ctx: &ProbeContext) {
    if tested() {
        hit_at(point(ctx) as u32);
        if let Ok(number) = argument::<0>(first_argument(ctx) as *const u8, false) {
            let _ = LAST_NUMBER.set(0, &number, 0);
        }
    }
}

#[program(kretprobe = "eventfd2")]
fn test_kretprobe(ctx: &RetProbeContext) {
    if tested() {
        hit_at(point(ctx) as u32);
        let _ = LAST_NUMBER.set(0, &function_result(ctx), 0);
    }
}

/// At entry and return.
#[program(kprobe = "eventfd2")]
fn test_kprobe_session(ctx: &ProbeContext) {
    if tested() {
        hit_at(point(ctx) as u32);
    }
}

#[program(uprobe = "tested")]
fn test_uprobe(_ctx: &ProbeContext) {
    hit_if_tested();
}

#[program(uretprobe = "tested")]
fn test_uretprobe(_ctx: &RetProbeContext) {
    hit_if_tested();
}

/// Returns nothing, so it must let every packet pass.
#[program(cgroup_skb = "egress")]
fn test_cgroup_skb(_ctx: &SkBuffContext) {
    hit();
}

/// The same of calls.
#[program(cgroup = "connect4")]
fn test_connect4(_ctx: &SockAddrContext) {
    hit();
}

#[program(cgroup = "connect4")]
fn test_connect4_deny(_ctx: &SockAddrContext) -> Verdict {
    hit();
    Verdict::Deny
}
