//! Calls that the kernel never begins: seccomp, a supervisor or a tracer answers them.

use super::{Outcome, call, open_at, prctl};
use std::{
    ffi::CStr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// Makes seccomp answer further calls of this number with the action (`SECCOMP_RET_…`), in every table.
pub(crate) fn answer(number: u32, action: u32) {
    set_filter(number, action, 0);
}

/// Makes another thread answer further calls of this number; returns its descriptor.
pub(crate) fn listen_for(number: u32) -> OwnedFd {
    let flag = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as usize;
    let fd = set_filter(number, libc::SECCOMP_RET_USER_NOTIF, flag);
    // SAFETY: a new descriptor without another owner.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

fn set_filter(number: u32, action: u32, flags: usize) -> u64 {
    let filter = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // include/uapi/linux/filter.h, seccomp.h: load the number; if it is that one, answer; else allow.
    let filter = [
        filter(0x20, 0, 0, 0),
        filter(0x15, 0, 1, number),
        filter(0x06, 0, 0, action),
        filter(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1).unwrap();
    let mode = libc::SECCOMP_SET_MODE_FILTER as usize;
    let at = &raw const program as usize;
    // SAFETY: a valid program with this number of instructions.
    unsafe { call(libc::SYS_seccomp, [mode, flags, at, 0, 0]) }.unwrap()
}

/// Answers one call with an error.
pub(crate) fn supervise(listener: &OwnedFd, errno: i32) {
    // `_IOWR('!', 0, struct seccomp_notif)` and `_IOWR('!', 1, struct seccomp_notif_resp)`: include/uapi/linux/seccomp.h.
    const RECV: usize = 0xc050_2100;
    const SEND: usize = 0xc018_2101;
    // `struct seccomp_notif` begins with the id.
    let mut request = [0_u64; 10];
    let fd = listener.as_raw_fd() as usize;
    let request_at = request.as_mut_ptr() as usize;
    // SAFETY: there is room for the 80 bytes.
    unsafe { call(libc::SYS_ioctl, [fd, RECV, request_at, 0, 0]) }.unwrap();
    // id, value, then the error and the flags, of 32 bits each.
    let answer = [request[0], 0, u64::from((-errno).cast_unsigned())];
    // SAFETY: 24 bytes that are there.
    unsafe { call(libc::SYS_ioctl, [fd, SEND, answer.as_ptr() as usize, 0, 0]) }.unwrap();
}

/// Opens a file with a path in mapped memory of a file that was never read.
pub(crate) fn open_unread(how: &str, file: &std::fs::File) -> Outcome {
    // SAFETY: a new mapping, which stays to the end.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            1,
            libc::PROT_READ,
            libc::MAP_PRIVATE,
            file.as_raw_fd(),
            0,
        )
    };
    assert_ne!(at, libc::MAP_FAILED);
    open_at(how, at as usize, || 0, 0, 0)
}

/// Calls openat2(2) with flags at an address that cannot be read.
pub(crate) fn open_how_nowhere(path: &CStr) -> Outcome {
    const CWD: usize = libc::AT_FDCWD as usize;
    // SAFETY: a pointer that the kernel refuses.
    unsafe { call(libc::SYS_openat2, [CWD, path.as_ptr() as usize, 16, 24, 0]) }
}

/// Does something in a child. After its stop, this process, its tracer, answers its first calls with an error.
#[cfg(target_arch = "x86_64")]
pub(crate) fn emulate(times: u64, errno: i32, does: impl FnOnce()) -> i32 {
    use super::{exit_now, fork, kill};
    /// include/uapi/linux/ptrace.h.
    const PTRACE_SYSEMU: u32 = 31;
    let trace = |request: u32, pid: i32, data: usize| {
        // SAFETY: requests of a child that has stopped, with room for what they write.
        let done = unsafe { libc::ptrace(request, pid, 0_usize, data) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    };
    let Some(pid) = fork() else {
        trace(libc::PTRACE_TRACEME, 0, 0);
        kill(std::process::id() as i32, libc::SIGSTOP);
        does();
        exit_now(0)
    };
    let stopped_by = |signal: i32| {
        let status = super::wait(pid);
        assert!(libc::WIFSTOPPED(status), "{status:#x}");
        assert_eq!(libc::WSTOPSIG(status), signal);
    };
    stopped_by(libc::SIGSTOP);
    for _ in 0..times {
        trace(PTRACE_SYSEMU, pid, 0);
        stopped_by(libc::SIGTRAP);
        // SAFETY: numbers only.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        let at = &raw mut registers as usize;
        trace(libc::PTRACE_GETREGS, pid, at);
        registers.rax = i64::from(-errno).cast_unsigned();
        trace(libc::PTRACE_SETREGS, pid, at);
    }
    trace(libc::PTRACE_CONT, pid, 0);
    assert_eq!(super::wait(pid), 0);
    pid
}
