//! Kernel side of `tcp_life`. Columns and options: `tracers/src/tcp_life.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    IPPROTO_TCP, Loss, book, current_task, emit, kernel_enums, kernel_fields, selected,
    sock_fields, tcp,
};
use aya_ebpf::{
    Global,
    helpers::generated::bpf_ktime_get_boot_ns,
    macros::map,
    maps::{HashMap, LruHashMap},
    programs::RawTracePointContext,
};
use tracers::{Bool, Target, Task, Time, program, tcp_life::TcpLife};

#[unsafe(no_mangle)]
static PORT: Global<u16> = Global::new(0);
#[unsafe(no_mangle)]
static MIN_DURATION_NS: Global<u64> = Global::new(0);

sock_fields!();
kernel_fields! {
    TP_BYTES_ACKED = tcp_sock.bytes_acked: u64;
    TP_BYTES_RECEIVED = tcp_sock.bytes_received: u64;
    TP_BYTES_SENT = tcp_sock.bytes_sent: u64;
    TP_BYTES_RETRANS = tcp_sock.bytes_retrans: u64;
    TP_TOTAL_RETRANS = tcp_sock.total_retrans: u32;
    SK_SHUTDOWN = sock.sk_shutdown: u8;
    SKC_STATE = sock_common.skc_state: u8;
    SKC_FLAGS = sock_common.skc_flags: u64;
}
kernel_enums! {
    SOCK_DONE = SOCK_DONE;
}

/// Connections of selected processes. Full means that the connection is lost and counted; a socket always closes.
#[map]
static OWNERS: HashMap<u64, Owner> = HashMap::with_max_entries(32768, 0);
/// Since when an accepted connection is established, whoever's it is: its process is known only later.
#[map]
static ACCEPTED: LruHashMap<u64, u64> = LruHashMap::with_max_entries(32768, 0);

/// Both halves are shut: include/net/sock.h.
const SHUTDOWN_MASK: u8 = 3;

#[repr(C)]
#[derive(Clone, Copy)]
struct Owner {
    /// 0 where the beginning was not seen.
    since: u64,
    /// 1 of an end that connected, 0 of one that accepted, [`BOTH`] while both ends try to connect.
    connected: u64,
    task: Task,
}

/// The other's SYN came before an answer: RFC 9293, 3.5, figure 7.
const BOTH: u64 = 2;

#[program(raw_tp = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: &RawTracePointContext) {
    book(on_change(ctx.arg(0), ctx.arg(1), ctx.arg(2)));
}

/// A process reads: what it reads from is its own.
#[program(raw_tp = "tcp_rcv_space_adjust")]
fn tcp_rcv_space_adjust(ctx: &RawTracePointContext) {
    if let Some(target) = selected() {
        let sk: *const u8 = ctx.arg(0);
        book(read_from(sk, target).map(|()| false));
    }
}

#[inline(always)]
fn read_from(sk: *const u8, target: Target) -> Result<(), Loss> {
    // What was queued can be read after the close, which has been told then and is not told again.
    if i32::from(SKC_STATE.read(sk)?) == tcp::CLOSE {
        return Ok(());
    }
    own(sk, target)
}

/// Bytes of data that came in, and that went out and were acknowledged. The kernel's own counts are of sequence numbers,
/// which SYN and FIN take one of each: tcp_rcv_nxt_update and tcp_snd_una_update, net/ipv4/tcp_input.c.
#[inline(always)]
fn data_bytes(sk: *const u8, connected: u64) -> Result<(u64, u64), i32> {
    // Set by the peer's FIN alone: tcp_fin.
    let fin = SKC_FLAGS.read(sk)? >> SOCK_DONE.load() & 1;
    let received = TP_BYTES_RECEIVED.read(sk)?.saturating_sub(fin);
    let acked = TP_BYTES_ACKED.read(sk)?.saturating_sub(connected);
    let sent = TP_BYTES_SENT
        .read(sk)?
        .saturating_sub(TP_BYTES_RETRANS.read(sk)?);
    Ok((received, if sent < acked { sent } else { acked }))
}

