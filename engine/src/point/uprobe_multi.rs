//! `uprobe.multi`, `uretprobe.multi`, `uprobe.session`: functions of user space, by their offsets in files.
//!
//! The files are those that targets have mapped, so they are found together with targets, and not when the program is loaded:
//! [`super::Kind::attach`] attaches nothing, and [`attach_to_file`] attaches for each file.

use super::{ALLOWS, Kind, Second, tried};
use crate::{
    Kernel,
    bpf::{self, LinkTo, Refused, Sort},
    btf::Btf,
};
use aya_obj::generated::{
    bpf_attach_type::{self, BPF_TRACE_UPROBE_MULTI, BPF_TRACE_UPROBE_SESSION},
    bpf_prog_type,
};
use std::{
    ffi::CStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};
use tracers::Side;

pub(super) struct UserFunction(pub(super) Side);

fn attach_type(side: Side) -> bpf_attach_type {
    match side {
        Side::Entry | Side::Return => BPF_TRACE_UPROBE_MULTI,
        Side::Session => BPF_TRACE_UPROBE_SESSION,
    }
}

/// Attaches a program at offsets in a file, for every process that maps it. `path` may be `/proc/self/fd/N`.
/// `cookies` is empty or has a number for each offset.
pub(crate) fn attach_to_file(
    program: BorrowedFd<'_>,
    side: Side,
    path: &CStr,
    offsets: &[u64],
    cookies: &[u64],
) -> Result<OwnedFd, Refused> {
    let to = LinkTo::File {
        path,
        offsets,
        cookies,
        returns: match side {
            Side::Entry | Side::Session => false,
            Side::Return => true,
        },
    };
    bpf::link(program, attach_type(side), &to)
}

impl Kind for UserFunction {
    fn refuses(&self, kernel: &Kernel) -> Option<String> {
        let (what, since) = match self.0 {
            Side::Entry | Side::Return => ("functions of user space", "6.6"),
            Side::Session => ("functions of user space by sessions", "6.13"),
        };
        if let Some(refused) = tried(&ALLOWS, self.sort(&kernel.btf), what) {
            return Some(format!("{refused}; that needs Linux {since}"));
        }
        // Older kernels load the program, and refuse the link. Others report that / is not a file.
        let program = bpf::try_load(&ALLOWS, self.sort(&kernel.btf).ok()?).ok()?;
        let linked = attach_to_file(program.as_fd(), self.0, c"/", &[0], &[]);
        match linked {
            Err(refused) if refused.source.raw_os_error() == Some(libc::EBADF) => None,
            Err(refused) => Some(format!(
                "this kernel does not allow hooking {what} ({}); this requires Linux {since}",
                refused.source
            )),
            Ok(_) => None,
        }
    }

    fn arguments(&self, _: &Kernel) -> Option<Vec<String>> {
        None
    }

    fn sort(&self, _: &Btf) -> Result<Sort, String> {
        Ok(Sort {
            program: bpf_prog_type::BPF_PROG_TYPE_KPROBE,
            attach: Some(attach_type(self.0)),
            target: 0,
        })
    }

    fn attach(&self, _: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Refused> {
        Ok(Vec::new())
    }

    fn second(&self) -> Second {
        // The kernel skips no run of it.
        Second::None
    }

    fn preempted(&self) -> bool {
        true
    }
}
