//! Kernel side of `tcp_life`. Columns and options: `tracers/src/catalogue/tcp_life.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    IPPROTO_MPTCP, IPPROTO_TCP, Loss, TASK_FLAGS, book, current_task, emit, kernel_enums,
    kernel_fields, mptcp_fields, now, selected, sock_fields, tcp,
};
use aya_ebpf::{
    Global,
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{Array, HashMap, LruHashMap},
    programs::RawTracePointContext,
};
use tracers::{Bool, Target, Task, Time, program, tcp_life::TcpLife};

#[unsafe(no_mangle)]
static PORT: Global<u16> = Global::new(0);
#[unsafe(no_mangle)]
static MIN_DURATION_NS: Global<u64> = Global::new(0);

sock_fields!();
mptcp_fields!();
kernel_fields! {
    TP_BYTES_ACKED = tcp_sock.bytes_acked: u64;
    TP_BYTES_RECEIVED = tcp_sock.bytes_received: u64;
    TP_BYTES_SENT = tcp_sock.bytes_sent: u64;
    TP_BYTES_RETRANS = tcp_sock.bytes_retrans: u64;
    TP_TOTAL_RETRANS = tcp_sock.total_retrans: u32;
    SK_SHUTDOWN = sock.sk_shutdown: u8;
    SKC_STATE = sock_common.skc_state: u8;
    SKC_FLAGS = sock_common.skc_flags: u64;
    optional MSK_TOKEN = mptcp_sock.token: u32;
    optional MSK_SUBFLOWS = mptcp_sock.conn_list: *const u8;
    optional MSK_JOINING = mptcp_sock.join_list: *const u8;
    optional SUBFLOW_TOKEN = mptcp_subflow_context.token: u32;
    optional SUBFLOW_NODE = mptcp_subflow_context.node: *const u8;
    optional SUBFLOW_SOCK = mptcp_subflow_context.tcp_sock: *const u8;
}
kernel_enums! {
    SOCK_DONE = SOCK_DONE;
    SOCK_DEAD = SOCK_DEAD;
}

/// Connections of selected processes. Full means that the connection is lost and counted; a socket always closes.
#[map]
static OWNERS: HashMap<u64, Owner> = HashMap::with_max_entries(32768, 0);
/// The beginning of connections whose process is known only later: accepted ones, and further subflows of MPTCP connections.
#[map]
static BEGUN: LruHashMap<u64, Begun> = LruHashMap::with_max_entries(32768, 0);
/// Rows of connections that ended before it was known whose they are, by the socket that a process has and a number: a TCP socket has
/// one at most, an MPTCP socket one for each subflow.
/// Full means that a connection is lost and counted, though it may have been an unselected process's.
#[map]
static WAITING: HashMap<(u64, u64), TcpLife> = HashMap::with_max_entries(4096, 0);
/// The owner of rows that wait, of zeroes: written onto the stack they would take a call, for which there is none left.
#[map]
static NOBODY: Array<Owner> = Array::with_max_entries(1, 0);
/// Most rows of one MPTCP connection that wait: the kernel's path manager makes eight subflows at most at a time
/// (MPTCP_PM_ADDR_MAX, net/mptcp/protocol.h).
const WAITING_EACH: u64 = 16;
/// Most subflows of an MPTCP connection that are looked at.
const SUBFLOWS: u32 = 64;

/// Both halves are shut: include/net/sock.h.
const SHUTDOWN_MASK: u8 = 3;

/// The task is a thread of the kernel, as workers are: include/linux/sched.h. A process that exits has no memory of its own any more
/// when it closes its files, and is told apart by this alone.
const PF_KTHREAD: u32 = 0x0020_0000;

#[repr(C)]
#[derive(Clone, Copy)]
struct Owner {
    /// 0 where the beginning was not seen.
    since: u64,
    /// 1 of an end that connected, 0 of one that accepted, [`BOTH`] while both ends try to connect.
    connected: u64,
    task: Task,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Begun {
    since: u64,
    /// As in [`Owner`].
    connected: u64,
}

/// The other's SYN came before an answer: RFC 9293, 3.5, figure 7.
const BOTH: u64 = 2;

#[program(raw_tp = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: &RawTracePointContext) {
    book(on_change(ctx.arg(0), ctx.arg(1), ctx.arg(2)).map(|()| false));
}

