//! Memory allocated by each function of the C library's allocator, in given numbers and sizes.
#![allow(unsafe_code, reason = "the functions of the C library themselves")]

use std::{ffi::OsStr, hint::black_box, ptr::null_mut};

/// Allocates `bytes` bytes `count` times with the given function, and frees each allocation. The function of this program that calls it
/// has the same name with the prefix `by_`.
pub(crate) fn by(function: &OsStr, count: u64, bytes: u64) {
    let bytes = bytes as usize;
    let allocate: fn(usize) = match function.to_str().unwrap() {
        "malloc" => by_malloc,
        "calloc" => by_calloc,
        "realloc" => by_realloc,
        "reallocarray" => by_reallocarray,
        "aligned_alloc" => by_aligned_alloc,
        "posix_memalign" => by_posix_memalign,
        "posix_memalign_small" => by_posix_memalign_small,
        "nothing" => by_nothing,
        other => panic!("nothing is allocated by {other:?}"),
    };
    for _ in 0..count {
        allocate(black_box(bytes));
    }
}

fn free(new: *mut libc::c_void) {
    assert!(!new.is_null());
    // SAFETY: it was allocated, and has no other owner.
    unsafe { libc::free(black_box(new)) };
}

#[inline(never)]
fn by_malloc(bytes: usize) {
    // SAFETY: takes a number.
    free(unsafe { libc::malloc(bytes) });
}

#[inline(never)]
fn by_calloc(bytes: usize) {
    // SAFETY: takes numbers.
    free(unsafe { libc::calloc(bytes / 8, 8) });
}

/// Two allocations, the second of which makes the first one larger.
#[inline(never)]
fn by_realloc(bytes: usize) {
    // SAFETY: what it takes was allocated, or is nothing.
    let first = unsafe { libc::realloc(null_mut(), bytes) };
    // SAFETY: as above.
    free(unsafe { libc::realloc(black_box(first), bytes) });
}

#[inline(never)]
fn by_reallocarray(bytes: usize) {
    // SAFETY: as above.
    free(unsafe { libc::reallocarray(null_mut(), bytes / 8, 8) });
}

#[inline(never)]
fn by_aligned_alloc(bytes: usize) {
    // SAFETY: takes numbers.
    free(unsafe { libc::aligned_alloc(64, bytes) });
}

#[inline(never)]
fn by_posix_memalign(bytes: usize) {
    let mut new = null_mut();
    // SAFETY: writes an address where it may.
    let error = unsafe { libc::posix_memalign(&raw mut new, 4096, bytes) };
    assert_eq!(error, 0);
    free(new);
}

/// So small an alignment that the library calls its own malloc.
#[inline(never)]
fn by_posix_memalign_small(bytes: usize) {
    let mut new = null_mut();
    // SAFETY: as above.
    let error = unsafe { libc::posix_memalign(&raw mut new, 16, bytes) };
    assert_eq!(error, 0);
    free(new);
}

/// Allocations that fail.
#[inline(never)]
fn by_nothing(bytes: usize) {
    let too_much = usize::MAX - bytes;
    // SAFETY: takes a number.
    let none = unsafe { libc::malloc(too_much) };
    assert!(none.is_null());
    let mut new = null_mut();
    // SAFETY: writes an address where it may.
    let error = unsafe { libc::posix_memalign(&raw mut new, 4096, too_much) };
    assert_eq!(error, libc::ENOMEM);
}
