//! Kernel side of `malloc`. Columns and options: `tracers/src/catalogue/malloc.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    Frame, Loss, add, add_size, book, calls, current_comm, current_tgid, ended, first_argument,
    function_result, point, rows, sample, second_argument, selected, third_argument, user_probes,
    user_stack,
};
use aya_ebpf::{
    Global,
    helpers::generated::bpf_get_prandom_u32,
    programs::{ProbeContext, RawTracePointContext, RetProbeContext},
};
use tracers::{
    Pid, Target, Text16,
    malloc::{Function, MallocKey, MallocValue},
    program,
};

#[unsafe(no_mangle)]
static SAMPLE_EVERY: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static MIN_SIZE: Global<u64> = Global::new(0);

// A row takes 400 bytes on each CPU.
rows!(MallocKey => MallocValue, 8192);
user_probes!();

/// An allocation that has begun.
#[repr(C)]
#[derive(Clone, Copy)]
struct Begun {
    frame: Frame,
    size: u64,
    target: Target,
    _pad: u32,
}

calls!(Begun);

#[program(uprobe = "libc")]
fn allocate(ctx: &ProbeContext) {
    let Some(target) = selected() else {
        return;
    };
    let frame = Frame::at_entry(ctx);
    if CALLS
        .under_way()
        .is_some_and(|outer| frame.is_within(&outer.frame))
    {
        ended();
        return;
    }
    let begun = Begun {
        frame,
        size: size(ctx),
        target,
        _pad: 0,
    };
    book(CALLS.begin(&begun).map(|()| false));
}

/// How many bytes are asked for. A product that is too large fails.
#[inline(always)]
fn size(ctx: &ProbeContext) -> u64 {
    const CALLOC: u64 = Function::Calloc as u64;
    const POSIX_MEMALIGN: u64 = Function::PosixMemalign as u64;
    const REALLOC: u64 = Function::Realloc as u64;
    const MEMALIGN: u64 = Function::Memalign as u64;
    const ALIGNED_ALLOC: u64 = Function::AlignedAlloc as u64;
    match point(ctx) {
        CALLOC => first_argument(ctx).wrapping_mul(second_argument(ctx)),
        REALLOC | MEMALIGN | ALIGNED_ALLOC => second_argument(ctx),
        POSIX_MEMALIGN => third_argument(ctx),
        _ => first_argument(ctx),
    }
}

#[program(uretprobe = "libc")]
fn allocated(ctx: &RetProbeContext) {
    let Some(outer) = CALLS.under_way() else {
        return;
    };
    if outer.frame != Frame::at_return(ctx) {
        return;
    }
    let Some(begun) = CALLS.end() else {
        return;
    };
    let has_failed = match point(ctx) == Function::PosixMemalign as u64 {
        true => function_result(ctx) as u32 != 0,
        false => function_result(ctx) == 0,
    };
    book(match has_failed || begun.size < MIN_SIZE.load() {
        true => Ok(false),
        false => allocation(ctx, &begun),
    });
}

#[inline(always)]
fn allocation(ctx: &RetProbeContext, begun: &Begun) -> Result<bool, Loss> {
    let Some((weight, bytes)) = by_bytes(begun.size) else {
        return Ok(false);
    };
    let of = sample()?;
    let (weight, bytes) = (of * weight, of * bytes);
    let key = MallocKey {
        pid: Pid(current_tgid()),
        target: begun.target,
        comm: Text16(current_comm()),
        user_stack: user_stack(ctx),
    };
    let row = TABLE.row(&key, weight)?;
    add(&mut row.allocations, weight);
    add(&mut row.size_bytes, bytes);
    add_size(&mut row.sizes, begun.size, weight);
    if begun.size > row.largest_bytes {
        row.largest_bytes = begun.size;
    }
    Ok(true)
}

/// How many allocations, and how many bytes, this one stands for: an allocation of n bytes is kept with the probability n / mean,
/// and counts for mean / n, rounded up or down at random so that it is right on average. `None`: it is not kept.
#[inline(always)]
fn by_bytes(size: u64) -> Option<(u64, u64)> {
    // At least 1, at most 2^30: the option's range.
    let mean = SAMPLE_EVERY.load();
    // One of no bytes takes memory too.
    let taken = if size == 0 { 1 } else { size };
    if taken >= mean {
        return Some((1, size));
    }
    // Neither product has more than 64 bits: `taken` is below `mean`.
    if random() * mean >= taken << 32 {
        return None;
    }
    let (whole, rest) = (mean / taken, mean % taken);
    let up = random() * taken < rest << 32;
    Some((whole + u64::from(up), if size == 0 { 0 } else { mean }))
}

/// 32 random bits.
#[inline(always)]
fn random() -> u64 {
    // SAFETY: the helper only returns a number.
    u64::from(unsafe { bpf_get_prandom_u32() } as u32)
}

/// A thread that dies in the allocator never returns from it.
#[program(raw_tp = "sched_process_exit")]
fn sched_process_exit(_ctx: &RawTracePointContext) {
    if CALLS.leave().is_some() {
        book(Ok(false));
    }
}
