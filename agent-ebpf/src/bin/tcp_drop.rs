//! Kernel side of `tcp_drop`. Columns and options: `tracers/src/catalogue/tcp_drop.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    IPPROTO_MPTCP, IPPROTO_TCP, Loss, add, book, book_also, current_task, emit, kernel_enums,
    kernel_fields, kernel_stack, mapped, now, rows, selected, socket_selection, tcp,
};
use aya_ebpf::{Global, helpers::bpf_probe_read_kernel, programs::RawTracePointContext};
use tracers::{
    Ip, KernelAddress, Target, Task, TcpState, Text16, Time, program,
    tcp_drop::{DropReason, TcpDrop, TcpDropReasonsKey, TcpDropReasonsValue},
};

#[unsafe(no_mangle)]
static PORT: Global<u16> = Global::new(0);
#[unsafe(no_mangle)]
static BENIGN: Global<u8> = Global::new(0);

rows!(TcpDropReasonsKey => TcpDropReasonsValue, 4096);
socket_selection!();
kernel_fields! {
    SK_PROTOCOL = sock.sk_protocol: u16;
    SKB_SK = sk_buff.sk: *const u8;
    SKB_HEAD = sk_buff.head: *const u8;
    SKB_PROTOCOL = sk_buff.protocol: u16;
    SKB_NETWORK_HEADER = sk_buff.network_header: u16;
}
kernel_enums! {
    NOT_SPECIFIED = SKB_DROP_REASON_NOT_SPECIFIED;
    // What a socket holds when it is closed, such as the other end's FIN: since 6.8, and without a reason before.
    optional QUEUE_PURGE = SKB_DROP_REASON_QUEUE_PURGE;
}

/// `ETH_P_IP` and `ETH_P_IPV6`, include/uapi/linux/if_ether.h.
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

/// Bytes of an IPv6 header without extensions.
const IPV6_BYTES: usize = 40;

/// `(struct sk_buff *skb, void *location, enum skb_drop_reason reason)`.
#[program(raw_tp = "kfree_skb")]
fn kfree_skb(ctx: &RawTracePointContext) {
    on_free(ctx, core::ptr::null());
}

/// `(struct sk_buff *skb, void *location, enum skb_drop_reason reason, struct sock *rx_sk)`.
#[program(raw_tp = "kfree_skb")]
fn kfree_skb_of_socket(ctx: &RawTracePointContext) {
    on_free(ctx, ctx.arg(3));
}

#[inline(always)]
fn on_free(ctx: &RawTracePointContext, receiver: *const u8) {
    let reason: i32 = ctx.arg(2);
    let reason = reason as u32;
    let is_benign = reason == NOT_SPECIFIED.load() || reason == QUEUE_PURGE.load();
    if is_benign && BENIGN.load() == 0 {
        return;
    }
    match selected_by_socket(ctx.arg(0), receiver) {
        Ok((sk, target)) => {
            if let Some(target) = target.or_else(selected) {
                on_drop(ctx, reason, sk, target);
            }
        }
        Err(unreadable) => lost(unreadable.into()),
    }
}

/// Counts it first, in a way that depends on no ring and no budget.
#[inline(always)]
fn on_drop(ctx: &RawTracePointContext, reason: u32, sk: *const u8, target: Target) {
    match drop_of(ctx, sk) {
        Ok(Some((ends, state))) => {
            let (reason, state) = (DropReason(reason), TcpState(state));
            let task = current_task(target);
            book_also(count(reason, state, &task));
            book(send(ctx, reason, state, task, &ends));
        }
        Ok(None) => book(Ok(false)),
        Err(unreadable) => lost(unreadable.into()),
    }
}

/// It is in neither dataset.
#[inline(always)]
fn lost(loss: Loss) {
    book_also(Err(loss));
    book(Err(loss));
}

/// The packet's socket, null where it has none, and as part of which target that is traced.
#[inline(always)]
fn selected_by_socket(
    skb: *const u8,
    receiver: *const u8,
) -> Result<(*const u8, Option<Target>), i32> {
    let sk = match receiver.is_null() {
        true => SKB_SK.read(skb)?,
        false => receiver,
    };
    Ok((sk, socket_selected(full_socket(sk)?)?))
}

/// Addresses and ports of a TCP packet, of which the network header is where the kernel says.
struct Ends {
    saddr: Ip,
    daddr: Ip,
    sport: u16,
    dport: u16,
}

