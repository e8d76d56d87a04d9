//! Address spaces, and their memory in RAM.

use crate::{EnumValue, TASK_MM, TASK_SIGNAL, kernel_enums, kernel_fields};
use aya_ebpf::helpers::bpf_probe_read_kernel;

kernel_fields! {
    MM_RSS = mm_struct.rss_stat: u8;
    // The counters are plain until 6.2, and since then per CPU with a sum that is slightly out of date.
    optional RSS_PLAIN = mm_rss_stat.count: u8;
    optional PERCPU_COUNT = percpu_counter.count: i64;
    optional PERCPU_LAST = percpu_counter.counters: u64;
    TASK_THREAD_NODE = task_struct.thread_node: *const u8;
    SIGNAL_THREADS = signal_struct.thread_head: *const u8;
}

kernel_enums! {
    ANON = MM_ANONPAGES;
    FILE = MM_FILEPAGES;
    SHMEM = MM_SHMEMPAGES;
    SWAP = MM_SWAPENTS;
}

/// Maximum threads of a process that are checked for its address space.
const THREADS: u32 = 32;

/// A counter of an address space, in pages.
#[inline(always)]
pub fn rss_pages(mm: *const u8, which: &EnumValue) -> Result<u64, i32> {
    let base = MM_RSS.of(mm);
    let which = which.load() as usize;
    let at = if RSS_PLAIN.exists() {
        base.wrapping_add(which * 8)
    } else {
        // `counters` is the last member of `struct percpu_counter`.
        let each = PERCPU_LAST.of(core::ptr::null()) as usize + 8;
        PERCPU_COUNT.of(base.wrapping_add(which * each)).cast()
    };
    // SAFETY: the helper checks the address.
    let count: i64 = unsafe { bpf_probe_read_kernel(at.cast()) }?;
    Ok(if count < 0 { 0 } else { count as u64 })
}

/// Returns the address space of a process, by its main thread; null if there is none. A main thread that has ended before the others has none:
/// then the address space is that of the first thread with one.
#[inline(always)]
pub fn mm_of_process(leader: *const u8) -> Result<*const u8, i32> {
    let mm = TASK_MM.read(leader)?;
    if !mm.is_null() {
        return Ok(mm);
    }
    let head = SIGNAL_THREADS.of(TASK_SIGNAL.read(leader)?).cast::<u8>();
    // A list begins with the address of its first node, as a node does with that of the next: include/linux/types.h.
    // SAFETY: the helper checks the address.
    let mut node: *const u8 = unsafe { bpf_probe_read_kernel(head.cast()) }?;
    for _ in 0..THREADS {
        if node == head {
            break;
        }
        let mm = TASK_MM.read(TASK_THREAD_NODE.container(node))?;
        if !mm.is_null() {
            return Ok(mm);
        }
        // SAFETY: as above.
        node = unsafe { bpf_probe_read_kernel(node.cast()) }?;
    }
    Ok(core::ptr::null())
}
