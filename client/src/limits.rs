//! The bounds of what is sent in a message, and of what is taken from an agent, which is not trusted.

/// About how many bytes a batch of a table has on the wire before the next one begins.
///
/// gRPC clients refuse messages of more than 4 MiB unless they are told otherwise, and each reader of a trace has copies of a few
/// messages in flight.
pub const PART_BYTES: usize = 256 << 10;

/// Bytes of a table that is received in parts. An agent's largest takes about a fifth of it.
pub(crate) const TABLE_BYTES: usize = 64 << 20;

/// Bytes of a name or path. Agents cut theirs to 512 bytes, and those before version 0.2 to this.
pub(crate) const TEXT_BYTES: usize = 4096;

/// Frames of a stack. Agents cut theirs to 1,025.
pub(crate) const STACK_FRAMES: u32 = 4096;
