//! Bounds of the gateway: of connections, readers, logs, and what callers make the API server work.

use listen::places::Limits;
use std::time::Duration;

/// The places of connections.
pub(crate) const CONNECTIONS: Limits = Limits {
    // Connections, about 30 KB each. The number keeps a client during its handshake from being closed by newer connections.
    pending: 1024,
    // A quarter. Clients behind one address can have admitted connections as well.
    pending_per_source: 256,
    // Timeout until a call is authenticated: the same as for the head of an HTTP request.
    pending_time: Duration::from_secs(10),
    // Twice the readers of a replica.
    admitted: 2048,
    // Each API server has a few connections for all its users; discovery and the deletion of namespaces need them.
    reserved: 256,
    // Timeout of a connection without a call: clients reconnect by themselves.
    idle_time: Duration::from_secs(60),
};
/// Maximum number of open calls of one connection: the readers behind an API server share a few connections.
pub(crate) const CALLS: u32 = 1000;
/// Timeout of a request's headers in HTTP/1.1: the API server allows a minute for the whole response.
pub(crate) const HEADER_TIME: Duration = Duration::from_secs(10);
/// Interval of keepalive PINGs to a silent client, and timeout of its response: less than a minute in total.
pub(crate) const KEEPALIVE: (Duration, Duration) =
    (Duration::from_secs(30), Duration::from_secs(20));
/// Bytes of a request's headers: the API server sends a user's groups in them.
pub(crate) const HEADER_BYTES: u32 = 256 << 10;
/// Readers of one replica. Each has at most a few messages in memory; rows are kept once per job.
pub(crate) const READERS: usize = 1000;
/// Readers of one user: a fifth, so that one account cannot take a replica.
pub(crate) const READERS_PER_USER: usize = 200;
/// Jobs that are read at the same time. With more jobs, a job's log would have less than a sixteenth of its full size.
pub(crate) const JOBS: usize = 256;
/// Number of full logs that all jobs may keep together. By default these are 512 MiB, half of the memory limit of the chart.
pub(crate) const FULL_LOGS: usize = 16;
/// Concurrent reviews of tokens, about 5 ms each. This allows about 6,000 per second, more than all readers of a replica need.
pub(crate) const TOKENS_AT_ONCE: usize = 32;
/// The same limit for one source, so that one address cannot take all reviews. Further tokens wait.
pub(crate) const TOKENS_AT_ONCE_PER_SOURCE: usize = 8;
/// Tokens of one source that wait or are reviewed: the number of readers of a replica.
pub(crate) const WAITING_PER_SOURCE: usize = 1000;
/// Bad tokens of one source in `WINDOW`. A program with an expired token sends a few until it has a new token.
pub(crate) const BAD_PER_SOURCE: usize = 20;
/// Time for which a source's bad tokens count.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);
/// Time for which a bad token is refused without another review. A bad token does not become good, but its account may be created again.
pub(crate) const BAD_TIME: Duration = Duration::from_secs(10);
/// Cached bad tokens, 40 bytes each. Further tokens are reviewed each time, within the limits above.
pub(crate) const BAD_TOKENS: usize = 10_000;
/// Cached sources, 50 bytes each. A further source is refused while all of them have recent bad tokens or a review.
pub(crate) const SOURCES: usize = 10_000;
/// Concurrent reviews of rights, for authenticated callers.
pub(crate) const RIGHTS_AT_ONCE: usize = 64;
/// Largest sequence number, or number of earlier rows, that is accepted from an agent: a year of ten million per second, and small enough
/// to be added for all nodes of a cluster.
pub(crate) const NUMBERS: u64 = 1 << 48;
/// Bytes of text that are produced for a reader at a time, unless a single row is larger: a table may have hundreds of megabytes.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
