//! Bounds of the listeners for metrics and for health.

use listen::places::Limits;
use std::time::Duration;

/// Connections of one listener. Each is for one request, so all of them are pending for as long as they live.
pub(crate) const CONNECTIONS: Limits = Limits {
    // Some 20 KB each. A kubelet and a Prometheus have one or two: the rest is distance between a request and the connection that closes
    // it for want of room.
    pending: 256,
    // Half of them: one address cannot have all, and a probe from a flooding node's address still has 127 connections before it is the
    // oldest.
    pending_per_source: 128,
    // A whole request: as long as Prometheus waits by default.
    pending_time: Duration::from_secs(10),
    // None stays beyond its request.
    admitted: 0,
    // None stays beyond its request.
    reserved: 0,
    // None stays beyond its request.
    idle_time: Duration::ZERO,
};
/// The time limit of a request's head: a kubelet sends it at once.
pub(crate) const HEADER_TIME: Duration = Duration::from_secs(2);
