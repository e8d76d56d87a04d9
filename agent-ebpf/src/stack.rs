//! Stacks, kept once each and named by a hash of their addresses.
//!
//! Unlike the kernel's own stack map, two stacks do not evict or refuse each other here until the map is full,
//! and user frames come with the build id of their file, so that they can be resolved when the process is gone.

use crate::{
    CLAIMS, Claim, Claimable, TASK_GROUP_LEADER, claim, clamped, count, counter, current_tgid,
    kernel_fields, masked,
};
use aya_ebpf::{
    EbpfContext, Global,
    bindings::{BPF_F_USER_BUILD_ID, BPF_F_USER_STACK},
    helpers::generated::bpf_get_stack,
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use tracers::{
    KernelStack, UserStack,
    control::{FRAMES, KernelHead, UserFrame, UserHead},
};

/// How many frames of a stack are recorded: as many as the kernel gives (kernel.perf_event_max_stack), [`FRAMES`] at most.
/// Values of the maps of stacks have room for so many, by the loader.
#[unsafe(no_mangle)]
pub static DEPTH: Global<u32> = Global::new(FRAMES as u32);

/// A kernel stack: addresses, innermost first.
#[repr(C)]
pub struct KernelFrames {
    /// How many there are.
    pub head: KernelHead,
    /// Their addresses.
    pub addresses: [u64; FRAMES],
}

/// A user stack: frames by build id and file offset, or by address where the kernel could not tell.
#[repr(C)]
pub struct UserFrames {
    /// How many there are; [`WHOLE`] reads once every frame has its build id.
    pub head: UserHead,
    /// The frames.
    pub frames: [UserFrame; FRAMES],
}

/// Kernel stacks by hash. When it is full a new stack is left out of its row, counted.
#[map]
static KERNEL_STACKS: HashMap<u64, KernelFrames> = HashMap::with_max_entries(4096, 0);
/// User stacks by hash. When it is full a new stack is left out of its row, counted.
#[map]
static USER_STACKS: HashMap<u64, UserFrames> = HashMap::with_max_entries(8192, 0);

#[map]
static KERNEL_SCRATCH: PerCpuArray<Claimable<KernelFrames>> =
    PerCpuArray::with_max_entries(CLAIMS, 0);
#[map]
static USER_SCRATCH: PerCpuArray<Claimable<UserFrames>> = PerCpuArray::with_max_entries(CLAIMS, 0);

/// What a row has instead of a stack for which there was no room.
#[inline(always)]
fn missing() {
    count(counter!(stacks_missing));
}

/// Reads addresses into the scratch and hashes them; `None` where there is no stack.
#[inline(always)]
fn read<C: EbpfContext>(ctx: &C, flags: u64, seed: u64) -> Option<(u64, Claim, *mut KernelFrames)> {
    let Some((claim, scratch)) = claim(&KERNEL_SCRATCH) else {
        missing();
        return None;
    };
    // SAFETY: the scratch is ours and as large as said.
    let bytes = unsafe {
        bpf_get_stack(
            ctx.as_ptr(),
            core::ptr::addr_of_mut!((*scratch).addresses).cast(),
            DEPTH.load() * 8,
            flags,
        )
    };
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
    // 0 means none.
    Some((hash | 1, claim, scratch))
}

/// The kernel stack of the current task, without its first `skip` frames.
#[inline(always)]
pub fn kernel_stack<C: EbpfContext>(ctx: &C, skip: u64) -> KernelStack {
    let Some((hash, _claim, scratch)) = read(ctx, skip, 0) else {
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

kernel_fields! {
    TASK_MM = task_struct.mm: *const u8;
    TASK_START = task_struct.start_boottime: u64;
    TASK_EXEC_ID = task_struct.self_exec_id: u64;
}

/// The program that the current process runs, told apart from every other that ever ran: when the process began, and how many programs
/// it has executed. No address will do: the kernel gives it again to what comes next.
#[inline(always)]
fn program() -> u64 {
    let began = TASK_GROUP_LEADER
        .of_current_task()
        .and_then(|leader| TASK_START.read(leader));
    let execs = TASK_EXEC_ID.of_current_task().unwrap_or(0);
    // Two processes may begin at once.
    began.unwrap_or(0) ^ u64::from(current_tgid()) << 32 ^ execs << 48
}

/// The kernel gives build ids only where it gets hold of the process's mappings at once, which another thread may hinder:
/// then no frame has one, and it is worth asking again, this often at most.
const READS: u32 = 4096;
/// A frame outside any file never has one, so a stack of which some frames have theirs is asked for again only eight times.
const PARTLY: u32 = READS / 8;
/// What `reads` is once there is nothing left to read.
const WHOLE: u32 = u32::MAX;

/// How many frames of a stack have their build id.
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
    known
}

/// The user stack of the current task. Equal addresses in two processes, or in two programs of one, are two stacks.
#[inline(always)]
pub fn user_stack<C: EbpfContext>(ctx: &C) -> UserStack {
    let Some((hash, ..)) = read(ctx, u64::from(BPF_F_USER_STACK), program()) else {
        return UserStack(0);
    };
    let reads = match USER_STACKS.get_ptr(&hash) {
        // SAFETY: a map value.
        Some(known) => unsafe { (*known).head.reads },
        None => 0,
    };
    if reads >= READS {
        return UserStack(hash);
    }
    // New, or not whole yet: once more, now with build ids, which is dearer.
    let Some((_claim, scratch)) = claim(&USER_SCRATCH) else {
        missing();
        return UserStack(0);
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
        return UserStack(0);
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
        Ok(()) => UserStack(hash),
        Err(_) => {
            missing();
            UserStack(0)
        }
    }
}
