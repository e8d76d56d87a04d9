//! `malloc`: what it takes and what it emits. Kernel side: `agent-ebpf/src/bin/malloc.rs`.
use crate::{Class, Family, Tracer, option, prelude::*};

/// Allocations of a program by the C library's allocator, by calling stack: how many, and how many bytes.
///
/// Traced are malloc, calloc, realloc, reallocarray, aligned_alloc, memalign, posix_memalign, valloc and pvalloc of the target's own libc, glibc or musl, found in the target's own root; of a program that is linked statically, those in its symbol table.
/// An allocation that one of them makes by another counts once, and one that fails does not count.
/// A sample is taken, by bytes: an allocation is seen with a probability of its size by `--sample-every`, and stands for as many as that takes, so that all numbers are estimates without bias. With `--sample-every 1B` every allocation is seen.
/// Memory that is given back is not subtracted, and allocators of other names (jemalloc, mimalloc, Go's) are not seen.
/// A container's or program's libc that was not mapped by any target before is attached to within about 10 ms of the program's start: allocations before that are in no row and no count, and the account names the file.
/// The kernel stops every process that has the same file mapped for about 1 µs at each call, also those that are not traced.
#[event]
pub struct Malloc {
    /// The process, as the host numbers it.
    #[key]
    pub pid: Pid,
    /// Whose allocations these are.
    #[key]
    pub target: Target,
    /// The thread's name.
    #[key]
    pub comm: Text16,
    /// What called the allocator, innermost first.
    #[key]
    pub user_stack: UserStack,
    /// Allocations.
    #[count]
    pub allocations: u64,
    /// Bytes that were asked for.
    #[sum]
    pub size_bytes: u64,
    /// The largest that was seen.
    #[max]
    pub largest_bytes: u64,
    /// Allocations by size.
    #[histogram]
    pub sizes: Log2Bytes,
}

/// Options of `malloc`.
#[params]
pub struct Params {
    /// Mean distance of samples in allocated bytes; with 1 byte every allocation is seen.
    #[default = "64KiB"]
    #[range = "1B"..="1GiB"]
    pub sample_every: option::Size,
    /// Only allocations of at least this size.
    pub min_size: option::Size,
}

/// The functions, in the order in which the kernel side numbers them. reallocarray calls realloc in both libraries.
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
