//! Limits of calls to agents.

use std::time::Duration;

/// Bytes of the largest accepted message: agents before version 0.2 send a whole table in one message.
pub(crate) const MESSAGE_BYTES: usize = 32 << 20;

/// Timeout of a connection to an agent: a running node responds in milliseconds.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

/// Timeout of a connection with its handshake, to a node whose processors are all busy.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
