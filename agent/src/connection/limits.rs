//! Bounds of the agent's connections over TCP.

use std::time::Duration;

/// Timeout until a client uses HTTP/2: the TLS handshake, and the preface. A client without a role is closed at the same time, which
/// leaves enough time for its refusal.
pub(super) const PENDING_TIME: Duration = Duration::from_secs(5);
/// Connections of clients that have not presented a role yet, about 30 KB each. The number keeps a client during its handshake from being
/// closed by newer connections.
pub(super) const PENDING: usize = 512;
/// The same limit for one source. A controller, a gateway and a few readers connect to an agent once each.
pub(super) const PENDING_PER_SOURCE: usize = 256;
/// Fraction of `maxConnections` that is reserved for the role `control`, as 1/N: readers cannot block a controller.
pub(super) const RESERVED_ONE_IN: usize = 4;
/// Timeout of a connection without a call. A controller always has a call, and readers reconnect by themselves.
pub(super) const IDLE_TIME: Duration = Duration::from_secs(60);
/// Timeout for a client's machine that acknowledges no sent data: one whole keepalive.
pub(super) const UNTAKEN: Duration = Duration::from_secs(50);
/// Accepted connections that are not served yet: they are served at once.
pub(super) const WAITING: usize = 16;
