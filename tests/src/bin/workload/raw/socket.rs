//! Options and states of sockets.

use std::os::fd::AsRawFd;

/// Sets TCP_SYNCNT: tcp(7).
pub(crate) fn set_syn_retries(socket: &std::os::fd::OwnedFd, times: i32) {
    // SAFETY: the option is an int.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SYNCNT,
            (&raw const times).cast(),
            size_of_val(&times) as u32,
        )
    };
    assert_eq!(done, 0);
}

/// Returns the number of retransmitted segments of a connection: tcp(7), TCP_INFO.
pub(crate) fn retransmits(socket: &std::os::fd::OwnedFd) -> u32 {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as u32;
    // SAFETY: the kernel writes at most `length` bytes.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert_eq!(done, 0);
    // SAFETY: all fields are numbers, for which zeros are valid.
    unsafe { info.assume_init() }.tcpi_total_retrans
}

/// Returns the number of further subflows of an MPTCP connection: the first byte of `struct mptcp_info`, include/uapi/linux/mptcp.h.
pub(crate) fn mptcp_subflows(stream: &std::net::TcpStream) -> u64 {
    /// include/linux/socket.h; MPTCP_INFO is 1.
    const SOL_MPTCP: i32 = 284;
    let (mut info, mut length) = ([0_u8; 128], 128_u32);
    // SAFETY: the kernel writes at most `length` bytes into the buffer.
    let done = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            SOL_MPTCP,
            1,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert_eq!(done, 0);
    info[0].into()
}

/// Returns the number of bytes that the other end has not acknowledged: tcp(7), SIOCOUTQ, the same number as TIOCOUTQ.
pub(crate) fn unacknowledged(stream: &std::net::TcpStream) -> i32 {
    let mut bytes = 0i32;
    // SAFETY: the request writes an int.
    let done = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    assert_eq!(done, 0);
    bytes
}

/// Closes a connection with a reset: socket(7), SO_LINGER with a time of 0.
pub(crate) fn close_with_reset(stream: std::net::TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the option is a struct linger.
    let done = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of_val(&linger) as u32,
        )
    };
    assert_eq!(done, 0);
}
