//! `tp_btf`: a tracepoint of the kernel whose arguments have types for the verifier. Those of modules would need the module's own types.

use super::{Kind, LOOKS, Second, tried};
use crate::{
    Kernel,
    bpf::{self, Refused, Sort},
    btf::Btf,
};
use aya_obj::generated::bpf_attach_type::BPF_TRACE_RAW_TP;
use std::os::fd::{BorrowedFd, OwnedFd};

pub(super) struct TypedTracepoint<'a>(pub(super) &'a str);

impl Kind for TypedTracepoint<'_> {
    fn refuses(&self, kernel: &Kernel) -> Option<String> {
        let what = format!("the tracepoint {}", self.0);
        tried(&LOOKS, self.sort(&kernel.btf), &what)
    }

    fn arguments(&self, kernel: &Kernel) -> Option<Vec<String>> {
        kernel.btf.tracepoint_arguments(self.0)
    }

    fn sort(&self, btf: &Btf) -> Result<Sort, String> {
        let prototype = btf.tracepoint(self.0);
        let prototype = prototype
            .ok_or_else(|| format!("this kernel has no tracepoint {} of its own", self.0))?;
        Ok(Sort::tracing(BPF_TRACE_RAW_TP, prototype))
    }

    fn attach(&self, program: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Refused> {
        bpf::open_tracepoint(program, None).map(|link| vec![link])
    }

    fn second(&self) -> Second {
        // It is one of the tracepoint's programs as raw_tp is.
        Second::AttachedFirst
    }

    fn preempted(&self) -> bool {
        false
    }
}
