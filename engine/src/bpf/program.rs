//! Programs and their links: loaded from instructions that are ready, attached, and detached by closing the link.

use super::{bpf, owned};
use aya_obj::generated::{bpf_attach_type, bpf_insn, bpf_prog_type};
use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

// Commands: include/uapi/linux/bpf.h.
const PROG_LOAD: libc::c_long = 5;
const RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const BTF_LOAD: libc::c_long = 18;
const LINK_CREATE: libc::c_long = 28;
const ITER_CREATE: libc::c_long = 33;
/// Sizes of the buffer for the verifier's log that are tried one after the other. 5.10 takes no larger one.
const LOGS: [usize; 3] = [1 << 14, 1 << 20, (1 << 24) - 1];
/// How often a load that a signal has interrupted is tried.
const INTERRUPTED: usize = 5;

/// What kind of program the kernel is to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sort {
    pub(crate) program: bpf_prog_type,
    pub(crate) attach: Option<bpf_attach_type>,
    /// The function or prototype that it attaches to, by its type id in the kernel's BTF; 0 for none.
    pub(crate) target: u32,
}

impl Sort {
    /// The simplest tracing program.
    pub(crate) const RAW_TRACEPOINT: Self = Self {
        program: bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT,
        attach: None,
        target: 0,
    };

    /// A program whose target is a type of the kernel.
    pub(crate) const fn tracing(attach: bpf_attach_type, target: u32) -> Self {
        Self {
            program: bpf_prog_type::BPF_PROG_TYPE_TRACING,
            attach: Some(attach),
            target,
        }
    }
}

/// A program that is ready to load.
pub(crate) struct Code<'a> {
    /// Its name, of which the kernel keeps 15 bytes.
    pub(crate) name: &'a str,
    pub(crate) instructions: Instructions<'a>,
    pub(crate) debug: Option<Debug<'a>>,
}

/// Instructions, of 8 bytes each.
pub(crate) enum Instructions<'a> {
    Parsed(&'a [bpf_insn]),
    Words(&'a [u64]),
}

/// The types of a program's functions and its lines, by which the verifier and its log name them.
pub(crate) struct Debug<'a> {
    pub(crate) types: BorrowedFd<'a>,
    /// Records of this many bytes.
    pub(crate) functions: (Vec<u8>, usize),
    pub(crate) lines: (Vec<u8>, usize),
}

/// A call that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{call} failed")]
pub(crate) struct Refused {
    pub(crate) call: &'static str,
    pub(crate) source: io::Error,
    /// The verifier's log, where there is one.
    pub(crate) log: String,
}

impl Refused {
    pub(crate) fn new(call: &'static str, source: io::Error) -> Self {
        Self {
            call,
            source,
            log: String::new(),
        }
    }
}

/// The attributes of BPF_PROG_LOAD up to attach_prog_fd.
#[repr(C)]
#[derive(Default)]
struct ProgAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_prog_fd: u32,
    _pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct TracepointAttr {
    name: u64,
    prog_fd: u32,
    _pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct BtfAttr {
    btf: u64,
    log_buf: u64,
    btf_size: u32,
    log_size: u32,
    log_level: u32,
    _pad: u32,
}

/// The attributes of BPF_LINK_CREATE, up to the end of `uprobe_multi`.
#[repr(C)]
#[derive(Default)]
struct LinkAttr {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    ref_ctr_offsets: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    pid: u32,
    _pad: u32,
}

/// The attributes of BPF_LINK_CREATE, up to the end of `kprobe_multi`.
#[repr(C)]
#[derive(Default)]
struct FunctionsAttr {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    multi_flags: u32,
    count: u32,
    symbols: u64,
    addresses: u64,
    cookies: u64,
}

#[repr(C)]
#[derive(Default)]
struct IterAttr {
    link_fd: u32,
    flags: u32,
}

/// Loads a program. Where the kernel refuses it, it is asked again for the verifier's log.
pub(crate) fn load(code: &Code<'_>, sort: Sort) -> Result<OwnedFd, Refused> {
    let refused = match load_with(code, sort, &mut []) {
        Ok(program) => return Ok(program),
        Err(source) => source,
    };
    let mut log = Vec::new();
    let mut last = refused;
    for size in LOGS {
        log = vec![0; size];
        match load_with(code, sort, &mut log) {
            Ok(program) => return Ok(program),
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => last = error,
            Err(error) => {
                last = error;
                break;
            }
        }
    }
    let text = log.split(|&byte| byte == 0).next().unwrap_or_default();
    Err(Refused {
        call: "loading it",
        source: last,
        log: String::from_utf8_lossy(text).into_owned(),
    })
}

fn load_with(code: &Code<'_>, sort: Sort, log: &mut [u8]) -> io::Result<OwnedFd> {
    // The kernel gives most helpers only to programs under its own licence: agent-ebpf/src/lib.rs.
    let license = c"GPL";
    let (insns, insn_cnt) = match code.instructions {
        Instructions::Parsed(all) => (all.as_ptr() as u64, all.len()),
        Instructions::Words(all) => (all.as_ptr() as u64, all.len()),
    };
    let mut attr = ProgAttr {
        prog_type: sort.program as u32,
        insn_cnt: insn_cnt as u32,
        insns,
        license: license.as_ptr() as u64,
        expected_attach_type: sort.attach.map_or(0, |attach| attach as u32),
        attach_btf_id: sort.target,
        ..ProgAttr::default()
    };
    let name = code.name.as_bytes();
    let name = &name[..name.len().min(attr.prog_name.len() - 1)];
    attr.prog_name[..name.len()].copy_from_slice(name);
    if let Some(debug) = &code.debug {
        attr.prog_btf_fd = debug.types.as_raw_fd() as u32;
        let of = |(records, size): &(Vec<u8>, usize)| match size {
            0 => (0, 0, 0),
            _ => (
                records.as_ptr() as u64,
                (records.len() / size) as u32,
                *size as u32,
            ),
        };
        (attr.func_info, attr.func_info_cnt, attr.func_info_rec_size) = of(&debug.functions);
        (attr.line_info, attr.line_info_cnt, attr.line_info_rec_size) = of(&debug.lines);
    }
    if !log.is_empty() {
        attr.log_level = 1;
        attr.log_size = log.len() as u32;
        attr.log_buf = log.as_mut_ptr() as u64;
    }
    let mut tries = 1;
    loop {
        match bpf(PROG_LOAD, &mut attr) {
            // The verifier gives up where a signal is pending: kernel/bpf/verifier.c, do_check.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && tries < INTERRUPTED => {
                tries += 1;
            }
            done => return done.map(owned),
        }
    }
}

