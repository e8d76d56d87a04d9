//! `raw_tp`: a tracepoint of the kernel or of a module, with the arguments of its prototype as plain numbers.

use super::{Kind, LOOKS, Second};
use crate::{
    Kernel,
    bpf::{self, Refused, Sort},
    btf::Btf,
};
use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

pub(super) struct RawTracepoint<'a>(pub(super) &'a str);

impl Kind for RawTracepoint<'_> {
    fn refuses(&self, kernel: &Kernel) -> Option<String> {
        let name = self.0;
        if kernel.btf.tracepoint(name).is_some() {
            return None;
        }
        // A tracepoint of a module is in the module's types, which not every kernel has: only an attempt shows whether it exists.
        let tried = bpf::try_load(&LOOKS, Sort::RAW_TRACEPOINT)
            .and_then(|program| self.attach(program.as_fd()))
            .err()?;
        Some(match tried.source.kind() {
            io::ErrorKind::NotFound => format!("this kernel has no tracepoint {name}"),
            _ => format!(
                "this kernel does not allow hooking the tracepoint {name} ({})",
                tried.source
            ),
        })
    }

    fn arguments(&self, kernel: &Kernel) -> Option<Vec<String>> {
        kernel.btf.tracepoint_arguments(self.0).or_else(|| {
            kernel
                .btf
                .in_modules(|btf| btf.tracepoint_arguments(self.0))
        })
    }

    fn sort(&self, _: &Btf) -> Result<Sort, String> {
        Ok(Sort::RAW_TRACEPOINT)
    }

    fn attach(&self, program: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Refused> {
        let name = CString::new(self.0)
            .map_err(|nul| Refused::new("bpf_raw_tracepoint_open", io::Error::other(nul)))?;
        bpf::open_tracepoint(program, Some(&name)).map(|link| vec![link])
    }

    fn second(&self) -> Second {
        // Programs of a tracepoint run in the order of attaching: func_add, kernel/tracepoint.c.
        Second::AttachedFirst
    }

    fn preempted(&self) -> bool {
        // Since 7.0, for which each has a second one: `Kernel::preempts_at_tracepoints`.
        false
    }
}
