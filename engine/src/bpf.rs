//! The bpf() calls of this crate, but for those by which aya makes maps: maps whose types are known only at run time, programs and their
//! links, the runs of programs that the kernel skipped, and values that are mapped. With `launch` the only module with unsafe code.
#![allow(unsafe_code, reason = "bpf(2) takes a union of structs with pointers")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr::NonNull,
    sync::atomic::AtomicU32,
};
use zerocopy::{FromBytes, IntoBytes};

#[cfg(test)]
mod private_stack;
mod program;

pub(crate) use program::{
    Code, Debug, Instructions, LinkTo, Refused, Sort, create_iterator, link, load, load_types,
    open_tracepoint,
};

// Commands: include/uapi/linux/bpf.h.
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const MAP_GET_NEXT_KEY: libc::c_long = 4;
const PROG_TEST_RUN: libc::c_long = 10;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;

#[repr(C)]
#[derive(Default)]
struct MapAttr {
    fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}

/// The attributes of BPF_PROG_TEST_RUN.
#[repr(C)]
#[derive(Default)]
struct RunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
}

fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is a live struct that begins as the kernel's union does for this command, and its size is given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(done)
    }
}

/// Reads a value of a map. Returns false if the key does not exist.
/// `value` must have the map's value size, for a per-CPU map that rounded up to 8 times the possible CPUs: the kernel writes that much.
pub(crate) fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    let mut attr = MapAttr {
        fd: map.as_raw_fd() as u32,
        key: key.as_ptr() as u64,
        value: value.as_mut_ptr() as u64,
        ..MapAttr::default()
    };
    match bpf(MAP_LOOKUP_ELEM, &mut attr) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads the only entry of a per-CPU array: the values of all CPUs that may ever exist.
pub(crate) fn lookup_per_cpu<T: FromBytes + IntoBytes>(
    map: BorrowedFd<'_>,
    cpus: usize,
) -> io::Result<Vec<T>> {
    const {
        assert!(
            size_of::<T>().is_multiple_of(8),
            "the kernel rounds each value up to 8 bytes"
        )
    };
    let mut values: Vec<T> = (0..cpus).map(|_| T::new_zeroed()).collect();
    lookup(map, &[0; 4], values.as_mut_bytes())?;
    Ok(values)
}

/// Sets a value of a map.
pub(crate) fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attr = MapAttr {
        fd: map.as_raw_fd() as u32,
        key: key.as_ptr() as u64,
        value: value.as_ptr() as u64,
        ..MapAttr::default()
    };
    bpf(MAP_UPDATE_ELEM, &mut attr).map(|_| ())
}

/// Deletes a key of a map. Returns false if it does not exist.
pub(crate) fn delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    let mut attr = MapAttr {
        fd: map.as_raw_fd() as u32,
        key: key.as_ptr() as u64,
        ..MapAttr::default()
    };
    match bpf(MAP_DELETE_ELEM, &mut attr) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The mapped value of a map: an array of numbers that programs change too.
pub(crate) struct Shared {
    numbers: NonNull<AtomicU32>,
    count: usize,
}

// SAFETY: atomics in the memory of the kernel's map, which all threads may access.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Maps a value of `count` numbers, the size of the map's value.
    pub(crate) fn of(map: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping, where the kernel finds room; it refuses one that is longer than the value, rounded up to pages.
        let at = unsafe { mmap(std::ptr::null_mut(), count * 4, protection, flags, map, 0) }?;
        let numbers = NonNull::new(at.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { numbers, count })
    }

    /// Returns one of the numbers.
    pub(crate) fn get(&self, at: usize) -> Option<&AtomicU32> {
        // SAFETY: the mapping is page-aligned, has `count` numbers, and lives as long as this.
        (at < self.count).then(|| unsafe { self.numbers.add(at).as_ref() })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's alone, and no reference into it outlives it.
        let _ = unsafe { rustix::mm::munmap(self.numbers.as_ptr().cast(), self.count * 4) };
    }
}

/// Returns at most `most` keys of a map with keys of `KEY` bytes. Keys that are inserted or deleted at the same time may be missed.
pub(crate) fn keys<const KEY: usize>(
    map: BorrowedFd<'_>,
    most: usize,
) -> io::Result<Vec<[u8; KEY]>> {
    let mut keys = Vec::new();
    let mut key: Option<[u8; KEY]> = None;
    let mut next = [0; KEY];
    while keys.len() < most && next_key(map, key.as_ref().map(<[u8; KEY]>::as_slice), &mut next)? {
        keys.push(next);
        key = Some(next);
    }
    Ok(keys)
}

