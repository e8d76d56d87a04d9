//! Limits of messages and pictures.

/// Maximum size of a message in bytes: a table of 100,000 rows has some 15 MB. The limit also bounds the memory that a hostile agent can
/// fill: an empty frame takes two bytes in a message and 88 in memory.
pub(crate) const MESSAGE_BYTES: usize = 32 << 20;

/// Maximum size of a flame graph's lines in bytes, with the memory to draw their frames: half a million frames of 60 letters. The largest
/// stacks come first; frames narrower than a pixel are not drawn in any case.
pub(crate) const PICTURE_BYTES: usize = 64 << 20;

/// Maximum size of a profile that is read, in bytes, packed and unpacked: a table of 100,000 rows with 150 frames each has some 40 MB.
pub(crate) const PROFILE_BYTES: usize = 64 << 20;

/// Maximum memory of a decoded profile in bytes. An empty message takes two bytes in the file and up to 72 in memory.
pub(crate) const DECODED_BYTES: usize = 256 << 20;

/// Maximum number of frames in all samples of a profile: a table of 100,000 rows with 300 frames each.
pub(crate) const PROFILE_FRAMES: usize = 32 << 20;

/// Maximum number of frames in a sample of a profile. A row of TraceJob has at most two stacks of 1024.
pub(crate) const STACK_FRAMES: usize = 4096;

/// Maximum size of folded stacks of a difference, in bytes: each line repeats the names of its frames.
pub(crate) const FOLDED_BYTES: u64 = 1 << 30;
