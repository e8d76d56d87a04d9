//! Memory touched for the first time, page by page, and more of it than there is.

use crate::{raw, report};
use serde_json::json;
use std::{ffi::OsStr, hint::black_box};

/// Bytes of a page of every machine that the tests run on.
const PAGE: usize = 4096;

/// Touches `count` fresh pages once each: `read` or `write`.
pub(crate) fn touch(count: u64, how: &OsStr) {
    let pages = raw::pages(count as usize);
    match how.to_str().unwrap() {
        "read" => read_pages(pages),
        "write" => write_pages(pages),
        other => panic!("pages cannot be touched by {other:?}"),
    }
}

#[inline(never)]
fn write_pages(pages: &mut [u8]) {
    for page in pages.as_chunks_mut::<PAGE>().0 {
        black_box(page)[0] = 1;
    }
}

#[inline(never)]
fn read_pages(pages: &[u8]) {
    for page in pages.as_chunks::<PAGE>().0 {
        black_box(black_box(page)[0]);
    }
}

/// Writes `count` fresh pages, in a call of this depth.
pub(crate) fn touch_deep(depth: u64, count: u64) {
    let pages = raw::pages(count as usize);
    touch_stack();
    raw::write_pages_deep(depth, pages.as_mut_ptr(), count);
}

/// Touches the pages of the stack that the next call is going to use: they are no fresh ones then.
#[inline(never)]
fn touch_stack() {
    black_box([1_u8; 8 * PAGE]);
}

/// Writes pages, and so does a child with the name `a child`, which shares them until then.
pub(crate) fn write_after_fork(count: u64) {
    let pages = raw::pages(count as usize);
    write_pages(pages);
    match raw::fork() {
        None => {
            raw::set_comm("a child".as_ref());
            write_pages(pages);
            raw::exit_now(0);
        }
        Some(pid) => assert_eq!(raw::wait(pid), 0),
    }
}

/// Makes the kernel write into fresh pages: each is a fault in the kernel.
pub(crate) fn read_into(count: u64) {
    let zero = std::fs::File::open("/dev/zero").unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&zero);
    let pages = raw::pages(count as usize);
    assert_eq!(raw::read_into(fd, pages), Ok(count * PAGE as u64));
}

/// Takes memory until it is killed for it.
pub(crate) fn eat() {
    report::end();
    loop {
        write_pages(raw::pages(256));
    }
}

/// Allocates and touches memory, and prints its size.
pub(crate) fn hold(bytes: u64) {
    write_pages(raw::pages(bytes as usize / PAGE));
    report::say(json!({ "holding": bytes }));
}

/// So many children, one after the other, eat until they are killed, and are noted; this process is not to be.
pub(crate) fn victims(count: u64) {
    for _ in 0..count {
        match raw::fork() {
            None => {
                // Rather this one than its parent: proc(5).
                std::fs::write("/proc/self/oom_score_adj", "1000").unwrap();
                loop {
                    write_pages(raw::pages(256));
                }
            }
            Some(pid) => {
                report::note(json!({ "victim": pid }));
                assert_eq!(raw::wait(pid), libc::SIGKILL);
            }
        }
    }
}
