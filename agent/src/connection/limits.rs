//! Bounds of the agent's connections over TCP.

use std::time::Duration;

/// The time limit until a client speaks HTTP/2: TLS, and the preface. One without a role is closed then too, which is enough for an answer
/// that says so.
pub(super) const PENDING_TIME: Duration = Duration::from_secs(5);
/// Connections of clients that have not shown a role yet, some 30 KB each: the distance between a client that shakes hands and the
/// connection that closes it for want of room.
pub(super) const PENDING: usize = 512;
/// The same of one source. A controller, a gateway and a few readers connect to an agent, each once.
pub(super) const PENDING_PER_SOURCE: usize = 256;
/// One in so many of `maxConnections` is reserved for the role `control`: readers cannot keep a controller out.
pub(super) const RESERVED_ONE_IN: usize = 4;
/// How long a client may stay connected without a call. A controller always has one, and readers connect again by themselves.
pub(super) const IDLE_TIME: Duration = Duration::from_secs(60);
/// How long a client's machine may take nothing of what is sent to it: a whole keepalive.
pub(super) const UNTAKEN: Duration = Duration::from_secs(50);
/// Connections that are let in and not served yet: they are served at once.
pub(super) const WAITING: usize = 16;
