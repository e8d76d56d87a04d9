//! `tcp_retransmit`: options and columns. Kernel side: `agent-ebpf/src/bin/tcp_retransmit.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Retransmitted TCP segments, which show the connections that lose packets.
///
/// A retransmission is shown if the process of the connection or the cgroup of its socket belongs to a target. The current task is not
/// considered, because retransmissions are triggered by timers and received packets.
/// The process of a connection is the process that connected, or that first read from the connection, during the trace. Connections of
/// other processes are shown only with `--cgroup`, `--container` and `--host`.
/// The trace keeps the processes of the 32,768 most recently used connections.
/// The cgroup of a socket is the cgroup v2 in which the socket, or its listener, was created. Targets in cgroup v1 select sockets by
/// process only.
/// A row is one packet of the kernel's queue, which the counter `RetransSegs` may count as several segments.
/// SYN-ACKs that a listener retransmits are not shown, although that counter includes them.
#[event]
pub struct TcpRetransmit {
    /// Time of the retransmission.
    #[wide]
    pub time: Time,
    /// Cgroup v2 ID of the socket: the inode number of the cgroup's directory; 0 if unknown.
    #[wide]
    pub cgroup: u64,
    /// PID of the process of the connection, in the host's PID namespace; 0 if unknown.
    pub pid: Pid,
    /// Target that the connection belongs to.
    pub target: Target,
    /// Name of the thread that connected or read; empty if the process is unknown.
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
    /// Whether the segment left this host: no if sending failed, which older kernels (6.12) do not report.
    #[wide]
    pub sent: Bool,
    pub _pad: [u8; 7],
}

/// Options of `tcp_retransmit`. Each option restricts the traced events.
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
