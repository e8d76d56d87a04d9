//! `tcp_connect`: what it takes and what it emits. Kernel side: `agent-ebpf/src/bin/tcp_connect.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Outgoing TCP connections and how they ended, IPv4 and IPv6: one row when an attempt is decided.
///
/// An attempt for which the kernel has no route fails before the first packet and is not seen.
/// An MPTCP socket that connects is one row too, of its first subflow. Further subflows, which the kernel makes by itself, are no rows
/// here: `tcp_life` has them.
#[event]
pub struct TcpConnect {
    /// When the outcome was known.
    #[wide]
    pub time: Time,
    /// Time from the first SYN to the outcome.
    pub latency_ns: u64,
    /// The task that called connect(2).
    pub task: Task,
    /// Local address.
    #[spare]
    pub saddr: Ip,
    /// Remote address.
    pub daddr: Ip,
    /// 0, or why not; ECANCELED where the caller gave up.
    pub result: Outcome,
    /// Local port.
    #[spare]
    pub sport: u16,
    /// Remote port.
    pub dport: u16,
    /// Whether the connection was established.
    #[spare]
    pub established: Bool,
    /// Whether an MPTCP socket connected; also where the remote end turns out to know TCP only.
    #[wide]
    pub mptcp: Bool,
    pub _pad: [u8; 2],
}

/// Options of `tcp_connect`; each narrows what is traced.
#[params]
pub struct Params {
    /// Remote port; 0 is any.
    pub port: u16,
    /// Only attempts that failed.
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
