//! Sockets: addresses, ports and states. Only TCP tracers read these fields, and declare them with `sock_fields!`.

/// Declares the fields of `struct sock` that tracers of TCP read, and `addresses` and `ports`, in the object that uses them: a kernel without
/// one of the fields still has the other tracers.
#[macro_export]
macro_rules! sock_fields {
    () => {
        $crate::kernel_fields! {
            SK_PROTOCOL = sock.sk_protocol: u16;
            SK_ERR = sock.sk_err: i32;
            SKC_FAMILY = sock_common.skc_family: u16;
            SKC_DPORT = sock_common.skc_dport: u16;
            // Not skc_num, which a socket has lost when its close is traced: net/ipv4/tcp.c, tcp_set_state.
            INET_SPORT = inet_sock.inet_sport: u16;
            SKC_DADDR = sock_common.skc_daddr: [u8; 4];
            SKC_SADDR = sock_common.skc_rcv_saddr: [u8; 4];
            SKC_DADDR6 = sock_common.skc_v6_daddr: [u8; 16];
            SKC_SADDR6 = sock_common.skc_v6_rcv_saddr: [u8; 16];
        }

        /// Returns the local and the remote address of a socket.
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

        /// Returns the local and the remote port of a socket.
        #[inline(always)]
        fn ports(sk: *const u8) -> Result<(u16, u16), i32> {
            let sport = u16::from_be(INET_SPORT.read(sk)?);
            Ok((sport, u16::from_be(SKC_DPORT.read(sk)?)))
        }
    };
}

/// Declares the fields by which tracers select sockets, and `full_socket`, `socket_cgroup` and `socket_selected`: for points where the
/// current task may be unrelated to the socket, such as in interrupts.
#[macro_export]
macro_rules! socket_selection {
    () => {
        $crate::kernel_fields! {
            SKC_STATE = sock_common.skc_state: u8;
            SKC_LISTENER = sock_common.skc_listener: *const u8;
            // A plain pointer since 5.15 and in later 5.10; before, it is tagged and this member does not exist.
            SK_CGROUP = sock.sk_cgrp_data.cgroup: *const u8;
        }

        /// Returns the full socket for a socket of any size: the listener for a connection request, none for a connection in TIME_WAIT
        /// (sk_fullsock, include/net/sock.h).
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

        /// Returns the cgroup of version 2 in which a full socket or its listener was created; null without a socket.
        #[inline(always)]
        fn socket_cgroup(full: *const u8) -> Result<*const u8, i32> {
            match full.is_null() {
                true => Ok(full),
                false => SK_CGROUP.read(full),
            }
        }

        /// Returns the target that selects a full socket by its cgroup.
        #[inline(always)]
        fn socket_selected(full: *const u8) -> Result<Option<tracers::Target>, i32> {
            $crate::cgroup_of_object_selected(|| socket_cgroup(full))
        }
    };
}

/// Returns an IPv4 address in the form of rows.
#[inline(always)]
pub const fn mapped(a: [u8; 4]) -> tracers::Ip {
    tracers::Ip([
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a[0], a[1], a[2], a[3],
    ])
}

/// `IPPROTO_TCP`, include/uapi/linux/in.h. The field has 16 bits since MPTCP (262).
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
