//! `kprobe.multi`, `kretprobe.multi`, `kprobe.session`: one program at many kernel functions, which the kernel finds by name. Permission to
//! read kernel addresses is not needed.
//!
//! The kernel skips a run while another program at a function, a probe or a perf event is running on that CPU, or bpf(2) is changing a map
//! there. Before Linux 6.14 it also skips runs at returns if there are more calls in progress than it has room for. It counts the former in
//! the program and the latter in the link (kernel/trace/bpf_trace.c, kernel/trace/fprobe.c): both are in the account. docs/points.md lists
//! the uncounted ones. In a session, before 6.14, a program may run at a return without its run at the entry.

use super::{ALLOWS, Kind, Second};
use crate::{
    Kernel,
    bpf::{self, LinkTo, Refused, Sort},
    btf::Btf,
};
use aya_obj::generated::{
    bpf_attach_type::{self, BPF_TRACE_KPROBE_MULTI, BPF_TRACE_KPROBE_SESSION},
    bpf_prog_type,
};
use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};
use tracers::{Names, Side};

/// No function can have this name.
const NO_FUNCTION: &str = "no function";

pub(super) struct KernelFunctions<'a>(pub(super) &'a Names, pub(super) Side);

impl KernelFunctions<'_> {
    fn attach_type(&self) -> bpf_attach_type {
        match self.1 {
            Side::Entry | Side::Return => BPF_TRACE_KPROBE_MULTI,
            Side::Session => BPF_TRACE_KPROBE_SESSION,
        }
    }

    /// Attaches a program to functions, each with its index as its number.
    fn link<'a>(
        &self,
        program: BorrowedFd<'_>,
        functions: impl Iterator<Item = &'a str>,
    ) -> Result<OwnedFd, Refused> {
        let symbols = functions.map(CString::new).collect::<Result<Vec<_>, _>>();
        let symbols = symbols.map_err(|error| Refused::new("bpf_link_create", error.into()))?;
        let cookies: Vec<u64> = (0..).take(symbols.len()).collect();
        let to = LinkTo::Functions {
            symbols: &symbols,
            cookies: &cookies,
            returns: match self.1 {
                Side::Entry | Side::Session => false,
                Side::Return => true,
            },
        };
        bpf::link(program, self.attach_type(), &to)
    }

    /// Returns why the functions cannot be hooked, by attaching a program without effect for a moment.
    fn refused(&self, program: BorrowedFd<'_>) -> Option<String> {
        let refused = self.link(program, self.0.iter()).err()?;
        let alone = |function| self.link(program, std::iter::once(function));
        let missing = (self.0.iter())
            .find(|function| alone(function).is_err_and(|refused| is_missing(&refused)));
        Some(match missing {
            Some(function) => format!("this kernel has no function {function} that can be probed"),
            None => format!(
                "this kernel does not allow hooking {} ({})",
                self.0, refused.source
            ),
        })
    }
}

/// The kernel's error for a name without a function, or with a function that cannot be hooked.
fn is_missing(refused: &Refused) -> bool {
    refused.source.raw_os_error() == Some(libc::ESRCH)
}

impl Kind for KernelFunctions<'_> {
    fn refuses(&self, kernel: &Kernel) -> Option<String> {
        let (what, since) = match self.1 {
            Side::Entry | Side::Return => ("lists of kernel functions", "6.7"),
            Side::Session => ("lists of kernel functions by sessions", "6.10"),
        };
        let lacking = |error: io::Error| {
            format!(
                "this kernel does not allow hooking {what} ({error}); this requires Linux {since}, built with CONFIG_FPROBE"
            )
        };
        let sort = match self.sort(&kernel.btf) {
            Ok(sort) => sort,
            Err(missing) => return Some(missing),
        };
        let program = match bpf::try_load(&ALLOWS, sort) {
            Ok(program) => program,
            Err(refused) => return Some(lacking(refused.source)),
        };
        // Kernels without it load the program, and refuse the link.
        match self.link(program.as_fd(), std::iter::once(NO_FUNCTION)) {
            Err(refused) if is_missing(&refused) => {}
            Err(refused) => return Some(lacking(refused.source)),
            Ok(_) => {}
        }
        // It was introduced together with the count of skipped runs.
        let counted = ["kprobe_multi", "missed"];
        if kernel.btf.offset("bpf_link_info", &counted).is_none() {
            return Some(format!(
                "this kernel does not count the runs that it skips at {what}; this requires Linux {since}"
            ));
        }
        self.refused(program.as_fd())
    }

    fn arguments(&self, kernel: &Kernel) -> Option<Vec<String>> {
        let mut functions = self
            .0
            .iter()
            .map(|name| kernel.btf.function_arguments(name));
        let first = functions.next()??;
        // Functions with different types have no common one.
        let same = functions.all(|other| other.as_ref() == Some(&first));
        same.then_some(first)
    }

    fn sort(&self, _: &Btf) -> Result<Sort, String> {
        Ok(Sort {
            program: bpf_prog_type::BPF_PROG_TYPE_KPROBE,
            attach: Some(self.attach_type()),
            target: 0,
        })
    }

    fn attach(&self, program: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Refused> {
        self.link(program, self.0.iter()).map(|link| vec![link])
    }

    fn second(&self) -> Second {
        // The kernel would skip it too: its check is per CPU and not per program.
        Second::None
    }

    fn preempted(&self) -> bool {
        // Interrupts run functions, and other kinds of programs.
        true
    }
}