/// Loads the types of a program's functions.
pub(crate) fn load_types(btf: &[u8]) -> Result<OwnedFd, Refused> {
    let mut attr = BtfAttr {
        btf: btf.as_ptr() as u64,
        btf_size: btf.len() as u32,
        ..BtfAttr::default()
    };
    bpf(BTF_LOAD, &mut attr)
        .map(owned)
        .map_err(|source| Refused::new("loading its types", source))
}

/// Attaches a program to the tracepoint of this name, or to the target that it was loaded for.
pub(crate) fn open_tracepoint(
    program: BorrowedFd<'_>,
    name: Option<&CStr>,
) -> Result<OwnedFd, Refused> {
    let mut attr = TracepointAttr {
        name: name.map_or(0, |name| name.as_ptr() as u64),
        prog_fd: program.as_raw_fd() as u32,
        _pad: 0,
    };
    bpf(RAW_TRACEPOINT_OPEN, &mut attr)
        .map(owned)
        .map_err(|source| Refused::new("bpf_raw_tracepoint_open", source))
}

/// What a link leads to.
pub(crate) enum LinkTo<'a> {
    /// An iterator over everything.
    Iterator,
    /// A cgroup.
    Cgroup(BorrowedFd<'a>),
    /// Functions of the kernel, which looks their names up, with a number for each that its program reads.
    Functions {
        symbols: &'a [CString],
        /// One for each function.
        cookies: &'a [u64],
        /// At the return of the functions.
        returns: bool,
    },
    /// Places in a file, by their offsets, with a number for each that its program reads; for every process.
    File {
        path: &'a CStr,
        offsets: &'a [u64],
        /// None, or one for each offset.
        cookies: &'a [u64],
        /// At the return of functions that start there.
        returns: bool,
    },
}

/// Attaches a program. Closing the link detaches it.
pub(crate) fn link(
    program: BorrowedFd<'_>,
    attach: bpf_attach_type,
    to: &LinkTo<'_>,
) -> Result<OwnedFd, Refused> {
    /// BPF_F_UPROBE_MULTI_RETURN and BPF_F_KPROBE_MULTI_RETURN, include/uapi/linux/bpf.h.
    const RETURN: u32 = 1;
    let refused = |source| Refused::new("bpf_link_create", source);
    let unlike = || refused(io::Error::from(io::ErrorKind::InvalidInput));
    let mut attr = LinkAttr {
        prog_fd: program.as_raw_fd() as u32,
        attach_type: attach as u32,
        ..LinkAttr::default()
    };
    match to {
        LinkTo::Iterator => {}
        LinkTo::Cgroup(cgroup) => attr.target_fd = cgroup.as_raw_fd() as u32,
        LinkTo::Functions {
            symbols,
            cookies,
            returns,
        } => {
            if cookies.len() != symbols.len() {
                return Err(unlike());
            }
            let symbols: Vec<u64> = symbols.iter().map(|name| name.as_ptr() as u64).collect();
            let mut attr = FunctionsAttr {
                prog_fd: attr.prog_fd,
                attach_type: attr.attach_type,
                multi_flags: u32::from(*returns) * RETURN,
                count: symbols.len() as u32,
                symbols: symbols.as_ptr() as u64,
                cookies: cookies.as_ptr() as u64,
                ..FunctionsAttr::default()
            };
            return bpf(LINK_CREATE, &mut attr).map(owned).map_err(refused);
        }
        LinkTo::File {
            path,
            offsets,
            cookies,
            returns,
        } => {
            if !cookies.is_empty() && cookies.len() != offsets.len() {
                return Err(unlike());
            }
            attr.path = path.as_ptr() as u64;
            attr.offsets = offsets.as_ptr() as u64;
            attr.cookies = match cookies {
                [] => 0,
                _ => cookies.as_ptr() as u64,
            };
            attr.count = offsets.len() as u32;
            attr.multi_flags = u32::from(*returns) * RETURN;
        }
    }
    bpf(LINK_CREATE, &mut attr).map(owned).map_err(refused)
}

/// Starts one pass of an iterator: reading the descriptor runs its program for each object.
pub(crate) fn create_iterator(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = IterAttr {
        link_fd: link.as_raw_fd() as u32,
        flags: 0,
    };
    bpf(ITER_CREATE, &mut attr).map(owned)
}
