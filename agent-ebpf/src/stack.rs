//! Stacks, stored once each and identified by a hash of their addresses.
//!
//! Unlike in the kernel's own stack map, stacks do not evict or refuse each other until the map is full, and user frames have the build id of
//! their file, so that they can be symbolized after the end of the process.

use crate::{
    CLAIMS, Claim, Claimable, TASK_GROUP_LEADER, claim, clamped, count, counter, current_tgid,
    forget, kernel_fields, kernel_functions, masked,
};
use aya_ebpf::{
    EbpfContext, Global,
    bindings::{BPF_F_USER_BUILD_ID, BPF_F_USER_STACK},
    helpers::generated::{bpf_get_stack, bpf_get_task_stack},
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use core::ffi::c_void;
use tracers::{
    KernelStack, UserStack,
    control::{FRAMES, KernelHead, OF_KERNEL_SIDE, UserFrame, UserHead},
};

/// Maximum frames of a recorded stack: kernel.perf_event_max_stack, at most [`FRAMES`]. The loader sizes the values of the maps of stacks for
/// this number.
#[unsafe(no_mangle)]
pub static DEPTH: Global<u32> = Global::new(FRAMES as u32);

/// A kernel stack: addresses, innermost first.
#[repr(C)]
pub struct KernelFrames {
    /// Number of frames.
    pub head: KernelHead,
    /// Addresses.
    pub addresses: [u64; FRAMES],
}

/// A user stack: frames by build id and file offset, or by address if the kernel did not find the build id.
#[repr(C)]
pub struct UserFrames {
    /// Number of frames, and of reads: [`WHOLE`] when every frame has its build id.
    pub head: UserHead,
    /// The frames.
    pub frames: [UserFrame; FRAMES],
}

/// Kernel stacks by hash. When it is full, a new stack is missing in its row and counted.
#[map]
static KERNEL_STACKS: HashMap<u64, KernelFrames> = HashMap::with_max_entries(4096, 0);
/// User stacks by hash. When it is full, a new stack is missing in its row and counted.
#[map]
static USER_STACKS: HashMap<u64, UserFrames> = HashMap::with_max_entries(8192, 0);

#[map]
static KERNEL_SCRATCH: PerCpuArray<Claimable<KernelFrames>> =
    PerCpuArray::with_max_entries(CLAIMS, 0);
#[map]
static USER_SCRATCH: PerCpuArray<Claimable<UserFrames>> = PerCpuArray::with_max_entries(CLAIMS, 0);

/// Value in a row for a stack without room.
#[inline(always)]
fn missing() {
    count(counter!(stacks_missing));
}

/// Reads addresses into the scratch memory and hashes them; `None` without a stack.
#[inline(always)]
fn read(
    take: impl FnOnce(*mut c_void, u32) -> i64,
    seed: u64,
) -> Option<(u64, Claim, *mut KernelFrames)> {
    let Some((claim, scratch)) = claim(&KERNEL_SCRATCH) else {
        missing();
        return None;
    };
    // SAFETY: the scratch is ours and as large as said.
    let addresses = unsafe { core::ptr::addr_of_mut!((*scratch).addresses).cast() };
    let bytes = take(addresses, DEPTH.load() * 8);
    if bytes <= 0 {
        return None;
    }
    let len = bytes as usize / 8;
    if len >= DEPTH.load() as usize {
        count(counter!(stacks_truncated));
    }
    let mut hash = seed;
    for i in 0..FRAMES {
        if i >= DEPTH.load() as usize || i >= len {
            break;
        }
        // SAFETY: the masked index is at most 511, which lies in the struct: `len` comes before the addresses.
        let address = unsafe { *scratch.cast::<u64>().add(1 + masked::<FRAMES>(i)) };
        hash = (hash ^ address).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }
    // SAFETY: as above.
    unsafe { (*scratch).head.len = len as u64 };
    // 0 means none. The verifier knows the hash of a stack without frames, and follows it by itself.
    Some((forget(hash | OF_KERNEL_SIDE), claim, scratch))
}

/// Returns the kernel stack of the current task, without its first `skip` frames.
#[inline(always)]
pub fn kernel_stack<C: EbpfContext>(ctx: &C, skip: u64) -> KernelStack {
    // SAFETY: the buffer has that many bytes.
    kept(|to, bytes| unsafe { bpf_get_stack(ctx.as_ptr(), to, bytes, skip) })
}

/// The kernel stack of another task, which an iterator gives.
#[inline(always)]
pub fn kernel_stack_of(task: *const u8) -> KernelStack {
    // SAFETY: the buffer has that many bytes.
    kept(|to, bytes| unsafe { bpf_get_task_stack(task.cast_mut().cast(), to, bytes, 0) })
}

#[inline(always)]
fn kept(take: impl FnOnce(*mut c_void, u32) -> i64) -> KernelStack {
    let Some((hash, _claim, scratch)) = read(take, 0) else {
        return KernelStack(0);
    };
    if KERNEL_STACKS.get_ptr(&hash).is_some() {
        return KernelStack(hash);
    }
    // SAFETY: the scratch is whole.
    match KERNEL_STACKS.insert(&hash, unsafe { &*scratch }, 0) {
        Ok(()) => KernelStack(hash),
        Err(_) => {
            missing();
            KernelStack(0)
        }
    }
}

kernel_functions! {
    // The outermost functions of the interrupt of a timer: x86, arm64 in the kernel and in user mode, and hypervisors' timers.
    optional INTERRUPT = asm_sysvec_apic_timer_interrupt | el1h_64_irq;
    optional INTERRUPT_OF_USER = el0t_64_irq;
    optional INTERRUPT_OF_HYPERV = asm_sysvec_hyperv_stimer0;
    optional INTERRUPT_OF_XEN = asm_sysvec_xen_hvm_callback;
    optional INTERRUPT_OF_LINE = asm_common_interrupt;
}

/// Bytes of such a function within which it calls the handler.
const INTERRUPT_BYTES: u64 = 64;
/// Most frames of an interrupt itself.
const INTERRUPT_FRAMES: usize = 32;

#[inline(always)]
fn is_interrupt(address: u64) -> bool {
    INTERRUPT.contains(address, INTERRUPT_BYTES)
        || INTERRUPT_OF_USER.contains(address, INTERRUPT_BYTES)
        || INTERRUPT_OF_HYPERV.contains(address, INTERRUPT_BYTES)
        || INTERRUPT_OF_XEN.contains(address, INTERRUPT_BYTES)
        || INTERRUPT_OF_LINE.contains(address, INTERRUPT_BYTES)
}

/// Returns the number of the innermost frames that are of the interrupt in which the program runs: the stack without them is what the interrupt
/// interrupted. `None` where that was user mode.
#[inline(always)]
pub fn interrupt_frames<C: EbpfContext>(ctx: &C) -> Option<u64> {
    let Some((_claim, scratch)) = claim(&KERNEL_SCRATCH) else {
        // The stack is missing for the same reason, and is counted then.
        return Some(0);
    };
    // SAFETY: the scratch is ours.
    let addresses = unsafe { &mut (*scratch).addresses };
    let to = addresses.as_mut_ptr().cast();
    // SAFETY: the buffer has that many bytes.
    let bytes = unsafe { bpf_get_stack(ctx.as_ptr(), to, DEPTH.load() * 8, 0) };
    if bytes <= 0 {
        return Some(0);
    }
    let len = bytes as u64 / 8;
    let mut skip = 0;
    for (i, address) in addresses.iter().enumerate().take(INTERRUPT_FRAMES) {
        if i as u64 >= len {
            break;
        }
        if is_interrupt(*address) {
            skip = i as u64 + 1;
            break;
        }
    }
    let skip = forget(skip);
    (skip != len).then_some(skip)
}

kernel_fields! {
    TASK_MM = task_struct.mm: *const u8;
    TASK_START = task_struct.start_boottime: u64;
    TASK_EXEC_ID = task_struct.self_exec_id: u64;
}

/// Returns a unique number for the program that the current process executes: from the start time of the process and the number of its execs.
/// Addresses are not unique, because the kernel reuses them.
#[inline(always)]
fn program() -> u64 {
    let began = TASK_GROUP_LEADER
        .of_current_task()
        .and_then(|leader| TASK_START.read(leader));
    let execs = TASK_EXEC_ID.of_current_task().unwrap_or(0);
    // Two processes may start at the same time.
    began.unwrap_or(0) ^ u64::from(current_tgid()) << 32 ^ execs << 48
}

/// Maximum reads of a stack without build ids. The kernel returns build ids only if it can lock the process's mappings immediately, which
/// another thread may prevent.
const READS: u32 = 4096;
/// Maximum reads of a stack with some build ids: a frame outside of all files never has one.
const PARTLY: u32 = READS / 8;
/// Value of `reads` for a complete stack.
const WHOLE: u32 = u32::MAX;

/// Returns the number of frames of a stack with a build id.
#[inline(always)]
fn known(stack: *const UserFrames, len: u32) -> u32 {
    let mut known = 0;
    for i in 0..FRAMES {
        if i >= DEPTH.load() as usize || i >= len as usize {
            break;
        }
        // SAFETY: the clamped index lies in the array.
        let frame = unsafe { &raw const (*stack).frames }.cast::<UserFrame>();
        // SAFETY: as above.
        let status = unsafe { (*frame.add(clamped::<{ FRAMES - 1 }>(i))).status };
        // The others are 0 and 2 (include/uapi/linux/bpf.h). Without a branch: the verifier would follow both sides of each.
        known += status & UserFrame::VALID;
    }
    forget(known.into()) as u32
}

/// Returns the user stack of the current task. Equal addresses in two processes, or in two programs of one, are two stacks.
#[inline(always)]
pub fn user_stack<C: EbpfContext>(ctx: &C) -> UserStack {
    user_stack_frames(ctx).0
}

/// Returns the same, and the number of its frames; 0 without one.
#[inline(always)]
pub(crate) fn user_stack_frames<C: EbpfContext>(ctx: &C) -> (UserStack, u64) {
    let flags = u64::from(BPF_F_USER_STACK);
    // SAFETY: the buffer has that many bytes.
    let take = |to, bytes| unsafe { bpf_get_stack(ctx.as_ptr(), to, bytes, flags) };
    let Some((hash, reading, scratch)) = read(take, program()) else {
        return (UserStack(0), 0);
    };
    // SAFETY: the scratch is ours, and `read` has filled it.
    let frames = unsafe { (*scratch).head.len };
    drop(reading);
    let reads = match USER_STACKS.get_ptr(&hash) {
        // SAFETY: a map value.
        Some(known) => unsafe { (*known).head.reads },
        None => 0,
    };
    if reads >= READS {
        return (UserStack(hash), frames);
    }
    // New or incomplete: read again with build ids, which costs more.
    let Some((_claim, scratch)) = claim(&USER_SCRATCH) else {
        missing();
        return (UserStack(0), frames);
    };
    // SAFETY: the scratch is ours and as large as said.
    let bytes = unsafe {
        bpf_get_stack(
            ctx.as_ptr(),
            core::ptr::addr_of_mut!((*scratch).frames).cast(),
            DEPTH.load() * size_of::<UserFrame>() as u32,
            u64::from(BPF_F_USER_STACK | BPF_F_USER_BUILD_ID),
        )
    };
    if bytes <= 0 {
        return (UserStack(0), frames);
    }
    let len = bytes as u32 / size_of::<UserFrame>() as u32;
    let reads = match known(scratch, len) {
        0 => reads + 1,
        all if all == len => WHOLE,
        _ => reads + PARTLY,
    };
    // SAFETY: as above.
    unsafe {
        (*scratch).head.len = len;
        (*scratch).head.reads = reads;
    }
    // SAFETY: the scratch is whole.
    match USER_STACKS.insert(&hash, unsafe { &*scratch }, 0) {
        Ok(()) => (UserStack(hash), frames),
        Err(_) => {
            missing();
            (UserStack(0), frames)
        }
    }
}
