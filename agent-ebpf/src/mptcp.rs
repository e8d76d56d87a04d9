//! Multipath TCP (RFC 8684, net/mptcp). The socket of a process is an MPTCP socket. Its bytes go over TCP sockets of the kernel's
//! own, its subflows, which come and go while it lives.

/// Declares the fields by which a tracer of TCP recognizes subflows, and `mptcp_of` and `is_joined`, beside `sock_fields!`.
/// A kernel without MPTCP has none of the fields.
#[macro_export]
macro_rules! mptcp_fields {
    () => {
        $crate::kernel_fields! {
            optional TP_IS_MPTCP = tcp_sock.is_mptcp: u8;
            optional ICSK_ULP_DATA = inet_connection_sock.icsk_ulp_data: *const u8;
            optional SUBFLOW_CONN = mptcp_subflow_context.conn: *const u8;
            optional MSK_FIRST = mptcp_sock.first: *const u8;
        }

        /// The MPTCP socket whose subflow a TCP socket is; null for every other TCP socket.
        /// The subflow has a reference to it until its own end: subflow_ulp_release, net/mptcp/subflow.c.
        #[inline(always)]
        fn mptcp_of(sk: *const u8) -> Result<*const u8, i32> {
            if !TP_IS_MPTCP.exists() || TP_IS_MPTCP.read(sk)? == 0 {
                return Ok(core::ptr::null());
            }
            let context = ICSK_ULP_DATA.read(sk)?;
            if context.is_null() {
                return Ok(context);
            }
            SUBFLOW_CONN.read(context)
        }

        /// Whether a subflow is a further one of a connection that has its first already. The kernel's path manager makes it, in a
        /// worker or for a command of netlink: the current task has nothing to do with it.
        #[inline(always)]
        fn is_joined(sk: *const u8, mptcp: *const u8) -> Result<bool, i32> {
            Ok(!mptcp.is_null() && MSK_FIRST.read(mptcp)? != sk)
        }
    };
}
