//! `tcp_drop`: what it takes and what it emits. Kernel side: `agent-ebpf/src/bin/tcp_drop.rs`.
use crate::{Class, Family, Tracer, prelude::*};

kernel_enum! {
    /// The kernel's reason for a drop.
    DropReason of "skb_drop_reason"
}

/// TCP packets that the kernel dropped: why, where in the kernel, and of which connection.
///
/// The dataset `reasons` counts the same drops by reason, state and task. It counts all of them, also those whose rows were lost.
/// A drop is selected by the cgroup of its socket, or by the task in whose context it happened.
/// The socket is known for packets that are sent, and for received ones once the kernel has looked it up and the drop still has it.
/// The cgroup of a socket is that of cgroup v2 in which it was made; where cgroups are selected by v1, sockets are not.
/// The task is often the wrong one: received packets are handled in whatever task the interrupt found, so a drop of another process's
/// packet may have a row here, and with `--pid` drops in other contexts have none. Traffic on loopback is mostly handled in the sender.
/// `--host` shows all drops. Packets that a device, an XDP program or a switch dropped never came to this point.
/// Only packets whose IP header is followed by a TCP header are recognized, so IPv6 extension headers hide one; a packet of a tunnel goes
/// by its outer header.
/// A free without a reason (`NOT_SPECIFIED`) or of what a socket held when it closed (`QUEUE_PURGE`) is mostly not a drop, and is left
/// out without `--benign`.
/// Linux before 5.17 has no reasons and cannot tell a drop from the free of a delivered packet, so this tracer is not available there.
#[event]
pub struct TcpDrop {
    /// When it was dropped.
    #[wide]
    pub time: Time,
    /// Why, as this kernel names it; reasons of a subsystem of its own are numbers from 65536.
    pub reason: DropReason,
    /// State of the socket; empty where the socket is not known.
    #[spare]
    pub state: TcpState,
    /// The function that dropped it.
    #[spare]
    pub location: KernelAddress,
    /// The task in whose context it was dropped, often another than the socket's.
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
    /// How the kernel came there.
    #[wide]
    pub kernel_stack: KernelStack,
}

/// TCP packets that the kernel dropped, counted by reason, state and task: each one, whether it has a row of its own or not.
#[event]
pub struct TcpDropReasons {
    /// Why, as this kernel names it; reasons of a subsystem of its own are numbers from 65536.
    #[key]
    pub reason: DropReason,
    /// State of the socket; empty where the socket is not known.
    #[key]
    pub state: TcpState,
    /// The process in whose context they were dropped, often another than the socket's.
    #[key]
    pub pid: Pid,
    /// Whose drops these are.
    #[key]
    pub target: Target,
    /// The name of the thread in whose context they were dropped.
    #[key]
    pub comm: Text16,
    /// The id of its cgroup.
    #[key]
    #[wide]
    pub cgroup: u64,
    /// Packets.
    #[count]
    pub drops: u64,
}

/// Options of `tcp_drop`.
#[params]
pub struct Params {
    /// Source or destination port; 0 is any.
    pub port: u16,
    /// Also packets that were freed without a reason, or with the socket that held them; most of these were not dropped.
    pub benign: bool,
}

/// Types of the first arguments: without the reason there is no telling drops apart.
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
