//! A page that is missing until another thread provides it: userfaultfd(2).

use super::pages;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const PAGE: usize = 4096;

// From include/uapi/linux/userfaultfd.h.
const UFFD_API: u64 = 0xaa;
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFDIO_ZEROPAGE: libc::c_ulong = 0xc020_aa04;
const REGISTER_MODE_MISSING: u64 = 1;

/// The page. A thread that reads it waits, in the kernel too.
pub(crate) struct MissingPage {
    at: *mut u8,
    faults: OwnedFd,
}

// SAFETY: the memory is only read, and the kernel orders the calls.
unsafe impl Sync for MissingPage {}

impl MissingPage {
    /// Maps it.
    pub(crate) fn new() -> Self {
        let at = pages(1).as_mut_ptr();
        // SAFETY: the kernel returns a new descriptor, and the arguments are the structures of these requests.
        unsafe {
            let fd = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC);
            assert!(fd >= 0, "{}", std::io::Error::last_os_error());
            let faults = OwnedFd::from_raw_fd(fd as i32);
            let page = Self { at, faults };
            page.request(UFFDIO_API, &mut [UFFD_API, 0, 0]);
            page.request(
                UFFDIO_REGISTER,
                &mut [at as u64, PAGE as u64, REGISTER_MODE_MISSING, 0],
            );
            page
        }
    }

    /// # Safety
    /// The request must want a structure of these fields.
    unsafe fn request<const N: usize>(&self, request: libc::c_ulong, fields: &mut [u64; N]) {
        // SAFETY: the caller's promise.
        let result = unsafe { libc::ioctl(self.faults.as_raw_fd(), request, fields.as_mut_ptr()) };
        assert_eq!(
            result,
            0,
            "{request:#x}: {}",
            std::io::Error::last_os_error()
        );
    }

    /// Its first byte, for a system call that reads it.
    pub(crate) fn first_byte(&self) -> &[u8] {
        // SAFETY: mapped to the end.
        unsafe { std::slice::from_raw_parts(self.at, 1) }
    }

    /// Makes it missing.
    pub(crate) fn remove(&self) {
        // SAFETY: its content is zeroes before and after.
        let result = unsafe { libc::madvise(self.at.cast(), PAGE, libc::MADV_DONTNEED) };
        assert_eq!(result, 0);
    }

    /// Waits until a thread waits for it.
    pub(crate) fn wait_for_reader(&self) {
        let mut message = [0; 32];
        let read = rustix::io::read(&self.faults, &mut message).unwrap();
        assert_eq!(read, message.len());
    }

    /// Provides it: a page of zeroes.
    pub(crate) fn provide(&self) {
        // SAFETY: the structure of this request; the page is in the registered range.
        unsafe { self.request(UFFDIO_ZEROPAGE, &mut [self.at as u64, PAGE as u64, 0, 0]) };
    }
}
