//! Limits of sent messages, and of messages from an agent, which is not trusted.

/// Approximate bytes of a part of a table on the wire. gRPC clients refuse messages of more than 4 MiB by default, and each reader of a
/// trace has copies of a few messages in flight.
pub const PART_BYTES: usize = 256 << 10;

/// Bytes of a table that is received in parts. An agent's largest table has about a fifth of that.
pub(crate) const TABLE_BYTES: usize = 64 << 20;

/// Bytes of a name or path. Agents shorten theirs to 512 bytes, agents before version 0.2 to this limit.
pub(crate) const TEXT_BYTES: usize = 4096;

/// Frames of a stack. Agents truncate theirs to 1,025.
pub(crate) const STACK_FRAMES: u32 = 4096;
