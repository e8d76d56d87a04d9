//! Files opened in every way.

use crate::{is_over, number, process, raw, report};
use serde_json::json;
use std::{
    ffi::{CString, OsStr, OsString},
    path::Path,
    time::{Duration, Instant},
};

/// `CALL PATH FLAGS MODE`: opens a file `times` times, and closes it each time.
pub(crate) fn open(times: u64, args: &[OsString]) {
    let how = args[0].to_str().unwrap();
    let path = raw::c_string(&args[1]);
    let (flags, mode) = (number(&args[2]), number(&args[3]));
    for n in 0..times {
        let outcome = raw::open(how, &path, flags, mode);
        if let Ok(fd) = outcome {
            raw::close(fd as i32).unwrap();
        }
        if n == 0 {
            report::note(json!({ "result": raw::shown(outcome) }));
        }
    }
}

/// Creates and enters `levels` nested directories with names of `bytes` bytes, and opens a new file there by its name alone.
pub(crate) fn open_deep(levels: u64, bytes: u64) {
    let name = CString::new("d".repeat(bytes as usize)).unwrap();
    for _ in 0..levels {
        rustix::fs::mkdir(&name, 0o700.into()).unwrap();
        rustix::process::chdir(&name).unwrap();
    }
    let flags = (libc::O_CREAT | libc::O_RDWR) as u64;
    let fd = raw::open("openat", c"leaf", flags, 0o600).unwrap();
    raw::close(fd as i32).unwrap();
    rustix::fs::unlink(c"leaf").unwrap();
    for _ in 0..levels {
        rustix::process::chdir(c"..").unwrap();
        rustix::fs::rmdir(&name).unwrap();
    }
}

/// Opens a pipe for reading. The writer opens it when the reader has waited for `ms` milliseconds.
pub(crate) fn open_fifo(path: &OsStr, ms: u64) {
    let path = raw::c_string(path);
    let reader = rustix::thread::gettid().as_raw_nonzero();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let reader = format!("/proc/self/task/{reader}");
            process::until(|| {
                process::sleeps_in(Path::new(&reader), &libc::SYS_openat.to_string())
            });
            std::thread::sleep(Duration::from_millis(ms));
            raw::open("openat", &path, libc::O_WRONLY as u64, 0).unwrap();
        });
        raw::open("openat", &path, libc::O_RDONLY as u64, 0).unwrap();
    });
}

/// Opens a pipe for reading, and its other end when the gate is open.
pub(crate) fn open_fifo_before_gate(path: &OsStr) {
    let path = raw::c_string(path);
    let (send, reader) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            send.send(rustix::thread::gettid().as_raw_nonzero())
                .unwrap();
            raw::open("openat", &path, libc::O_RDONLY as u64, 0).unwrap();
        });
        let reader = format!("/proc/self/task/{}", reader.recv().unwrap());
        process::until(|| process::sleeps_in(Path::new(&reader), &libc::SYS_openat.to_string()));
        process::gate();
        raw::open("openat", &path, libc::O_WRONLY as u64, 0).unwrap();
    });
}

/// Opens with a path at an address that is not there.
pub(crate) fn open_bad_pointer() {
    assert_eq!(raw::open_nowhere("openat"), Err(libc::EFAULT));
}

/// openat2(2) with flags at an address that is not there.
pub(crate) fn open_bad_how(path: &OsStr) {
    let path = raw::c_string(path);
    assert_eq!(raw::open_how_nowhere(&path), Err(libc::EFAULT));
}

/// Opens a file with a path in mapped memory of a file that was never read.
pub(crate) fn open_unread(file: &OsStr) {
    let file = std::fs::File::open(file).unwrap();
    let outcome = raw::open_unread("open", &file);
    report::note(json!({ "result": raw::shown(outcome) }));
}

/// Opens one file `times` times for each byte on stdin, until stdin is closed.
pub(crate) fn open_per_byte(times: u64, path: &OsStr) {
    let path = raw::c_string(path);
    while raw::read_byte(0) == Ok(1) {
        for _ in 0..times {
            let fd = raw::open("openat", &path, 0, 0).unwrap();
            raw::close(fd as i32).unwrap();
        }
    }
}

/// Opens one file `per_second` times a second for `seconds` seconds, evenly in each millisecond.
pub(crate) fn open_paced(seconds: u64, per_second: u64, path: &OsStr) {
    let path = raw::c_string(path);
    let began = Instant::now();
    let mut opened = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        let due = began.elapsed().as_micros() as u64 * per_second / 1_000_000;
        while opened < due {
            let fd = raw::open("openat", &path, 0, 0).unwrap();
            raw::close(fd as i32).unwrap();
            opened += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    report::note(json!({ "rounds": opened }));
}

/// Opens a missing file `times` times in each of `threads` threads: the cheapest call of open.
pub(crate) fn open_missing(times: u64, threads: u64) {
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..times {
                    assert_eq!(raw::open("openat", c"", 0, 0), Err(libc::ENOENT));
                }
            });
        }
    });
}

/// Opens and closes one file as fast as `threads` threads can, until `lasts` is over.
pub(crate) fn storm(lasts: &OsStr, threads: u64, path: &OsStr) {
    let path = raw::c_string(path);
    let is_over = is_over(lasts);
    let rounds = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut own = 0;
                while !is_over() {
                    for _ in 0..100 {
                        let fd = raw::open("openat", &path, 0, 0).unwrap();
                        raw::close(fd as i32).unwrap();
                    }
                    own += 100;
                }
                rounds.fetch_add(own, std::sync::atomic::Ordering::Relaxed);
            });
        }
    });
    report::note(json!({ "rounds": rounds.into_inner() }));
}

/// `PATH TIMES`: writes to a new file and waits for the disk, this many times, and removes the file.
pub(crate) fn sync(path: &OsStr, times: u64) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).unwrap();
    for _ in 0..times {
        file.write_all(&[1; 4096]).unwrap();
        file.sync_all().unwrap();
    }
    std::fs::remove_file(path).unwrap();
}
