//! Rows of iterator programs: the output path of snapshots.
//!
//! The kernel runs such a program for each object, such as a task, whenever the loader reads the iterator's descriptor. Nobody else
//! can run it. So a row that is written is a row that the loader gets, or that it misses for a reason that it knows.

use crate::Loss;
use aya_ebpf::{bindings::seq_file, helpers::generated::bpf_seq_write};
use core::ffi::c_void;
use tracers::Event;

/// What a program of an iterator is given: `struct bpf_iter__task` and the like.
pub struct IteratorContext(*const u64);

impl IteratorContext {
    /// Of the kernel's pointer.
    #[inline(always)]
    pub const fn new(ctx: *mut c_void) -> Self {
        Self(ctx.cast())
    }

    /// The object that the iterator is at, the first after its `meta`; null at the end of the pass.
    #[inline(always)]
    pub fn object(&self) -> *const u8 {
        self.arg(1)
    }

    /// A member of the context, all of which are pointers or words.
    #[inline(always)]
    pub fn arg(&self, n: usize) -> *const u8 {
        // SAFETY: the verifier knows how many there are.
        unsafe { *self.0.add(n) as *const u8 }
    }
}

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
