//! Kernel side of `tcp_retransmit`. Columns and options: `tracers/src/catalogue/tcp_retransmit.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    CGROUP_KN, KERNFS_ID, Loss, book, current_comm, current_tgid, emit, now, selected, sock_fields,
    socket_selection, tcp,
};
use aya_ebpf::{
    Global, bindings::BPF_NOEXIST, macros::map, maps::LruHashMap, programs::RawTracePointContext,
};
use tracers::{Bool, Pid, Target, TcpState, Text16, Time, program, tcp_retransmit::TcpRetransmit};

#[unsafe(no_mangle)]
static PORT: Global<u16> = Global::new(0);

sock_fields!();
socket_selection!();

/// Who has a connection.
#[repr(C)]
#[derive(Clone, Copy)]
struct Owner {
    pid: Pid,
    target: Target,
    comm: [u8; 16],
}

/// Connections of selected processes, by socket. One that is evicted is selected by its cgroup alone.
#[map]
static OWNERS: LruHashMap<u64, Owner> = LruHashMap::with_max_entries(32768, 0);

#[program(raw_tp = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: &RawTracePointContext) {
    let (sk, new): (*const u8, i32) = (ctx.arg(0), ctx.arg(2));
    match new {
        tcp::SYN_SENT => {
            // The address may have been another socket's.
            let _ = OWNERS.remove(&(sk as u64));
            own(sk);
        }
        tcp::CLOSE => {
            let _ = OWNERS.remove(&(sk as u64));
        }
        _ => {}
    }
}

/// A process reads: what it reads from is its own.
#[program(raw_tp = "tcp_rcv_space_adjust")]
fn tcp_rcv_space_adjust(ctx: &RawTracePointContext) {
    own(ctx.arg(0));
}

/// Makes the current process the owner of a socket that has none, if it is selected.
#[inline(always)]
fn own(sk: *const u8) {
    let Some(target) = selected() else {
        return;
    };
    let owner = Owner {
        pid: Pid(current_tgid()),
        target,
        comm: current_comm(),
    };
    // An eviction map takes every entry that is not there yet.
    let _ = OWNERS.insert(&(sk as u64), &owner, BPF_NOEXIST.into());
    book(Ok(false));
}

/// `(struct sock *sk, struct sk_buff *skb)`, where it was sent.
#[program(raw_tp = "tcp_retransmit_skb")]
fn tcp_retransmit_skb(ctx: &RawTracePointContext) {
    on_retransmit(ctx.arg(0), 0);
}

/// `(struct sock *sk, struct sk_buff *skb, int err)`.
#[program(raw_tp = "tcp_retransmit_skb")]
fn tcp_retransmit_skb_with_error(ctx: &RawTracePointContext) {
    on_retransmit(ctx.arg(0), ctx.arg(2));
}

#[inline(always)]
fn on_retransmit(sk: *const u8, error: i32) {
    // SAFETY: copied at once.
    let owner = unsafe { OWNERS.get(&(sk as u64)) }.copied();
    let target = match owner {
        Some(owner) => Ok(Some(owner.target)),
        None => socket_selected(sk),
    };
    match target {
        Ok(Some(target)) => {
            let owner = owner.unwrap_or(Owner {
                pid: Pid(0),
                target,
                comm: [0; 16],
            });
            book(row(sk, owner, error));
        }
        Ok(None) => {}
        Err(unreadable) => book(Err(unreadable.into())),
    }
}

#[inline(always)]
fn row(sk: *const u8, owner: Owner, error: i32) -> Result<bool, Loss> {
    let (sport, dport) = ports(sk)?;
    if PORT.load() != 0 && PORT.load() != sport && PORT.load() != dport {
        return Ok(false);
    }
    let cgroup = match socket_cgroup(sk)? {
        cgroup if cgroup.is_null() => 0,
        cgroup => KERNFS_ID.read(CGROUP_KN.read(cgroup)?)?,
    };
    let (saddr, daddr) = addresses(sk)?;
    emit(
        cgroup,
        &TcpRetransmit {
            time: Time(now()),
            cgroup,
            pid: owner.pid,
            target: owner.target,
            comm: Text16(owner.comm),
            saddr,
            daddr,
            sport,
            dport,
            state: TcpState(SKC_STATE.read(sk)?.into()),
            sent: Bool((error == 0).into()),
            _pad: [0; 7],
        },
    )
}
