//! Bounds of the gateway: of connections, readers, logs, and what callers make the API server work.

use listen::places::Limits;
use std::time::Duration;

/// The places of connections.
pub(crate) const CONNECTIONS: Limits = Limits {
    // Some 30 KB each: the distance between a client that shakes hands and the connection that closes it for want of room.
    pending: 1024,
    // A quarter. Clients behind one address have admitted connections besides.
    pending_per_source: 256,
    // Until a call is authenticated: as long as a client of HTTP has for a request's head.
    pending_time: Duration::from_secs(10),
    // Twice the readers of a replica.
    admitted: 2048,
    // Each API server has a few connections for all its users; discovery and the deletion of namespaces need them.
    reserved: 256,
    // Clients connect again by themselves.
    idle_time: Duration::from_secs(60),
};
/// Calls that one connection may have open: the API server's readers share a few.
pub(crate) const CALLS: u32 = 1000;
/// How long a request's headers may take in HTTP/1.1: a minute is the API server's for the whole answer.
pub(crate) const HEADER_TIME: Duration = Duration::from_secs(10);
/// When a client that says nothing is asked whether it is there, and how long it may think about it: less than a minute in all.
pub(crate) const KEEPALIVE: (Duration, Duration) =
    (Duration::from_secs(30), Duration::from_secs(20));
/// Bytes of a request's headers: the API server sends a user's groups in them.
pub(crate) const HEADER_BYTES: u32 = 256 << 10;
/// Readers of one replica. Each has a few messages at most; what they read is kept once for each job.
pub(crate) const READERS: usize = 1000;
/// Readers of one user: a fifth, so that one account cannot take a replica.
pub(crate) const READERS_PER_USER: usize = 200;
/// Jobs that are read at the same time. Beyond that a job's log would be less than a sixteenth of what it may be.
pub(crate) const JOBS: usize = 256;
/// How many full logs all jobs together may keep. By default they are 512 MiB, half of the memory limit of the chart.
pub(crate) const FULL_LOGS: usize = 16;
/// Reviews of tokens at the same time: some 5 ms each, so about 6,000 each second, which is more than all readers of a replica need.
pub(crate) const TOKENS_AT_ONCE: usize = 32;
/// The same of one source: one address cannot have them all. Further ones wait.
pub(crate) const TOKENS_AT_ONCE_PER_SOURCE: usize = 8;
/// Tokens of one source that wait or are reviewed: as many as a replica has readers.
pub(crate) const WAITING_PER_SOURCE: usize = 1000;
/// Bad tokens of one source in [`WINDOW`]. A program whose token has expired sends a few until it has the next.
pub(crate) const BAD_PER_SOURCE: usize = 20;
/// How long a source's bad tokens count.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);
/// How long a token that was bad is refused without another review. A token does not become good; its account may be made anew.
pub(crate) const BAD_TIME: Duration = Duration::from_secs(10);
/// Bad tokens that are remembered, 40 bytes each. Further ones take a review each, within the bounds above.
pub(crate) const BAD_TOKENS: usize = 10_000;
/// Sources that are remembered, 50 bytes each. One too many is refused while all of them have recent bad tokens or a review.
pub(crate) const SOURCES: usize = 10_000;
/// Reviews of rights at the same time, for callers who are known.
pub(crate) const RIGHTS_AT_ONCE: usize = 64;
/// The largest number that an agent may give a message, or rows before it: a year of ten million a second, and little enough to be
/// added for all nodes of a cluster.
pub(crate) const NUMBERS: u64 = 1 << 48;
/// Bytes of text that are made for a reader at a time, unless a single row has more: a table may have hundreds of megabytes.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
