//! System calls in given numbers.

use crate::{is_over, raw, report};
use serde_json::json;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    sync::atomic::{AtomicU64, Ordering},
};

/// Calls getppid(2) `times` times.
pub(crate) fn getppid(times: u64) {
    for _ in 0..times {
        raw::getppid().unwrap();
    }
}

/// Calls getppid(2) through the 32-bit table `times` times.
pub(crate) fn getppid32(times: u64) {
    for _ in 0..times {
        raw::getppid32().unwrap();
    }
}

/// Calls close(2) of a number that is not open, `times` times: EBADF.
pub(crate) fn close_bad(times: u64) {
    for _ in 0..times {
        assert_eq!(raw::close(-1), Err(libc::EBADF));
    }
}

/// Calls mount(2) `times` times, which fails with this error.
pub(crate) fn mount_fails(times: u64, errno: u64) {
    for _ in 0..times {
        assert_eq!(raw::mount_nothing(), Err(errno as i32));
    }
}

/// Makes a system call with an unused number, `times` times: ENOSYS.
pub(crate) fn no_such_call(number: u64, times: u64) {
    for _ in 0..times {
        assert_eq!(raw::no_such_call(number as u32), Err(libc::ENOSYS));
    }
}

/// openat(2) with nine different errors: the n-th of them n times.
pub(crate) fn open_errors() {
    let long = "x".repeat(300);
    let whole = "/x".repeat(2500);
    let wanted = [
        ("/no/such/file", 0, libc::ENOENT),
        ("/dev/null/x", 0, libc::ENOTDIR),
        ("/", libc::O_WRONLY, libc::EISDIR),
        ("/dev/null", libc::O_CREAT | libc::O_EXCL, libc::EEXIST),
        (whole.as_str(), 0, libc::ENAMETOOLONG),
        (long.as_str(), 0, libc::ENAMETOOLONG),
        ("/proc/self/exe", libc::O_NOFOLLOW, libc::ELOOP),
        ("/proc/self/exe", libc::O_WRONLY, libc::ETXTBSY),
        ("/proc/version", libc::O_TMPFILE, libc::EINVAL),
        ("/proc", libc::O_TMPFILE | libc::O_RDWR, libc::EOPNOTSUPP),
    ];
    let mut counts = BTreeMap::new();
    for (n, (path, flags, errno)) in wanted.iter().enumerate() {
        let path = std::ffi::CString::new(*path).unwrap();
        for _ in 0..=n {
            let outcome = raw::open("openat", &path, *flags as u64, 0);
            assert_eq!(outcome, Err(*errno), "{path:?}");
            *counts.entry(errno.to_string()).or_insert(0) += 1;
        }
    }
    report::note(json!({ "errors": counts }));
}

/// Sleeps for `ms` milliseconds, `times` times.
pub(crate) fn nanosleep(ms: u64, times: u64) {
    let request = libc::timespec {
        tv_sec: (ms / 1000) as i64,
        tv_nsec: (ms % 1000 * 1_000_000) as i64,
    };
    for _ in 0..times {
        raw::nanosleep(&request);
    }
}

/// So many waits in futex(2), each until its timeout.
#[inline(never)]
pub(crate) fn futex_waits(ms: u64, times: u64) {
    let timeout = libc::timespec {
        tv_sec: (ms / 1000) as i64,
        tv_nsec: (ms % 1000 * 1_000_000) as i64,
    };
    for _ in 0..times {
        raw::futex_wait(&timeout);
    }
}

/// So many polls of a pipe into which nobody writes, each for `ms`.
pub(crate) fn poll_nothing(ms: u64, times: u64) {
    let (read, _write) = rustix::pipe::pipe().unwrap();
    let timeout = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: (ms * 1_000_000) as i64,
    };
    for _ in 0..times {
        let mut polled = [rustix::event::PollFd::new(
            &read,
            rustix::event::PollFlags::IN,
        )];
        assert_eq!(rustix::event::poll(&mut polled, Some(&timeout)), Ok(0));
    }
}

/// A byte to another thread and back by pipes, this many times: each thread waits for the other one.
pub(crate) fn ping_pong(times: u64) {
    let (there, back) = (rustix::pipe::pipe().unwrap(), rustix::pipe::pipe().unwrap());
    let read = |pipe: &std::os::fd::OwnedFd| {
        raw::read_byte(std::os::fd::AsRawFd::as_raw_fd(pipe)).unwrap();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..times {
                read(&there.0);
                rustix::io::write(&back.1, b"x").unwrap();
            }
        });
        for _ in 0..times {
            rustix::io::write(&there.1, b"x").unwrap();
            read(&back.0);
        }
    });
}

/// Reads from a pipe without a writer.
pub(crate) fn read_forever() {
    let (read, _write) = rustix::pipe::pipe().unwrap();
    let _ = raw::read_byte(std::os::fd::AsRawFd::as_raw_fd(&read));
    panic!("it returned");
}

/// pause(2).
pub(crate) fn pause_forever() {
    loop {
        raw::pause();
    }
}

/// Calls getppid, read and futex in turn as fast as `threads` threads can, until `lasts` is over.
pub(crate) fn storm(lasts: &OsStr, threads: u64) {
    let is_over = is_over(lasts);
    let rounds = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let zero = std::fs::File::open("/dev/zero").unwrap();
                let zero = std::os::fd::AsRawFd::as_raw_fd(&zero);
                let word = 0;
                let mut own = 0;
                while !is_over() {
                    for _ in 0..1000 {
                        raw::getppid().unwrap();
                        raw::read_byte(zero).unwrap();
                        raw::futex_wake(&word).unwrap();
                    }
                    own += 1000;
                }
                rounds.fetch_add(own, Ordering::Relaxed);
            });
        }
    });
    report::note(json!({ "rounds": rounds.into_inner() }));
}