/// Writes the key after `after` to `next`, or the first key for `None`. Returns false at the end.
pub(crate) fn next_key(
    map: BorrowedFd<'_>,
    after: Option<&[u8]>,
    next: &mut [u8],
) -> io::Result<bool> {
    let mut attr = MapAttr {
        fd: map.as_raw_fd() as u32,
        key: after.map_or(0, |key| key.as_ptr() as u64),
        value: next.as_mut_ptr() as u64,
        ..MapAttr::default()
    };
    match bpf(MAP_GET_NEXT_KEY, &mut attr) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Loads a program to check whether the kernel accepts it.
pub(crate) fn try_load(instructions: &[u64], sort: Sort) -> Result<OwnedFd, Refused> {
    load(
        &Code {
            name: "",
            instructions: Instructions::Words(instructions),
            debug: None,
        },
        sort,
    )
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the caller has received a new descriptor from the kernel, which has no other owner.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// Returns the PID of this process in the machine's own PID namespace, which kernel programs see.
pub(crate) fn own_process() -> io::Result<u32> {
    // call 14, bpf_get_current_pid_tgid; r0 >>= 32; exit
    let instructions = [14 << 32 | 0x85, 32 << 32 | 0x77, 0x95];
    let program =
        try_load(&instructions, Sort::RAW_TRACEPOINT).map_err(|refused| refused.source)?;
    run(program.as_fd())
}

/// Runs a program of a raw tracepoint once, on this thread (bpf_prog_test_run_raw_tp, net/bpf/test_run.c, since 5.10). Returns the result of
/// the program.
pub(crate) fn run(program: BorrowedFd<'_>) -> io::Result<u32> {
    let mut attr = RunAttr {
        prog_fd: program.as_raw_fd() as u32,
        ..RunAttr::default()
    };
    bpf(PROG_TEST_RUN, &mut attr)?;
    Ok(attr.retval)
}

/// Reads the kernel's information about a program or a link, as bytes because its end differs between kernels.
fn object_info(object: BorrowedFd<'_>, info: &mut [u8]) -> io::Result<()> {
    let mut attr = InfoAttr {
        fd: object.as_raw_fd() as u32,
        len: info.len() as u32,
        info: info.as_mut_ptr() as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr).map(drop)
}

/// Returns the number of skipped runs of a program; 0 before 5.12, which does not count them.
pub(crate) fn missed_runs(program: BorrowedFd<'_>) -> io::Result<u64> {
    /// Offset of recursion_misses in `struct bpf_prog_info`.
    const RECURSION_MISSES: usize = 208;
    let mut info = [0; 256];
    object_info(program, &mut info)?;
    let missed = info[RECURSION_MISSES..].first_chunk();
    Ok(missed.map_or(0, |bytes| u64::from_ne_bytes(*bytes)))
}

/// Returns the number of runs that the kernel skipped at a link to kernel functions, before the program; 0 for other links.
pub(crate) fn missed_at_link(link: BorrowedFd<'_>) -> io::Result<u64> {
    /// `type` of `struct bpf_link_info`.
    const KPROBE_MULTI: u32 = 8;
    /// Offset of kprobe_multi.missed, since Linux 6.7.
    const MISSED: usize = 32;
    let mut info = [0; 64];
    object_info(link, &mut info)?;
    let (kind, missed) = (info.first_chunk(), info[MISSED..].first_chunk());
    let counts = kind.map(|bytes| u32::from_ne_bytes(*bytes)) == Some(KPROBE_MULTI);
    let missed = missed.filter(|_| counts);
    Ok(missed.map_or(0, |bytes| u64::from_ne_bytes(*bytes)))
}

/// Waits until every program that ran when this was called has returned: programs run inside RCU read sections,
/// and MEMBARRIER_CMD_GLOBAL is synchronize_rcu (kernel/sched/membarrier.c).
pub(crate) fn wait_for_running_programs() {
    // SAFETY: takes numbers only.
    let waited = unsafe { libc::syscall(libc::SYS_membarrier, 1, 0, 0) };
    if waited != 0 {
        // It is refused where the kernel has nohz_full; programs take microseconds.
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Creates a hash map, for tests of readers of maps.
#[cfg(test)]
pub(crate) fn new_hash(key_bytes: usize, value_bytes: usize, entries: u32) -> io::Result<OwnedFd> {
    /// Map type, sizes and entries, flags: the beginning of BPF_MAP_CREATE's attributes.
    const MAP_CREATE: libc::c_long = 0;
    let mut attr = [1, key_bytes as u32, value_bytes as u32, entries, 0];
    bpf(MAP_CREATE, &mut attr).map(owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::process::in_host_pid_namespace;

    #[test]
    fn the_kernel_knows_this_process_by_its_number_in_the_first_namespace() {
        match own_process() {
            Ok(number) if in_host_pid_namespace().is_ok() => {
                assert_eq!(number, std::process::id());
            }
            Ok(number) => assert_ne!(number, 0),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
                println!("SKIPPED: this needs CAP_BPF and CAP_PERFMON");
            }
        }
    }
}
