//! Bounds of listeners, whatever they serve. Each server has its own of connections: `places::Limits`.

use std::time::Duration;

/// Connections that wait to be accepted: as many as tokio's own listeners have.
pub(crate) const BACKLOG: i32 = 1024;
/// The shortest time between two log lines about rejected connections of a listener: how often it happens is for the peers to decide.
pub(crate) const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Bytes that a peer can send at once: as much as the largest request of all our servers takes.
pub(crate) const BURST_BYTES: i64 = 1 << 20;
/// Bytes that a peer can send each second beyond [`BURST_BYTES`]. A small frame costs HTTP/2 as much work as a large one (PING has 17 bytes), so
/// this bounds the CPU time that one connection takes; requests are small, and rows go the other way.
pub(crate) const BYTES_PER_SECOND: i64 = 256 << 10;
/// The same of a peer of the class that places are reserved for: a controller says to each agent the targets of all jobs on its node, 6 MB
/// for 50 jobs that select all of 110 pods.
pub(crate) const RESERVED_BYTES_PER_SECOND: i64 = 4 << 20;
/// Bytes that a peer that has sent too much can send again after its pause, so that it does not wake this program for each byte.
pub(crate) const STEP_BYTES: i64 = 16 << 10;
