//! `tcp_life`: what it takes and what it emits. Kernel side: `agent-ebpf/src/bin/tcp_life.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Closed TCP connections: who, how long, and how many bytes each way.
///
/// A connection belongs to the process that connected it; one that was accepted, to the first that reads from it or closes it.
/// Connections that were open before the trace began are reported from the first thing that is seen of them, with their whole byte counts.
/// Each subflow of an MPTCP connection is a row of its own, with the bytes that went over it and when it closed.
/// The first subflow belongs to the process that connected it; all others, and all of an accepted MPTCP connection, to the process that
/// closes the MPTCP socket or shuts it down.
/// A connection that the other end broke off before any process read from it is reported when its process closes it.
#[event]
pub struct TcpLife {
    /// When it closed.
    #[wide]
    pub time: Time,
    /// From the first SYN, or from the accepted handshake, to the close; 0 where the beginning was not seen.
    pub duration_ns: u64,
    /// Whose it was.
    pub task: Task,
    /// Local address.
    #[spare]
    pub saddr: Ip,
    /// Remote address.
    pub daddr: Ip,
    /// Bytes of data received.
    pub rx_bytes: u64,
    /// Bytes of data sent and acknowledged.
    pub tx_bytes: u64,
    /// Segments sent again.
    #[spare]
    pub retransmits: u32,
    /// Local port.
    #[spare]
    pub sport: u16,
    /// Remote port.
    pub dport: u16,
    /// Whether this end connected; no if it accepted, nothing where the beginning was not seen.
    #[spare]
    pub connected: Bool,
    /// Whether it is a subflow of an MPTCP socket; also where the remote end knows TCP only.
    #[wide]
    pub mptcp: Bool,
    pub _pad: [u8; 2],
    /// Token of the MPTCP connection on this end, which `ss -M` shows in hexadecimal, equal for all its subflows; 0 for plain TCP.
    #[wide]
    pub mptcp_token: u32,
}

/// Options of `tcp_life`; each narrows what is traced.
#[params]
pub struct Params {
    /// Local or remote port; 0 is any.
    pub port: u16,
    /// Only connections that lived at least this long.
    pub min_duration_ns: u64,
}

impl Tracer for TcpLife {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Network;
    const POINTS: &'static [&'static [Point]] =
        &[&[
            raw_tp("inet_sock_set_state"),
            raw_tp("inet_sock_set_state").by("tcp_closed"),
            raw_tp("inet_sock_set_state").by("mptcp_set_state"),
            raw_tp("tcp_rcv_space_adjust"),
            raw_tp("tcp_destroy_sock"),
        ]];
    const NESTS: bool = true;
    const COST: &'static str = "about 2 µs per connection, 0.1 µs per receive";
    const EXAMPLES: &'static [&'static str] =
        &["--pid 4242 --duration 30s", "--port 5432 --container 3f2a -o csv", "-- curl localhost:8080"];
}
