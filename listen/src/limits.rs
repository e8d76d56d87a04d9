//! Bounds of all listeners. Those of connections are each server's own: `places::Limits`.

use std::time::Duration;

/// Maximum number of connections that wait to be accepted: the same as for tokio's own listeners.
pub(crate) const BACKLOG: i32 = 1024;
/// Time between a failed accept(2) and the next one: closed connections return descriptors.
pub(crate) const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Interval at which certificate files are checked for changes: three calls of stat(2).
pub(crate) const FILES_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum time between two log lines about rejected connections of a listener, because peers decide how often they connect.
pub(crate) const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Bytes that a peer can send at once: the size of the largest request of all our servers.
pub(crate) const BURST_BYTES: i64 = 1 << 20;
/// Bytes that a peer can send per second beyond `BURST_BYTES`. A small HTTP/2 frame costs as much work as a large one (PING has 17
/// bytes), so this limits the CPU time of one connection. Requests are small, and rows flow in the other direction.
pub(crate) const BYTES_PER_SECOND: i64 = 256 << 10;
/// The same limit for a peer of the class with reserved connections: a controller sends each agent the targets of all jobs on its node, 6
/// MB for 50 jobs that select all of 110 pods.
pub(crate) const RESERVED_BYTES_PER_SECOND: i64 = 4 << 20;
/// Bytes that a peer over its limit can send after each pause, so that the program does not wake up for each byte.
pub(crate) const STEP_BYTES: i64 = 16 << 10;
