//! `tcp_drop`: options and columns. Kernel side: `agent-ebpf/src/bin/tcp_drop.rs`.
use crate::{Class, Family, Tracer, prelude::*};

kernel_enum! {
    /// Reason for a drop, as defined by the kernel.
    DropReason of "skb_drop_reason"
}

/// TCP packets that the kernel dropped, with the reason, the kernel function and the connection.
///
/// The dataset `reasons` counts the same drops by reason, state and task. It includes drops whose rows were lost.
/// A drop is shown if the cgroup of its socket belongs to a target, or if the current task at the drop does.
/// The socket is known for sent packets. For received packets it is known after the kernel's socket lookup, if the drop still refers to it.
/// The cgroup of a socket is the cgroup v2 in which the socket was created. Targets in cgroup v1 do not select sockets.
/// The current task is often unrelated to the packet, because received packets are processed in the task that the interrupt found. A
/// drop of another process's packet may therefore be shown, and with `--pid` drops in other tasks are not shown. Loopback traffic is
/// mostly processed in the sender. `--host` shows all drops. Drops by a device, an XDP program or a switch are not traced.
/// A packet is recognized as TCP only if the TCP header directly follows the IP header. Packets with IPv6 extension headers are therefore
/// not shown. For tunnels the outer header counts.
/// Packets freed without a reason (`NOT_SPECIFIED`), or freed with the queue of a closed socket (`QUEUE_PURGE`), are mostly not drops.
/// They are shown only with `--benign`.
/// This tracer requires Linux 5.17. Older kernels have no drop reasons and do not distinguish drops from the free of a delivered packet.
#[event]
pub struct TcpDrop {
    /// Time of the drop.
    #[wide]
    pub time: Time,
    /// Reason for the drop, as this kernel names it. Reasons of other subsystems are numbers from 65536.
    pub reason: DropReason,
    /// State of the socket; empty if the socket is unknown.
    #[spare]
    pub state: TcpState,
    /// Kernel function that dropped the packet.
    #[spare]
    pub location: KernelAddress,
    /// Current task at the drop, which is often not the owner of the socket.
    pub task: Task,
    /// Source address of the packet.
    pub saddr: Ip,
    /// Destination address of the packet.
    pub daddr: Ip,
    /// Source port of the packet.
    #[spare]
    pub sport: u16,
    /// Destination port of the packet.
    pub dport: u16,
    pub _pad: u32,
    /// Kernel stack of the drop.
    #[wide]
    pub kernel_stack: KernelStack,
}

/// TCP packets that the kernel dropped, counted by reason, state and task. The counts include drops without a row of their own.
#[event]
pub struct TcpDropReasons {
    /// Reason for the drop, as this kernel names it. Reasons of other subsystems are numbers from 65536.
    #[key]
    pub reason: DropReason,
    /// State of the socket; empty if the socket is unknown.
    #[key]
    pub state: TcpState,
    /// PID of the current process at the drop, which is often not the owner of the socket.
    #[key]
    pub pid: Pid,
    /// Target that the drops were assigned to.
    #[key]
    pub target: Target,
    /// Name of the current thread at the drop.
    #[key]
    pub comm: Text16,
    /// Cgroup ID of the current task.
    #[key]
    #[wide]
    pub cgroup: u64,
    /// Number of dropped packets.
    #[count]
    pub drops: u64,
}

/// Options of `tcp_drop`.
#[params]
pub struct Params {
    /// Source or destination port; 0 is any.
    pub port: u16,
    /// Include packets freed without a reason or with their closed socket, most of which are not drops.
    pub benign: bool,
}

/// Types of the first arguments. Without the reason argument, drops cannot be distinguished.
const REASON: (u8, &str) = (2, "enum skb_drop_reason");

impl Tracer for TcpDrop {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Network;
    const POINTS: &'static [&'static [Point]] = &[
        // Since 6.11 with the socket that a received packet is for.
        &[raw_tp("kfree_skb").with(&[REASON, (3, "struct sock *")]).by("kfree_skb_of_socket")],
        &[raw_tp("kfree_skb").with(&[REASON])],
    ];
    const NESTS: bool = true;
    const ALSO: &'static [Further] = &[further::<TcpDropReasons>("reasons")];
    const COST: &'static str = "about 2 µs per drop, 0.1 µs per other packet that is freed with a reason";
    const EXAMPLES: &'static [&'static str] =
        &["--host --duration 10s", "--cgroup /sys/fs/cgroup/kubepods.slice -o json", "--port 5432 --host"];
}
