//! `tcp_retransmit`: what it takes and what it emits. Kernel side: `agent-ebpf/src/bin/tcp_retransmit.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// TCP segments that the kernel sent again: which connections lose packets.
///
/// A row is selected by the process that has the connection, or by the cgroup of its socket. The current task has nothing to do with it:
/// segments are sent again by timers and when packets arrive.
/// The process is the one that connected while the trace ran, or that first read from the connection while it ran; one that neither
/// connected nor read since the trace began is not known, and only `--cgroup`, `--container` and `--host` show its connections.
/// The 32,768 connections used last are remembered so.
/// The cgroup of a socket is that of cgroup v2 in which it was made, or its listener; where cgroups are selected by v1, sockets are
/// selected by their process alone.
/// One row is one packet of the kernel's queue, which may be several segments of the counter `RetransSegs`.
/// A SYN-ACK that a listener sends again is not shown, though that counter has it.
#[event]
pub struct TcpRetransmit {
    /// When it was sent again.
    #[wide]
    pub time: Time,
    /// The cgroup v2 id of the socket: the inode number of its directory; 0 where it is not known.
    #[wide]
    pub cgroup: u64,
    /// The process that has the connection, as the host numbers it; 0 where it is not known.
    pub pid: Pid,
    /// Whose connection it is.
    pub target: Target,
    /// The name of the thread that connected or read; empty where the process is not known.
    pub comm: Text16,
    /// Local address.
    #[spare]
    pub saddr: Ip,
    /// Remote address.
    pub daddr: Ip,
    /// Local port.
    #[spare]
    pub sport: u16,
    /// Remote port.
    pub dport: u16,
    /// State of the connection.
    pub state: TcpState,
    /// Whether it was sent; no where this host itself could not send it, which older kernels (6.12) do not report.
    #[wide]
    pub sent: Bool,
    pub _pad: [u8; 7],
}

/// Options of `tcp_retransmit`; each narrows what is traced.
#[params]
pub struct Params {
    /// Local or remote port; 0 is any.
    pub port: u16,
}

impl Tracer for TcpRetransmit {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Network;
    const POINTS: &'static [&'static [Point]] = &[
        &[
            raw_tp("tcp_retransmit_skb").with(&[(2, "int")]).by("tcp_retransmit_skb_with_error"),
            raw_tp("inet_sock_set_state"),
            raw_tp("tcp_rcv_space_adjust"),
        ],
        &[raw_tp("tcp_retransmit_skb"), raw_tp("inet_sock_set_state"), raw_tp("tcp_rcv_space_adjust")],
    ];
    const NESTS: bool = true;
    const COST: &'static str = "about 1 µs per connection and per segment sent again, 0.1 µs per receive";
    const EXAMPLES: &'static [&'static str] =
        &["--host --duration 10s", "--cgroup /sys/fs/cgroup/kubepods.slice -o json", "-- curl example.com"];
}
