//! Sockets: their ends and their states. Fields that only TCP tracers read: they bring them in with `sock_fields!`.

/// Declares the fields of `struct sock` that tracers of TCP read, and `addresses` and `ports`, beside the programs that use them:
/// a kernel without one of them has the other tracers all the same.
#[macro_export]
macro_rules! sock_fields {
    () => {
        $crate::kernel_fields! {
            SK_PROTOCOL = sock.sk_protocol: u16;
            SK_ERR = sock.sk_err: i32;
            SKC_FAMILY = sock_common.skc_family: u16;
            SKC_DPORT = sock_common.skc_dport: u16;
            // Not skc_num, which a socket has lost by the time its close is told: net/ipv4/tcp.c, tcp_set_state.
            INET_SPORT = inet_sock.inet_sport: u16;
            SKC_DADDR = sock_common.skc_daddr: [u8; 4];
            SKC_SADDR = sock_common.skc_rcv_saddr: [u8; 4];
            SKC_DADDR6 = sock_common.skc_v6_daddr: [u8; 16];
            SKC_SADDR6 = sock_common.skc_v6_rcv_saddr: [u8; 16];
        }

        /// Local and remote address of a socket.
        #[inline(always)]
        fn addresses(sk: *const u8) -> Result<(tracers::Ip, tracers::Ip), i32> {
            // AF_INET, include/linux/socket.h.
            Ok(match SKC_FAMILY.read(sk)? {
                2 => (
                    $crate::mapped(SKC_SADDR.read(sk)?),
                    $crate::mapped(SKC_DADDR.read(sk)?),
                ),
                _ => (
                    tracers::Ip(SKC_SADDR6.read(sk)?),
                    tracers::Ip(SKC_DADDR6.read(sk)?),
                ),
            })
        }

        /// Local and remote port of a socket.
        #[inline(always)]
        fn ports(sk: *const u8) -> Result<(u16, u16), i32> {
            let sport = u16::from_be(INET_SPORT.read(sk)?);
            Ok((sport, u16::from_be(SKC_DPORT.read(sk)?)))
        }
    };
}

/// Declares the fields by which tracers select sockets, and `full_socket`, `socket_cgroup` and `socket_selected`: for points where the
/// current task may have nothing to do with the socket, as in interrupts.
#[macro_export]
macro_rules! socket_selection {
    () => {
        $crate::kernel_fields! {
            SKC_STATE = sock_common.skc_state: u8;
            SKC_LISTENER = sock_common.skc_listener: *const u8;
            // A plain pointer since 5.15, and in 5.10 of late; before, it has tags and this member is not there.
            SK_CGROUP = sock.sk_cgrp_data.cgroup: *const u8;
        }

        /// The whole socket behind a socket of any size: of a connection request its listener, of a connection that only waits for its
        /// end none (sk_fullsock, include/net/sock.h).
        #[inline(always)]
        fn full_socket(sk: *const u8) -> Result<*const u8, i32> {
            if sk.is_null() {
                return Ok(sk);
            }
            match i32::from(SKC_STATE.read(sk)?) {
                $crate::tcp::NEW_SYN_RECV => SKC_LISTENER.read(sk),
                $crate::tcp::TIME_WAIT => Ok(core::ptr::null()),
                _ => Ok(sk),
            }
        }

        /// The cgroup of version 2 in which a whole socket was made, or its listener; null without a socket.
        #[inline(always)]
        fn socket_cgroup(full: *const u8) -> Result<*const u8, i32> {
            match full.is_null() {
                true => Ok(full),
                false => SK_CGROUP.read(full),
            }
        }

        /// Whether a whole socket is traced by its cgroup, and as part of which target.
        #[inline(always)]
        fn socket_selected(full: *const u8) -> Result<Option<tracers::Target>, i32> {
            $crate::cgroup_of_object_selected(|| socket_cgroup(full))
        }
    };
}

/// An IPv4 address as rows have it.
#[inline(always)]
pub const fn mapped(a: [u8; 4]) -> tracers::Ip {
    tracers::Ip([
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a[0], a[1], a[2], a[3],
    ])
}

/// `IPPROTO_TCP`, include/uapi/linux/in.h. The field is 16 bits wide since MPTCP (262) came.
pub const IPPROTO_TCP: u16 = 6;
/// `IPPROTO_MPTCP`, include/uapi/linux/in.h.
pub const IPPROTO_MPTCP: u16 = 262;

/// States of a TCP socket: include/net/tcp_states.h.
pub mod tcp {
    #![allow(missing_docs, reason = "the kernel's own names")]
    pub const ESTABLISHED: i32 = 1;
    pub const SYN_SENT: i32 = 2;
    pub const SYN_RECV: i32 = 3;
    pub const FIN_WAIT1: i32 = 4;
    pub const FIN_WAIT2: i32 = 5;
    pub const TIME_WAIT: i32 = 6;
    pub const CLOSE: i32 = 7;
    pub const CLOSE_WAIT: i32 = 8;
    pub const LAST_ACK: i32 = 9;
    pub const LISTEN: i32 = 10;
    pub const NEW_SYN_RECV: i32 = 12;
}
