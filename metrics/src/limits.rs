//! Bounds of the listeners for metrics and for health.

use listen::places::Limits;
use std::time::Duration;

/// Connections of one listener. Each has one request, so all connections are pending until they are closed.
pub(crate) const CONNECTIONS: Limits = Limits {
    // Connections, about 20 KB each. A kubelet and a Prometheus have one or two; the rest keeps a request from being closed by newer
    // connections.
    pending: 256,
    // Half of them: one address cannot take all, and a probe from a flooding node's address survives 127 further connections.
    pending_per_source: 128,
    // Timeout of a whole request: the default timeout of Prometheus.
    pending_time: Duration::from_secs(10),
    // No connection is kept after its request.
    admitted: 0,
    // No connection is kept after its request.
    reserved: 0,
    // No connection is kept after its request.
    idle_time: Duration::ZERO,
};
/// Timeout of a request's head: a kubelet sends it at once.
pub(crate) const HEADER_TIME: Duration = Duration::from_secs(2);