/// The ends of a packet; `None` of one that is not TCP's.
#[inline(always)]
fn ends(skb: *const u8) -> Result<Option<Ends>, i32> {
    let protocol = u16::from_be(SKB_PROTOCOL.read(skb)?);
    if protocol != ETH_P_IP && protocol != ETH_P_IPV6 {
        return Ok(None);
    }
    let at = SKB_HEAD
        .read(skb)?
        .wrapping_add(SKB_NETWORK_HEADER.read(skb)?.into());
    // An IPv4 header with the start of its TCP header, or an IPv6 header.
    // SAFETY: the helper checks the address.
    let header: [u32; IPV6_BYTES / 4] = unsafe { bpf_probe_read_kernel(at.cast()) }?;
    let first = header[0].to_ne_bytes()[0];
    let (saddr, daddr, next, bytes) = match (protocol, first >> 4) {
        (ETH_P_IP, 4) => (
            mapped(header[3].to_ne_bytes()),
            mapped(header[4].to_ne_bytes()),
            header[2].to_ne_bytes()[1],
            usize::from(first & 0xf) * 4,
        ),
        (ETH_P_IPV6, 6) => (
            address(&header, 2),
            address(&header, 6),
            header[1].to_ne_bytes()[2],
            IPV6_BYTES,
        ),
        _ => return Ok(None),
    };
    if u16::from(next) != IPPROTO_TCP {
        return Ok(None);
    }
    // SAFETY: the helper checks the address.
    let [sport, dport]: [u16; 2] = unsafe { bpf_probe_read_kernel(at.wrapping_add(bytes).cast()) }?;
    Ok(Some(Ends {
        saddr,
        daddr,
        sport: u16::from_be(sport),
        dport: u16::from_be(dport),
    }))
}

/// The IPv6 address at a word of its header.
#[inline(always)]
fn address(header: &[u32; IPV6_BYTES / 4], word: usize) -> Ip {
    let words = [
        header[word],
        header[word + 1],
        header[word + 2],
        header[word + 3],
    ];
    // SAFETY: as many bytes.
    Ip(unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(words) })
}

/// The state of a socket of TCP; 0 without one.
#[inline(always)]
fn state(sk: *const u8) -> Result<u32, i32> {
    if sk.is_null() {
        return Ok(0);
    }
    let state = SKC_STATE.read(sk)?;
    // Sockets that are not whole have no protocol, and are TCP's here.
    Ok(match i32::from(state) {
        tcp::TIME_WAIT | tcp::NEW_SYN_RECV => state.into(),
        _ => match SK_PROTOCOL.read(sk)? {
            IPPROTO_TCP | IPPROTO_MPTCP => state.into(),
            _ => 0,
        },
    })
}

/// The ends of a packet of TCP and the state of its socket; `None` of any other packet, and of one of another port than is asked for.
#[inline(always)]
fn drop_of(ctx: &RawTracePointContext, sk: *const u8) -> Result<Option<(Ends, u32)>, i32> {
    let Some(ends) = ends(ctx.arg(0))? else {
        return Ok(None);
    };
    if PORT.load() != 0 && PORT.load() != ends.sport && PORT.load() != ends.dport {
        return Ok(None);
    }
    Ok(Some((ends, state(sk)?)))
}

/// One more in the row of its reason.
#[inline(always)]
fn count(reason: DropReason, state: TcpState, task: &Task) -> Result<bool, Loss> {
    let key = TcpDropReasonsKey {
        reason,
        state,
        pid: task.pid,
        target: task.target,
        comm: Text16(task.comm),
        cgroup: task.cgroup,
    };
    let row = TABLE.row(&key, 1)?;
    add(&mut row.drops, 1);
    Ok(true)
}

/// A row of its own.
#[inline(always)]
fn send(
    ctx: &RawTracePointContext,
    reason: DropReason,
    state: TcpState,
    task: Task,
    ends: &Ends,
) -> Result<bool, Loss> {
    emit(
        task.cgroup,
        &TcpDrop {
            time: Time(now()),
            reason,
            state,
            location: KernelAddress(ctx.arg(1)),
            task,
            saddr: ends.saddr,
            daddr: ends.daddr,
            sport: ends.sport,
            dport: ends.dport,
            _pad: 0,
            kernel_stack: kernel_stack(ctx, 0),
        },
    )
}
