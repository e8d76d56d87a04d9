//! `tcp_connect`: options and columns. Kernel side: `agent-ebpf/src/bin/tcp_connect.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Outgoing TCP connection attempts over IPv4 and IPv6, with their result. An attempt has one row, when it succeeds or fails.
///
/// An attempt for which the kernel has no route fails before the first packet and has no row.
/// A connecting MPTCP socket has one row, for its first subflow. Further subflows, which the kernel creates itself, have no row here;
/// `tcp_life` shows them.
#[event]
pub struct TcpConnect {
    /// Time at which the attempt succeeded or failed.
    #[wide]
    pub time: Time,
    /// Time from the first SYN to the result.
    pub latency_ns: u64,
    /// Task that called connect(2).
    pub task: Task,
    /// Local address.
    #[spare]
    pub saddr: Ip,
    /// Remote address.
    pub daddr: Ip,
    /// 0, or the error; ECANCELED if the caller gave up.
    pub result: Outcome,
    /// Local port.
    #[spare]
    pub sport: u16,
    /// Remote port.
    pub dport: u16,
    /// Whether the connection was established.
    #[spare]
    pub established: Bool,
    /// Whether the socket is an MPTCP socket, even if the remote end supports TCP only.
    #[wide]
    pub mptcp: Bool,
    pub _pad: [u8; 2],
}

/// Options of `tcp_connect`. Each option restricts the traced events.
#[params]
pub struct Params {
    /// Remote port; 0 is any.
    pub port: u16,
    /// Show only failed attempts.
    pub failed_only: bool,
}

impl Tracer for TcpConnect {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Network;
    const POINTS: &'static [&'static [Point]] = &[&[raw_tp("inet_sock_set_state")]];
    const NESTS: bool = true;
    const COST: &'static str = "about 1 µs per connection; nothing on traffic";
    const EXAMPLES: &'static [&'static str] =
        &["--port 443 --container 3f2a --max-events 100", "--failed-only --pid 4242 --duration 30s", "-- curl localhost:8080"];
}
