//! Calls that the kernel never begins: seccomp, a supervisor or a tracer answers them.

use super::{Outcome, call, open_at, prctl};
use std::{
    ffi::CStr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// From here on seccomp gives this answer (`SECCOMP_RET_…`) to calls of the number, whichever their table.
pub(crate) fn answer(number: u32, action: u32) {
    set_filter(number, action, 0);
}

/// From here on another thread answers calls of the number; by this descriptor.
pub(crate) fn ask_supervisor(number: u32) -> OwnedFd {
    let flag = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as usize;
    let fd = set_filter(number, libc::SECCOMP_RET_USER_NOTIF, flag);
    // SAFETY: a new descriptor that nobody else has.
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
    // SAFETY: a program that is there, with as many instructions as it says.
    unsafe { call(libc::SYS_seccomp, [mode, flags, at, 0, 0]) }.unwrap()
}

/// Answers one call with an error.
pub(crate) fn supervise(listener: &OwnedFd, errno: i32) {
    // `_IOWR('!', 0, struct seccomp_notif)` and `_IOWR('!', 1, struct seccomp_notif_resp)`: include/uapi/linux/seccomp.h.
    const RECV: usize = 0xc050_2100;
    const SEND: usize = 0xc018_2101;
    // `struct seccomp_notif` begins with the id.
    let mut asked = [0_u64; 10];
    let fd = listener.as_raw_fd() as usize;
    let asked_at = asked.as_mut_ptr() as usize;
    // SAFETY: there is room for the 80 bytes.
    unsafe { call(libc::SYS_ioctl, [fd, RECV, asked_at, 0, 0]) }.unwrap();
    // id, value, then the error and the flags, of 32 bits each.
    let answer = [asked[0], 0, u64::from((-errno).cast_unsigned())];
    // SAFETY: 24 bytes that are there.
    unsafe { call(libc::SYS_ioctl, [fd, SEND, answer.as_ptr() as usize, 0, 0]) }.unwrap();
}

/// Opens with a path in memory that is a file's, and that nobody has touched.
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

/// openat2(2) whose flags lie where nothing can be read.
pub(crate) fn open_how_nowhere(path: &CStr) -> Outcome {
    const CWD: usize = libc::AT_FDCWD as usize;
    // SAFETY: a pointer that the kernel refuses.
    unsafe { call(libc::SYS_openat2, [CWD, path.as_ptr() as usize, 16, 24, 0]) }
}

/// A child does something whose first so many calls after it has stopped are answered with an error by this process, its tracer.
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
