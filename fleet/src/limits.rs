//! The bounds of calls to agents.

use std::time::Duration;

/// Bytes of the largest message that is taken: agents before version 0.2 send a whole table in one.
pub(crate) const MESSAGE_BYTES: usize = 32 << 20;

/// How long connecting to an agent may take: a node that is there answers in milliseconds.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

/// The same with its handshake, on a node whose processors are all busy.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
