//! System calls without the additions of a library. All unsafe code of the workload is here.
#![allow(
    unsafe_code,
    reason = "system calls as no library makes them, 32-bit ones too"
)]

mod answer;
mod bpf;
mod fault;
mod memory;
mod socket;

pub(crate) use answer::*;
pub(crate) use bpf::*;
pub(crate) use fault::*;
pub(crate) use memory::*;
pub(crate) use socket::*;

use serde_json::{Value, json};
use std::ffi::{CStr, CString, OsStr, c_char, c_long};
use std::os::unix::ffi::OsStrExt;

/// Result of a system call: a number from 0, or an errno.
pub(crate) type Outcome = Result<u64, i32>;

/// An outcome as a row has it.
pub(crate) fn shown(outcome: Outcome) -> Value {
    match outcome {
        Ok(value) => json!(value),
        Err(errno) => json!(-i64::from(errno)),
    }
}

/// A path or an argument for the kernel.
pub(crate) fn c_string(text: &OsStr) -> CString {
    CString::new(text.as_bytes()).unwrap()
}

/// A system call by number.
///
/// # Safety
/// The arguments must be what that call wants; a pointer that the kernel refuses is fine.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn call(number: c_long, args: [usize; 5]) -> Outcome {
    let [a, b, c, d, e] = args;
    let result: isize;
    // Inlined, and without a function of the C library: both would keep no frame pointer, so that the step is missing in stacks.
    // SAFETY: the caller's promise; the kernel changes no other register.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    match result {
        -4095..0 => Err(-result as i32),
        value => Ok(value as u64),
    }
}

/// A system call by number.
///
/// # Safety
/// The arguments must be what that call wants; a pointer that the kernel refuses is fine.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn call(number: c_long, args: [usize; 5]) -> Outcome {
    let [a, b, c, d, e] = args;
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    match result {
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap()),
        value => Ok(value as u64),
    }
}

/// A system call through the 32-bit table, as a 32-bit program makes it.
///
/// # Safety
/// The arguments must be what that call wants; pointers lie below 4 GiB.
#[cfg(target_arch = "x86_64")]
unsafe fn call32(number: u32, args: [u32; 5]) -> Outcome {
    let [a, b, c, d, e] = args;
    let mut result = number;
    // SAFETY: the kernel changes no register but eax and, on some versions, r8 to r11; ebx, which LLVM keeps for itself, is put back.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "mov ebx, {a:e}",
            "int 0x80",
            "pop rbx",
            a = in(reg) a,
            inlateout("eax") result,
            in("ecx") b,
            in("edx") c,
            in("esi") d,
            in("edi") e,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    match result as i32 {
        errno @ -4095..0 => Err(-errno),
        value => Ok(value as u64),
    }
}

/// Copies bytes into memory below 4 GiB, for arguments of 32-bit calls; it is never freed.
fn low(bytes: &[u8]) -> u32 {
    // SAFETY: a new mapping, as long as what is copied into it; nothing else refers to it.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            bytes.len(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        );
        assert_ne!(at, libc::MAP_FAILED);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.cast(), bytes.len());
        u32::try_from(at as usize).unwrap()
    }
}

/// Boot time and wall clock, ns.
pub(crate) fn clocks() -> (u64, u64) {
    let read = |clock| {
        let time = rustix::time::clock_gettime(clock);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    (
        read(rustix::time::ClockId::Boottime),
        read(rustix::time::ClockId::Realtime),
    )
}

/// write(2) until all is written.
pub(crate) fn write_all(fd: i32, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the bytes are there.
        let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        bytes = &bytes[usize::try_from(written).unwrap()..];
    }
}

/// read(2) from any descriptor into one byte.
pub(crate) fn read_byte(fd: i32) -> Outcome {
    let mut byte = 0u8;
    // SAFETY: there is room for one byte.
    unsafe {
        call(
            libc::SYS_read,
            [fd as usize, &raw mut byte as usize, 1, 0, 0],
        )
    }
}

/// getppid(2).
pub(crate) fn getppid() -> Outcome {
    // SAFETY: it takes nothing.
    unsafe { call(libc::SYS_getppid, [0; 5]) }
}

/// getppid(2) through the 32-bit table; arch/x86/entry/syscalls/syscall_32.tbl.
pub(crate) fn getppid32() -> Outcome {
    // SAFETY: it takes nothing.
    unsafe { call32(64, [0; 5]) }
}

/// mount(2) of nothing.
pub(crate) fn mount_nothing() -> Outcome {
    // SAFETY: pointers that the kernel refuses.
    unsafe { call(libc::SYS_mount, [0; 5]) }
}

