//! The bounds of what is known of frames: names and paths are chosen by targets.

/// Distinct frames of a trace: 10 MB. A frame beyond them is `[too many frames]`.
pub const FRAMES_MAX: usize = 1 << 16;

/// Bytes of all names and paths of a trace together: targets choose them. A frame whose names have no room is `[too many frames]`.
/// The functions of a large C++ program have about 100 bytes each.
pub const WORDS_BYTES: usize = 8 << 20;

/// Bytes of a name or a path: targets choose them, and each is in the rows of many stacks. Longer ones are cut in the middle, with a hash of the whole.
pub(crate) const FRAME_TEXT_BYTES: usize = 512;

/// Bytes of a function of the kernel, whose list has no sizes: Linux has none of a tenth of it. An address further away is in none.
pub(crate) const FUNCTION_BYTES: u64 = 1 << 20;

/// Bytes of all that the worker maps: images of programs twice over, since building one writes it and reading it maps it, and the heap.
/// Debug information of 384 MiB (image.rs) fits.
pub(crate) const ADDRESS_BYTES_MAX: u64 = 1 << 30;

/// Bytes of its heap: what is unpacked, and what blazesym makes of debug information.
pub(crate) const HEAP_BYTES_MAX: u64 = 512 << 20;

/// Its descriptors: one for each loaded file, and few more.
pub(crate) const DESCRIPTORS_MAX: u64 = 512;
