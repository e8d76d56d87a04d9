//! `malloc`: options and columns. Kernel side: `agent-ebpf/src/bin/malloc.rs`.
use crate::{Class, Family, Tracer, option, prelude::*};

/// Number and bytes of heap allocations with the C library's allocator, by calling stack.
///
/// The traced functions are malloc, calloc, realloc, reallocarray, aligned_alloc, memalign, posix_memalign, valloc and pvalloc. They are looked up in the target's own libc (glibc or musl), in the target's root directory. In a statically linked program they are looked up in its symbol table.
/// An allocation that calls another of these functions counts once. Failed allocations do not count.
/// Allocations are sampled by bytes. The probability of an allocation to be sampled is its size divided by `--sample-every`, and each sample is weighted accordingly, so all numbers are unbiased estimates. With `--sample-every 1B` every allocation is counted.
/// Freed memory is not subtracted. Allocators with other function names (jemalloc, mimalloc, Go's) are not traced.
/// A libc that no target had mapped before is attached to within about 10 ms of the program's start. Earlier allocations are not counted, and the account names the file.
/// Each call costs about 1 µs in every process that has the same file mapped, including processes that are not traced.
#[event]
pub struct Malloc {
    /// PID of the process, in the host's PID namespace.
    #[key]
    pub pid: Pid,
    /// Target that made the allocations.
    #[key]
    pub target: Target,
    /// Name of the thread.
    #[key]
    pub comm: Text16,
    /// Stack that called the allocator, innermost function first.
    #[key]
    pub user_stack: UserStack,
    /// Number of allocations.
    #[count]
    pub allocations: u64,
    /// Bytes requested.
    #[sum]
    pub size_bytes: u64,
    /// Largest sampled allocation.
    #[max]
    pub largest_bytes: u64,
    /// Histogram of allocation sizes.
    #[histogram]
    pub sizes: Log2Bytes,
}

/// Options of `malloc`.
#[params]
pub struct Params {
    /// Mean number of allocated bytes between samples. With 1 byte every allocation is counted.
    #[default = "64KiB"]
    #[range = "1B"..="1GiB"]
    pub sample_every: option::Size,
    /// Count only allocations of at least this size.
    pub min_size: option::Size,
}

/// Traced functions, in the order of their numbers on the kernel side. reallocarray calls realloc in both libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Function {
    /// malloc(size)
    Malloc,
    /// calloc(count, size)
    Calloc,
    /// realloc(old, size)
    Realloc,
    /// aligned_alloc(alignment, size)
    AlignedAlloc,
    /// memalign(alignment, size), the same function as aligned_alloc in some libraries
    Memalign,
    /// posix_memalign(&new, alignment, size), which returns 0 or an error
    PosixMemalign,
    /// valloc(size)
    Valloc,
    /// pvalloc(size)
    Pvalloc,
}

impl Tracer for Malloc {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Memory;
    const POINTS: &'static [&'static [Point]] = &[&[
        uprobe("libc", "malloc").by("allocate"),
        uprobe("libc", "calloc").by("allocate"),
        uprobe("libc", "realloc").by("allocate"),
        uprobe("libc", "aligned_alloc").by("allocate"),
        uprobe("libc", "memalign").by("allocate"),
        uprobe("libc", "posix_memalign").by("allocate"),
        uprobe("libc", "valloc").by("allocate"),
        uprobe("libc", "pvalloc").by("allocate"),
        uretprobe("libc", "malloc").by("allocated"),
        uretprobe("libc", "calloc").by("allocated"),
        uretprobe("libc", "realloc").by("allocated"),
        uretprobe("libc", "aligned_alloc").by("allocated"),
        uretprobe("libc", "memalign").by("allocated"),
        uretprobe("libc", "posix_memalign").by("allocated"),
        uretprobe("libc", "valloc").by("allocated"),
        uretprobe("libc", "pvalloc").by("allocated"),
        raw_tp("sched_process_exit"),
    ]];
    /// Programs at functions of user space are preempted.
    const NESTS: bool = true;
    const COST: &'static str = "1 to 2 µs per allocation of every process that has the library mapped";
    const EXAMPLES: &'static [&'static str] =
        &["-o flamegraph=allocations.svg -- ./myprogram", "--sample-every 1B --pid 4242 --duration 10s", "-o folded --container 3f2a"];
}