/// A call of a number that no call has.
pub(crate) fn no_such_call(number: u32) -> Outcome {
    // SAFETY: it does nothing.
    unsafe { call(c_long::from(number), [0; 5]) }
}

/// close(2) of a number.
pub(crate) fn close(fd: i32) -> Outcome {
    // SAFETY: the callers close their own descriptors, or numbers without a descriptor.
    unsafe { call(libc::SYS_close, [fd as usize, 0, 0, 0, 0]) }
}

/// futex(2) without a waiter to wake.
pub(crate) fn futex_wake(word: &u32) -> Outcome {
    let at = core::ptr::from_ref(word) as usize;
    // SAFETY: waking only compares the address.
    unsafe { call(libc::SYS_futex, [at, libc::FUTEX_WAKE as usize, 1, 0, 0]) }
}

/// Opens a file with the call of this name; `…32` uses the 32-bit table.
pub(crate) fn open(how: &str, path: &CStr, flags: u64, mode: u64) -> Outcome {
    open_at(
        how,
        path.as_ptr() as usize,
        || low(path.to_bytes_with_nul()),
        flags,
        mode,
    )
}

/// Opens a file with a path at an address that cannot be read.
pub(crate) fn open_nowhere(how: &str) -> Outcome {
    open_at(how, 16, || 16, 0, 0)
}

fn open_at(how: &str, path: usize, low_path: impl Fn() -> u32, flags: u64, mode: u64) -> Outcome {
    const CWD: usize = libc::AT_FDCWD as usize;
    let (long_flags, long_mode) = (flags as usize, mode as usize);
    let how2 = [flags, mode, 0];
    // SAFETY: each has the arguments of its manual page.
    unsafe {
        match how {
            "open" => call(libc::SYS_open, [path, long_flags, long_mode, 0, 0]),
            "creat" => call(libc::SYS_creat, [path, long_mode, 0, 0, 0]),
            "openat" => call(libc::SYS_openat, [CWD, path, long_flags, long_mode, 0]),
            "openat2" => call(
                libc::SYS_openat2,
                [CWD, path, how2.as_ptr() as usize, size_of_val(&how2), 0],
            ),
            // Numbers of arch/x86/entry/syscalls/syscall_32.tbl.
            "open32" => call32(5, [low_path(), flags as u32, mode as u32, 0, 0]),
            "creat32" => call32(8, [low_path(), mode as u32, 0, 0, 0]),
            "openat32" => call32(295, [CWD as u32, low_path(), flags as u32, mode as u32, 0]),
            "openat232" => {
                let how2 = low(&how2.map(u64::to_ne_bytes).concat());
                call32(437, [CWD as u32, low_path(), how2, 24, 0])
            }
            other => panic!("no call is called {other:?}"),
        }
    }
}

/// Executes a program with the call of this name; returns only if that fails.
pub(crate) fn exec(how: &str, path: &CStr, argv: &[CString]) -> i32 {
    let mut pointers: Vec<*const c_char> = argv.iter().map(|arg| arg.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let envp = [std::ptr::null::<c_char>()];
    let (path_at, argv_at, envp_at) = (
        path.as_ptr() as usize,
        pointers.as_ptr() as usize,
        envp.as_ptr() as usize,
    );
    let low_argv = || {
        let mut words: Vec<u8> = Vec::new();
        for arg in argv {
            words.extend(low(arg.as_bytes_with_nul()).to_ne_bytes());
        }
        words.extend([0; 4]);
        low(&words)
    };
    let low_path = || low(path.to_bytes_with_nul());
    const CWD: usize = libc::AT_FDCWD as usize;
    // SAFETY: lists that end with a null pointer, of strings that end with a zero byte.
    let outcome = unsafe {
        match how {
            "execve" => call(libc::SYS_execve, [path_at, argv_at, envp_at, 0, 0]),
            "execveat" => call(libc::SYS_execveat, [CWD, path_at, argv_at, envp_at, 0]),
            // Numbers of arch/x86/entry/syscalls/syscall_32.tbl.
            "execve32" => call32(11, [low_path(), low_argv(), 0, 0, 0]),
            "execveat32" => call32(358, [CWD as u32, low_path(), low_argv(), 0, 0]),
            other => panic!("no call is called {other:?}"),
        }
    };
    outcome.expect_err("a program that started does not come back")
}

/// fork(2): in the child `None`.
pub(crate) fn fork() -> Option<i32> {
    // SAFETY: the callers fork while they are the only thread, or their child only executes a program.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => None,
        pid => Some(pid),
    }
}

/// Waits for a child; its status as waitpid(2) gives it.
pub(crate) fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: there is room for the status.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    status
}

/// Ends this process now, without any of the library's exits.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: it always is.
    unsafe { libc::_exit(code) }
}

