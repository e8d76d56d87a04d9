//! Rows of iterator programs: the output path of snapshots.
//!
//! The kernel runs such a program for each object, such as a task, whenever the loader reads the iterator's descriptor. Nobody else
//! can run it. So a row that is written is a row that the loader gets, or that it misses for a reason that it knows.

use crate::{IteratorContext, Loss};
use aya_ebpf::{bindings::seq_file, helpers::generated::bpf_seq_write};
use tracers::Event;

/// Writes the row of an object. Each object has one at most: where the kernel's buffer is full the whole object comes once more.
#[inline(always)]
pub fn write_row<T: Event>(ctx: &IteratorContext, row: &T) -> Result<bool, Loss> {
    // The first member of `struct bpf_iter_meta`, to which the context's first pointer leads: include/linux/bpf.h.
    // SAFETY: the verifier knows what the pointer leads to.
    let seq = unsafe { ctx.arg(0).cast::<*mut seq_file>().read_volatile() };
    // SAFETY: the bytes are those of the row, and `#[event]` has proved that all of them are initialised.
    let written = unsafe {
        bpf_seq_write(
            seq,
            core::ptr::from_ref(row).cast_mut().cast(),
            size_of::<T>() as u32,
        )
    };
    // No event where it is full: kernel/bpf/bpf_iter.c takes away what this object wrote, gives the reader what came before, and
    // begins the next read with this object.
    Ok(written == 0)
}
