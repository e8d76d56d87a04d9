//! Kernel side of `tcp_connect`. Columns and options: `tracers/src/catalogue/tcp_connect.rs`.
#![no_std]
#![no_main]
use agent_ebpf::{
    IPPROTO_TCP, Loss, book, current_task, emit, mptcp_fields, now, selected, sock_fields, tcp,
};
use aya_ebpf::{Global, macros::map, maps::HashMap, programs::RawTracePointContext};
use tracers::{Bool, Outcome, Task, Time, program, tcp_connect::TcpConnect};

#[unsafe(no_mangle)]
static PORT: Global<u16> = Global::new(0);
#[unsafe(no_mangle)]
static FAILED_ONLY: Global<u8> = Global::new(0);

sock_fields!();
mptcp_fields!();

/// Sockets that wait for an answer: the start time and the task. The outcome arrives in softirq context, where the
/// current task is somebody else. Full means that the attempt is lost and counted; a socket always leaves SYN_SENT and SYN_RECV.
#[map]
static PENDING: HashMap<u64, (u64, Task)> = HashMap::with_max_entries(16384, 0);

/// Why an attempt failed whose socket has no error: its owner closed it. include/uapi/asm-generic/errno.h.
const ECANCELED: i64 = 125;

#[program(raw_tp = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: &RawTracePointContext) {
    let (old, new): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    // Where both ends connect at once, or one to itself, the other's SYN comes before an answer: RFC 9293, 3.5, figure 7.
    let is_simultaneous = old == tcp::SYN_SENT && new == tcp::SYN_RECV;
    let is_decided = old == tcp::SYN_SENT || old == tcp::SYN_RECV;
    if new == tcp::SYN_SENT || is_decided && !is_simultaneous {
        book(on_change(ctx.arg(0), new));
    }
}

#[inline(always)]
fn on_change(sk: *const u8, new: i32) -> Result<bool, Loss> {
    let key = sk as u64;
    let now = now();
    if new == tcp::SYN_SENT {
        if let Some(target) = selected()
            && SK_PROTOCOL.read(sk)? == IPPROTO_TCP
            // Nobody called connect(2) for a further subflow.
            && !is_joined(sk, mptcp_of(sk)?)?
        {
            PENDING
                .insert(&key, &(now, current_task(target)), 0)
                .map_err(|_| Loss::MapFull)?;
        }
        return Ok(false);
    }
    // SAFETY: copied at once.
    let Some((since, task)) = unsafe { PENDING.get(&key) }.copied() else {
        return Ok(false);
    };
    let _ = PENDING.remove(&key);
    let established = new == tcp::ESTABLISHED;
    let (sport, dport) = ports(sk)?;
    let other_port = PORT.load() != 0 && PORT.load() != dport;
    if other_port || (FAILED_ONLY.load() == 1 && established) {
        return Ok(false);
    }
    let result = match (established, i64::from(SK_ERR.read(sk)?)) {
        (true, _) => 0,
        (false, 0) => -ECANCELED,
        (false, error) => -error,
    };
    let (saddr, daddr) = addresses(sk)?;
    emit(
        task.cgroup,
        &TcpConnect {
            time: Time(now),
            latency_ns: now - since,
            task,
            saddr,
            daddr,
            result: Outcome(result),
            sport,
            dport,
            established: Bool(established.into()),
            mptcp: Bool((!mptcp_of(sk)?.is_null()).into()),
            _pad: [0; 2],
        },
    )
}
