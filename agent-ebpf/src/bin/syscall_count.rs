//! Kernel side of `syscall_count`. Columns and options: `tracers/src/syscall_count.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    Loss, add, add_atomic, add_duration, add_error, book, current, current_tgid, row, rows, sample,
    selected, syscall,
};
use aya_ebpf::{
    Global,
    helpers::{bpf_get_current_comm, generated::bpf_ktime_get_boot_ns},
    macros::map,
    maps::{Array, HashMap},
    programs::RawTracePointContext,
};
use tracers::{
    Syscall, Target, Text16, program,
    syscall_count::{SyscallCountKey, SyscallCountValue},
};

#[unsafe(no_mangle)]
static PER_PROCESS: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static FAILED_ONLY: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static MIN_LATENCY_NS: Global<u64> = Global::new(0);

rows!(SyscallCountKey => SyscallCountValue, 4096);

/// A call that has begun.
#[repr(C)]
#[derive(Clone, Copy)]
struct Begun {
    since: u64,
    syscall: Syscall,
    target: Target,
}

/// Room for one call, for all tasks of one hash.
#[repr(C)]
struct Slot {
    /// How many tasks of this hash are in a call now.
    claims: u64,
    /// Whose call is in `begun`; 0 is nobody's.
    task: u64,
    begun: Begun,
}

/// Calls that have begun, by a hash of their task: an array costs a tenth of a hash map.
#[map]
static SLOTS: Array<Slot> = Array::with_max_entries(1 << SLOT_BITS, 0);
const SLOT_BITS: u32 = 14;
/// Those whose slot was another task's. A call that finds it full is lost and counted.
#[map]
static CROWDED: HashMap<u64, Begun> = HashMap::with_max_entries(4096, 0);

#[inline(always)]
fn slot(task: u64) -> Option<*mut Slot> {
    SLOTS.get_ptr_mut((task.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOT_BITS)) as u32)
}

/// Changes the number of tasks that claim a slot.
#[inline(always)]
fn claim(slot: *mut Slot, change: i64) {
    // SAFETY: an aligned u64 of the array, which lives as long as the program.
    unsafe { add_atomic(&raw mut (*slot).claims, change) }
}

#[program(raw_tp = "sys_enter")]
fn sys_enter(ctx: &RawTracePointContext) {
    if let Some(target) = selected() {
        book(begin(ctx.arg::<u64>(1) as u32, target));
    }
}

#[inline(always)]
fn begin(number: u32, target: Target) -> Result<bool, Loss> {
    let task = current() as u64;
    let begun = Begun {
        // SAFETY: the helper only returns a number.
        since: unsafe { bpf_ktime_get_boot_ns() },
        syscall: syscall(number),
        target,
    };
    let slot = slot(task).ok_or(Loss::MapFull)?;
    // SAFETY: a slot of the array.
    let mine = unsafe { (*slot).task } == task;
    if !mine {
        claim(slot, 1);
    }
    // Whoever sees its own claim alone has the slot: two that come at once both see two, and both go elsewhere.
    // SAFETY: as above.
    if mine || unsafe { core::ptr::read_volatile(&raw const (*slot).claims) } == 1 {
        // SAFETY: as above; nobody else writes to it now.
        unsafe {
            (*slot).begun = begun;
            (*slot).task = task;
        }
        return Ok(false);
    }
    if CROWDED.insert(&task, &begun, 0).is_err() {
        claim(slot, -1);
        return Err(Loss::MapFull);
    }
    Ok(false)
}

#[program(raw_tp = "sys_exit")]
fn sys_exit(ctx: &RawTracePointContext) {
    book(end(current() as u64, ctx.arg(1)));
}

/// A thread that dies in a call never returns from it: exit, exit_group, and whatever a signal killed it in.
#[program(raw_tp = "sched_process_exit")]
fn sched_process_exit(_ctx: &RawTracePointContext) {
    book(end(current() as u64, 0));
}

#[inline(always)]
fn take(task: u64) -> Option<Begun> {
    let slot = slot(task)?;
    // SAFETY: a slot of the array.
    let begun = if unsafe { (*slot).task } == task {
        // SAFETY: as above; it is this task's, and stays so until it is given back here.
        unsafe {
            let begun = (*slot).begun;
            (*slot).task = 0;
            begun
        }
    } else {
        // SAFETY: copied at once.
        let begun = unsafe { CROWDED.get(&task) }.copied()?;
        let _ = CROWDED.remove(&task);
        begun
    };
    claim(slot, -1);
    Some(begun)
}

#[inline(always)]
fn end(task: u64, result: i64) -> Result<bool, Loss> {
    let Some(begun) = take(task) else {
        return Ok(false);
    };
    // SAFETY: the helper only returns a number.
    let ns = unsafe { bpf_ktime_get_boot_ns() } - begun.since;
    // Numbers from -4095 on are errors: include/linux/err.h.
    let failed = (-4095..0).contains(&result);
    if ns < MIN_LATENCY_NS.load() || (FAILED_ONLY.load() == 1 && !failed) {
        return Ok(false);
    }
    let weight = sample()?;
    let (pid, comm) = match PER_PROCESS.load() {
        1 => (current_tgid(), bpf_get_current_comm().unwrap_or_default()),
        _ => (0, [0; 16]),
    };
    let key = SyscallCountKey {
        syscall: begun.syscall,
        pid,
        comm: Text16(comm),
        target: begun.target,
        _pad: 0,
    };
    let row = row(&ROWS, &ZEROS, &key, weight)?;
    add(&mut row.count, weight);
    add(&mut row.total_ns, ns * weight);
    if ns > row.max_ns {
        row.max_ns = ns;
    }
    add_duration(&mut row.latency, ns, weight);
    if failed {
        add_error(&mut row.errors, -result as u64, weight);
    }
    Ok(true)
}