/// Ends this thread alone.
pub(crate) fn exit_thread() -> ! {
    // SAFETY: nothing of this thread is used by others.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("exit(2) does not return")
}

/// kill(2).
pub(crate) fn kill(pid: i32, signal: i32) {
    // SAFETY: the callers send to themselves or to their own children.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// prctl(2) with numbers.
pub(crate) fn prctl(option: i32, argument: u64) -> Outcome {
    // SAFETY: the callers' options take numbers only.
    unsafe {
        call(
            libc::SYS_prctl,
            [option as usize, argument as usize, 0, 0, 0],
        )
    }
}

/// Attaches to a thread without stopping it, until this process ends: 0 or an error number.
pub(crate) fn seize(tid: i32) -> i32 {
    const SEIZE: u32 = 0x4206; // include/uapi/linux/ptrace.h
    // SAFETY: numbers only.
    let done = unsafe { libc::ptrace(SEIZE, tid, 0_usize, 0_usize) };
    match done {
        0 => 0,
        _ => std::io::Error::last_os_error().raw_os_error().unwrap(),
    }
}

/// Names this thread.
pub(crate) fn set_comm(name: &OsStr) {
    let name = c_string(name);
    // SAFETY: a string that ends with a zero byte.
    let done = unsafe {
        call(
            libc::SYS_prctl,
            [libc::PR_SET_NAME as usize, name.as_ptr() as usize, 0, 0, 0],
        )
    };
    done.unwrap();
}

/// Changes the user and the group of this process, without supplementary groups.
pub(crate) fn set_ids(uid: u32, gid: u32) {
    // SAFETY: numbers only.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setresgid(gid, gid, gid), 0);
        assert_eq!(libc::setresuid(uid, uid, uid), 0);
    }
}

/// capset(2): these alone, permitted and effective.
pub(crate) fn set_capabilities(bits: u64) {
    // include/uapi/linux/capability.h: version 3, this thread; effective, permitted, inheritable, twice 32 bits.
    let header = [0x2008_0522u32, 0];
    let (low, high) = (bits as u32, (bits >> 32) as u32);
    let data = [low, low, 0, high, high, 0];
    // SAFETY: header and data as the kernel wants them.
    let done = unsafe {
        call(
            libc::SYS_capset,
            [header.as_ptr() as usize, data.as_ptr() as usize, 0, 0, 0],
        )
    };
    done.unwrap();
}

/// unshare(2).
pub(crate) fn unshare(flags: i32) {
    // SAFETY: it only changes this process.
    let done = unsafe { libc::unshare(flags) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// Makes all mounts of this namespace private.
pub(crate) fn make_mounts_private() {
    // SAFETY: strings that end with a zero byte, or none.
    let done = unsafe {
        libc::mount(
            c"none".as_ptr(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        )
    };
    assert_eq!(done, 0);
}

/// Mounts a directory at another path too.
pub(crate) fn bind_mount(from: &CStr, to: &CStr) {
    // SAFETY: strings that end with a zero byte, or none.
    let done = unsafe {
        libc::mount(
            from.as_ptr(),
            to.as_ptr(),
            std::ptr::null(),
            libc::MS_BIND,
            std::ptr::null(),
        )
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// nanosleep(2), to the end.
#[inline(always)]
pub(crate) fn nanosleep(request: &libc::timespec) {
    let at = core::ptr::from_ref(request) as usize;
    // SAFETY: the request is valid, and the remaining time is not requested.
    unsafe { call(libc::SYS_nanosleep, [at, 0, 0, 0, 0]) }.unwrap();
}

/// futex(2) on a word that does not change, with this timeout: FUTEX_WAIT_PRIVATE, include/uapi/linux/futex.h.
#[inline(always)]
pub(crate) fn futex_wait(timeout: &libc::timespec) {
    const WAIT_PRIVATE: usize = 128;
    let word = 0_u32;
    let (at, timeout) = (
        &raw const word as usize,
        core::ptr::from_ref(timeout) as usize,
    );
    // SAFETY: both pointers are valid for as long as the call takes.
    let result = unsafe { call(libc::SYS_futex, [at, WAIT_PRIVATE, 0, timeout, 0]) };
    assert_eq!(result, Err(libc::ETIMEDOUT));
}

/// Runs through a loop this many times, inlined, so that the caller is the innermost function.
#[inline(always)]
pub(crate) fn spin(times: u64) {
    let mut left = times;
    while left > 0 {
        // SAFETY: no instruction; it keeps the loop.
        unsafe { std::arch::asm!("", options(nomem, nostack)) };
        left -= 1;
    }
}

/// pause(2).
pub(crate) fn pause() {
    // SAFETY: it takes nothing.
    let _ = unsafe { call(libc::SYS_pause, [0; 5]) };
}
