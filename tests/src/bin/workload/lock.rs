//! Waits for a lock of the kernel and for a page, whose number and least duration are known.

use crate::{process::until, raw};
use std::{fs, os::fd::AsRawFd, path::Path, sync::mpsc, thread, time::Duration};

/// This thread waits for a mutex of the kernel so many times, each time for `ms` at least.
///
/// One thread holds the mutex of a pipe: it writes to the pipe from a page that is missing, and a userfaultfd(2) keeps it waiting for the
/// page. A second thread provides the page, once this thread waits for the mutex.
pub(crate) fn contend(ms: u64, times: u64) {
    // This thread by the numbers of the mount of /proc, also in a pid namespace.
    let own = fs::read_link("/proc/thread-self").unwrap();
    let stat = Path::new("/proc").join(own).join("stat");
    let waits = || {
        let stat = fs::read_to_string(&stat).unwrap();
        let (_, state) = stat.rsplit_once(") ").unwrap();
        state.starts_with('D')
    };
    let (read, write) = rustix::pipe::pipe().unwrap();
    let page = raw::MissingPage::new();
    let (go, next) = mpsc::channel();
    let (held, is_held) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            for () in next {
                rustix::io::write(&write, page.first_byte()).unwrap();
            }
        });
        scope.spawn(|| {
            for () in is_held {
                until(waits);
                thread::sleep(Duration::from_millis(ms));
                page.provide();
            }
        });
        for _ in 0..times {
            page.remove();
            go.send(()).unwrap();
            page.wait_for_reader();
            held.send(()).unwrap();
            rustix::io::write(&write, b"x").unwrap();
            for _ in 0..2 {
                raw::read_byte(read.as_raw_fd()).unwrap();
            }
        }
        drop((go, held));
    });
}

/// This thread waits for a page of memory so many times, each time for `ms`.
pub(crate) fn wait_for_page(ms: u64, times: u64) {
    let page = raw::MissingPage::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..times {
                page.wait_for_reader();
                thread::sleep(Duration::from_millis(ms));
                page.provide();
            }
        });
        for _ in 0..times {
            page.remove();
            assert_eq!(std::hint::black_box(page.first_byte())[0], 0);
        }
    });
}
