//! `tcp_life`: options and columns. Kernel side: `agent-ebpf/src/bin/tcp_life.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Closed TCP connections, with process, duration, and bytes in each direction.
///
/// An outgoing connection belongs to the process that connected it. An accepted connection belongs to the first process that reads from it
/// or closes it.
/// A connection that was open before the trace is assigned to a process at its first traced event. Its byte counts cover its whole life.
/// Each subflow of an MPTCP connection has its own row, with its own byte counts and closing time.
/// The first subflow belongs to the process that connected it. All other subflows, and all subflows of an accepted MPTCP connection, belong
/// to the process that closes the MPTCP socket or shuts it down.
/// A connection that the remote end reset before any process read from it is reported when its process closes the socket.
#[event]
pub struct TcpLife {
    /// Time at which the connection closed.
    #[wide]
    pub time: Time,
    /// Duration from the first SYN, or from the accepted handshake, to the close; 0 if the start was not recorded.
    pub duration_ns: u64,
    /// Task that the connection belonged to.
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
    /// Number of retransmitted segments.
    #[spare]
    pub retransmits: u32,
    /// Local port.
    #[spare]
    pub sport: u16,
    /// Remote port.
    pub dport: u16,
    /// Whether this end connected: no if it accepted the connection, empty if the start was not recorded.
    #[spare]
    pub connected: Bool,
    /// Whether the connection is a subflow of an MPTCP socket, even if the remote end supports TCP only.
    #[wide]
    pub mptcp: Bool,
    pub _pad: [u8; 2],
    /// Local token of the MPTCP connection, as `ss -M` shows it in hexadecimal; equal for all its subflows, 0 for plain TCP.
    #[wide]
    pub mptcp_token: u32,
}

/// Options of `tcp_life`. Each option restricts the traced events.
#[params]
pub struct Params {
    /// Local or remote port; 0 is any.
    pub port: u16,
    /// Show only connections with at least this duration.
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