/// The same hook, once the owner is known; it has programs of its own because each has 512 bytes of stack and no more.
#[program(raw_tp = "inet_sock_set_state")]
fn tcp_closed(ctx: &RawTracePointContext) {
    let new: i32 = ctx.arg(2);
    if new == tcp::CLOSE {
        book(closed(ctx.arg(0), ctx.arg(1)));
    }
}

/// The same hook, for MPTCP sockets.
#[program(raw_tp = "inet_sock_set_state")]
fn mptcp_set_state(ctx: &RawTracePointContext) {
    book(on_mptcp(ctx.arg(0), ctx.arg(1), ctx.arg(2)).map(|()| false));
}

/// A socket that somebody else has ended is closed in the end, which changes its state no more: the process that closes it is its owner,
/// if nobody was before.
#[program(raw_tp = "tcp_destroy_sock")]
fn tcp_destroy_sock(ctx: &RawTracePointContext) {
    let sk: *const u8 = ctx.arg(0);
    if WAITING.get_ptr(&(sk as u64, 0)).is_some() {
        send_waiting(sk, selected());
        book(Ok(false));
    }
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

/// How the connection began, as far as it was seen.
#[inline(always)]
fn begun(key: u64) -> Begun {
    // SAFETY: copied at once.
    let begun = unsafe { BEGUN.get(&key) }.copied();
    begun.unwrap_or(Begun {
        since: 0,
        connected: 0,
    })
}

/// Makes the current task the owner of a socket that has none.
#[inline(always)]
fn own(sk: *const u8, target: Target) -> Result<(), Loss> {
    let key = sk as u64;
    // SAFETY: only looked at.
    if unsafe { OWNERS.get(&key) }.is_some() {
        return Ok(());
    }
    let begun = begun(key);
    let owner = Owner {
        since: begun.since,
        connected: begun.connected,
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

/// Handles a change of an MPTCP socket's state. Its subflows are the rows, but only its own changes show whose they are: a worker of
/// the kernel closes the subflows, and reads pass no tracepoint that every kernel has.
#[inline(always)]
fn on_mptcp(mptcp: *const u8, old: i32, new: i32) -> Result<(), Loss> {
    if SK_PROTOCOL.read(mptcp)? != IPPROTO_MPTCP {
        return Ok(());
    }
    let by_process = match new {
        // Only close(2) and shutdown(2) set these, in the process that calls them: mptcp_close_state, net/mptcp/protocol.c.
        tcp::FIN_WAIT1 | tcp::LAST_ACK => true,
        // close(2) after shutdown(2).
        tcp::FIN_WAIT2 => old == tcp::FIN_WAIT2,
        // close(2) of a connection with unread bytes, or of one that the other end has broken off. __mptcp_close shuts both halves
        // before it sets the state, and orphans the socket after.
        tcp::CLOSE => {
            matches!(old, tcp::ESTABLISHED | tcp::CLOSE_WAIT | tcp::CLOSE)
                && SK_SHUTDOWN.read(mptcp)? == SHUTDOWN_MASK
                && !is_dead(mptcp)?
                && TASK_FLAGS.of_current_task()? & PF_KTHREAD == 0
        }
        tcp::SYN_SENT | tcp::ESTABLISHED => {
            // The address may have been another socket's.
            send_waiting(mptcp, None);
            return Ok(());
        }
        _ => false,
    };
    if !by_process || !MSK_SUBFLOWS.exists() || !MSK_JOINING.exists() {
        return Ok(());
    }
    let target = selected();
    send_waiting(mptcp, target);
    if let Some(target) = target {
        let (subflows, joining) = (
            MSK_SUBFLOWS.of(mptcp).cast::<u8>(),
            MSK_JOINING.of(mptcp).cast::<u8>(),
        );
        own_subflows(MSK_SUBFLOWS.read(mptcp)?, subflows, target)?;
        own_subflows(MSK_JOINING.read(mptcp)?, joining, target)?;
    }
    Ok(())
}

/// Makes the current task the owner of every subflow in a list that has none.
#[inline(always)]
fn own_subflows(first: *const u8, head: *const u8, target: Target) -> Result<(), Loss> {
    let mut node = first;
    for _ in 0..SUBFLOWS {
        if node == head || node.is_null() {
            return Ok(());
        }
        let context = SUBFLOW_NODE.container(node);
        let sk = SUBFLOW_SOCK.read(context)?;
        if i32::from(SKC_STATE.read(sk)?) != tcp::CLOSE {
            own(sk, target)?;
        }
        node = SUBFLOW_NODE.read(context)?;
    }
    Err(Loss::Unreadable)
}

/// Sends the rows that wait for a socket's owner as the current task's; drops them where that task is not selected.
#[inline(always)]
fn send_waiting(mptcp: *const u8, target: Option<Target>) {
    for number in 0..WAITING_EACH {
        let key = (mptcp as u64, number);
        let Some(row) = WAITING.get_ptr_mut(&key) else {
            break;
        };
        if let Some(target) = target {
            // SAFETY: a row in a map, which only the socket's own changes touch, under its lock.
            let row = unsafe { &mut *row };
            row.task = current_task(target);
            book(emit(row.task.cgroup, row));
        }
        let _ = WAITING.remove(&key);
    }
}

/// Keeps the row of a connection until the process that it belongs to is known.
#[inline(always)]
fn wait(sk: *const u8, mptcp: *const u8, row: &TcpLife) -> Result<bool, Loss> {
    if mptcp.is_null() {
        // A row that is there is another socket's, whose end was not seen.
        let kept = WAITING.insert(&(sk as u64, 0), row, 0);
        return kept.map(|()| false).map_err(|_| Loss::MapFull);
    }
    for number in 0..WAITING_EACH {
        let key = (mptcp as u64, number);
        if WAITING.insert(&key, row, u64::from(BPF_NOEXIST)).is_ok() {
            return Ok(false);
        }
    }
    Err(Loss::MapFull)
}

/// Whether a socket is an orphan, which no process has open: sock_orphan, include/net/sock.h.
#[inline(always)]
fn is_dead(sk: *const u8) -> Result<bool, i32> {
    Ok(SKC_FLAGS.read(sk)? >> SOCK_DEAD.load() & 1 == 1)
}

/// Whether a process has the socket open to which a connection belongs, or may accept it yet.
#[inline(always)]
fn is_open(sk: *const u8, mptcp: *const u8) -> Result<bool, i32> {
    if mptcp.is_null() {
        return Ok(!is_dead(sk)?);
    }
    Ok(!is_dead(mptcp)? && SK_SHUTDOWN.read(mptcp)? != SHUTDOWN_MASK)
}

/// The token of the MPTCP connection. The MPTCP socket loses its own before its subflows close where the other end breaks off.
#[inline(always)]
fn token(sk: *const u8, mptcp: *const u8) -> Result<u32, i32> {
    if mptcp.is_null() {
        return Ok(0);
    }
    match SUBFLOW_TOKEN.read(ICSK_ULP_DATA.read(sk)?)? {
        // A subflow that this end adds has only the other end's.
        0 => MSK_TOKEN.read(mptcp),
        token => Ok(token),
    }
}

#[inline(always)]
fn on_change(sk: *const u8, old: i32, new: i32) -> Result<(), Loss> {
    if SK_PROTOCOL.read(sk)? != IPPROTO_TCP {
        return Ok(());
    }
    let key = sk as u64;
    let now = now();
    let mptcp = mptcp_of(sk)?;
    // The task that closes a subflow may be a worker: see `on_mptcp`.
    let is_owner = match new {
        tcp::SYN_SENT => {
            let is_joined = is_joined(sk, mptcp)?;
            if is_joined {
                begin(key, now, 1);
            }
            !is_joined
        }
        tcp::SYN_RECV if old == tcp::SYN_SENT => {
            set_connected(key, BOTH);
            false
        }
        tcp::ESTABLISHED if old != tcp::SYN_SENT => {
            // SAFETY: copied at once.
            let connected = unsafe { OWNERS.get(&key) }.map(|owner| owner.connected);
            if connected == Some(BOTH) {
                set_connected(key, 1);
            } else {
                begin(key, now, 0);
            }
            false
        }
        // Only close(2) and shutdown(2) lead here, in the process that calls them: net/ipv4/tcp.c, tcp_close_state.
        tcp::FIN_WAIT1 | tcp::LAST_ACK => mptcp.is_null(),
        // A process that closes without having read resets the connection at once: __tcp_close sets both halves shut before the
        // state, tcp_reset, which is not the process's doing, after.
        tcp::CLOSE => {
            let was_open = old == tcp::ESTABLISHED || old == tcp::CLOSE_WAIT;
            was_open && mptcp.is_null() && SK_SHUTDOWN.read(sk)? == SHUTDOWN_MASK
        }
        _ => false,
    };
    if !is_owner {
        return Ok(());
    }
    let target = selected();
    if new == tcp::SYN_SENT {
        match target {
            Some(_) => begin(key, now, 1),
            None => {
                let _ = OWNERS.remove(&key);
            }
        }
    }
    match target {
        Some(target) => own(sk, target),
        None => Ok(()),
    }
}

/// Records the beginning of a connection whose process is known only later.
#[inline(always)]
fn begin(key: u64, since: u64, connected: u64) {
    // The address may have been another socket's, whose close was not seen.
    let _ = OWNERS.remove(&key);
    // An eviction map takes every entry; what it evicts has duration 0.
    let _ = BEGUN.insert(&key, &Begun { since, connected }, 0);
}

#[inline(always)]
fn closed(sk: *const u8, old: i32) -> Result<bool, Loss> {
    if SK_PROTOCOL.read(sk)? != IPPROTO_TCP {
        return Ok(false);
    }
    let key = sk as u64;
    let ended = match old {
        // An attempt that failed was no connection, and neither is a listener.
        tcp::SYN_SENT | tcp::SYN_RECV | tcp::LISTEN | tcp::CLOSE => Ok(false),
        _ => connection_ended(sk, mptcp_of(sk)?),
    };
    let _ = BEGUN.remove(&key);
    let _ = OWNERS.remove(&key);
    ended
}

#[inline(always)]
fn connection_ended(sk: *const u8, mptcp: *const u8) -> Result<bool, Loss> {
    let now = now();
    let key = sk as u64;
    let known = OWNERS.get_ptr(&key);
    let Some(owner) = known.or_else(|| NOBODY.get_ptr(0)) else {
        return Ok(false);
    };
    let (since, connected) = match known {
        // SAFETY: a value in a map; a socket changes its state under its own lock.
        Some(owner) => unsafe { ((*owner).since, (*owner).connected) },
        None if !is_open(sk, mptcp)? => return Ok(false),
        None => {
            let begun = begun(key);
            (begun.since, begun.connected)
        }
    };
    let duration_ns = match since {
        0 => 0,
        since => now - since,
    };
    let (sport, dport) = ports(sk)?;
    let other_port = PORT.load() != 0 && PORT.load() != dport && PORT.load() != sport;
    if other_port || duration_ns < MIN_DURATION_NS.load() {
        return Ok(false);
    }
    let (saddr, daddr) = addresses(sk)?;
    let (rx_bytes, tx_bytes) = data_bytes(sk, connected)?;
    let row = TcpLife {
        time: Time(now),
        duration_ns,
        // SAFETY: a value in a map.
        task: unsafe { (*owner).task },
        saddr,
        daddr,
        rx_bytes,
        tx_bytes,
        retransmits: TP_TOTAL_RETRANS.read(sk)?,
        sport,
        dport,
        connected: match since {
            0 => Bool::UNKNOWN,
            _ => Bool(connected as u8),
        },
        mptcp: Bool((!mptcp.is_null()).into()),
        _pad: [0; 2],
        mptcp_token: token(sk, mptcp)?,
    };
    match known {
        Some(_) => emit(row.task.cgroup, &row),
        None => wait(sk, mptcp, &row),
    }
}