/// Makes the current task the owner of a socket that has none.
#[inline(always)]
fn own(sk: *const u8, target: Target) -> Result<(), Loss> {
    let key = sk as u64;
    // SAFETY: only looked at.
    if unsafe { OWNERS.get(&key) }.is_some() {
        return Ok(());
    }
    // SAFETY: copied at once.
    let since = unsafe { ACCEPTED.get(&key) }.copied();
    let owner = Owner {
        since: since.unwrap_or(0),
        connected: 0,
        task: current_task(target),
    };
    OWNERS.insert(&key, &owner, 0).map_err(|_| Loss::MapFull)
}

#[inline(always)]
fn set_connected(key: u64, connected: u64) {
    if let Some(owner) = OWNERS.get_ptr_mut(&key) {
        // SAFETY: an aligned u64 in a map, written whole; a socket changes its state under its own lock.
        unsafe { (*owner).connected = connected };
    }
}

#[inline(always)]
fn on_change(sk: *const u8, old: i32, new: i32) -> Result<bool, Loss> {
    let key = sk as u64;
    // SAFETY: the helper only returns a number.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    match new {
        tcp::SYN_SENT => match selected() {
            Some(target) if SK_PROTOCOL.read(sk)? == IPPROTO_TCP => {
                let owner = Owner {
                    since: now,
                    connected: 1,
                    task: current_task(target),
                };
                OWNERS.insert(&key, &owner, 0).map_err(|_| Loss::MapFull)?;
            }
            Some(_) => {}
            None => {
                let _ = OWNERS.remove(&key);
            }
        },
        tcp::SYN_RECV if old == tcp::SYN_SENT => set_connected(key, BOTH),
        tcp::ESTABLISHED if old != tcp::SYN_SENT => {
            // SAFETY: copied at once.
            let connected = unsafe { OWNERS.get(&key) }.map(|owner| owner.connected);
            if connected == Some(BOTH) {
                set_connected(key, 1);
                return Ok(false);
            }
            // The address may have been another socket's, whose close was not seen.
            let _ = OWNERS.remove(&key);
            // An eviction map takes every entry; what it evicts has duration 0.
            let _ = ACCEPTED.insert(&key, &now, 0);
        }
        // Only close(2) and shutdown(2) lead here, in the process that calls them: net/ipv4/tcp.c, tcp_close_state.
        tcp::FIN_WAIT1 | tcp::LAST_ACK => {
            if let Some(target) = selected() {
                own(sk, target)?;
            }
        }
        tcp::CLOSE => return closed(sk, old, now),
        _ => {}
    }
    Ok(false)
}

#[inline(always)]
fn closed(sk: *const u8, old: i32, now: u64) -> Result<bool, Loss> {
    let key = sk as u64;
    // A process that closes without having read resets the connection at once: __tcp_close sets both halves shut before the
    // state, tcp_reset, which is not the process's doing, after.
    let was_open = old == tcp::ESTABLISHED || old == tcp::CLOSE_WAIT;
    if was_open
        && SK_SHUTDOWN.read(sk)? == SHUTDOWN_MASK
        && let Some(target) = selected()
    {
        own(sk, target)?;
    }
    let _ = ACCEPTED.remove(&key);
    // SAFETY: copied at once.
    let Some(owner) = unsafe { OWNERS.get(&key) }.copied() else {
        return Ok(false);
    };
    let _ = OWNERS.remove(&key);
    // An attempt that failed was no connection.
    if old == tcp::SYN_SENT || owner.connected == BOTH || SK_PROTOCOL.read(sk)? != IPPROTO_TCP {
        return Ok(false);
    }
    let duration_ns = match owner.since {
        0 => 0,
        since => now - since,
    };
    let (sport, dport) = ports(sk)?;
    let other_port = PORT.load() != 0 && PORT.load() != dport && PORT.load() != sport;
    if other_port || duration_ns < MIN_DURATION_NS.load() {
        return Ok(false);
    }
    let (saddr, daddr) = addresses(sk)?;
    let (rx_bytes, tx_bytes) = data_bytes(sk, owner.connected)?;
    emit(
        owner.task.cgroup,
        &TcpLife {
            time: Time(now),
            duration_ns,
            task: owner.task,
            saddr,
            daddr,
            rx_bytes,
            tx_bytes,
            retransmits: TP_TOTAL_RETRANS.read(sk)?,
            sport,
            dport,
            connected: match owner.since {
                0 => Bool::UNKNOWN,
                _ => Bool(owner.connected as u8),
            },
            _pad: [0; 7],
        },
    )
}
