//! Rows of iterator programs: the output path of snapshots.
//!
//! The kernel runs such a program for each object, such as a task, when the loader reads the iterator's descriptor. Only the loader has this
//! descriptor. So every written row reaches the loader, or is missing for a known reason.

use crate::{IteratorContext, Loss};
use aya_ebpf::{bindings::seq_file, helpers::generated::bpf_seq_write};
use tracers::Event;

/// Writes the row of an object. Each object has at most one row: if the kernel's buffer is full, the program runs again for the object.
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
    // A full buffer is not an event: kernel/bpf/bpf_iter.c removes the data of this object, returns the data before it, and starts the next
    // read with this object.
    Ok(written == 0)
}
