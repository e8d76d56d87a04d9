//! Limits of messages and pictures.

/// Bytes of the largest message that is taken: a table of 100,000 rows has some 15 MB. It bounds what a hostile agent makes us hold as well:
/// an empty frame takes two bytes in a message and 88 in memory.
pub(crate) const MESSAGE_BYTES: usize = 32 << 20;

/// Bytes of a flame graph's lines, with what drawing their frames takes: half a million frames of 60 letters. The largest stacks come
/// first; what is narrower than a pixel is not drawn in any case.
pub(crate) const PICTURE_BYTES: usize = 64 << 20;
