//! Limits of messages and pictures.

/// Maximum size of a message in bytes: a table of 100,000 rows has some 15 MB. The limit also bounds the memory that a hostile agent can
/// fill: an empty frame takes two bytes in a message and 88 in memory.
pub(crate) const MESSAGE_BYTES: usize = 32 << 20;

/// Maximum size of a flame graph's lines in bytes, with the memory to draw their frames: half a million frames of 60 letters. The largest
/// stacks come first; frames narrower than a pixel are not drawn in any case.
pub(crate) const PICTURE_BYTES: usize = 64 << 20;
