//! The bounds of what is known of frames: names and paths are chosen by targets.

/// Distinct frames of a trace: 10 MB. Further frames are `[too many frames]`.
pub const FRAMES_MAX: usize = 1 << 16;

/// Bytes of all names and paths of a trace together, because targets choose them. Further frames are `[too many frames]`. A function of a
/// large C++ program has about 100 bytes.
pub const WORDS_BYTES: usize = 8 << 20;

/// Bytes of a name or a path: targets choose them, and each is in the rows of many stacks. Longer texts are shortened in the middle, with
/// a hash of the whole.
pub(crate) const FRAME_TEXT_BYTES: usize = 512;

/// Bytes of a kernel function, because the kernel's list has no sizes. No function of Linux has a tenth of that. An address further away
/// has no name.
pub(crate) const FUNCTION_BYTES: u64 = 1 << 20;

/// Bytes of the worker's address space: twice the images of programs, which are written and then mapped, and the heap. Debug information
/// of 384 MiB (image.rs) fits.
pub(crate) const ADDRESS_BYTES_MAX: u64 = 1 << 30;

/// Bytes of the worker's heap: decompressed sections, and blazesym's data about debug information.
pub(crate) const HEAP_BYTES_MAX: u64 = 512 << 20;

/// File descriptors of the worker: one for each loaded file, and a few more.
pub(crate) const DESCRIPTORS_MAX: u64 = 512;

/// Frames of a stack that is unwound from a copy. The kernel's own stacks have at most 511 (`kernel.perf_event_max_stack`).
pub const UNWOUND_FRAMES_MAX: usize = 512;

/// Bytes of a copied stack that are unwound: four times the default of the copies. The rest is ignored.
pub const STACK_COPY_BYTES: usize = 64 << 10;

/// Bytes of the unwind tables in the worker, so that they leave its heap to decompressed sections. Chromium's are 20 MB. The least recently
/// used ones are removed.
pub(crate) const TABLES_BYTES_MAX: u64 = 128 << 20;
