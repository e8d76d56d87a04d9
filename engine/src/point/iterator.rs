//! `iter`: an iterator over objects of the kernel. Its program runs while the loader reads it: `Loaded::readings`.

use super::{Kind, LOOKS, Second, tried};
use crate::{
    Kernel,
    bpf::{self, LinkTo, Refused, Sort},
    btf::Btf,
    select::process::in_host_pid_namespace,
};
use aya_obj::generated::bpf_attach_type::BPF_TRACE_ITER;
use std::os::fd::{BorrowedFd, OwnedFd};

pub(super) struct Iterator<'a>(pub(super) &'a str);

impl Kind for Iterator<'_> {
    fn refuses(&self, kernel: &Kernel) -> Option<String> {
        let what = format!("the iterator {}", self.0);
        tried(&LOOKS, self.sort(&kernel.btf), &what).or_else(|| {
            // Those of tasks: init_seq_pidns, kernel/bpf/task_iter.c.
            let tasks = self.0.starts_with("task").then(in_host_pid_namespace);
            tasks?.err().map(|_| {
                format!("{what} lists only the tasks of the reader's own PID namespace; run it in the machine's (hostPID: true)")
            })
        })
    }

    fn arguments(&self, kernel: &Kernel) -> Option<Vec<String>> {
        kernel
            .btf
            .function_arguments(&format!("bpf_iter_{}", self.0))
    }

    fn sort(&self, btf: &Btf) -> Result<Sort, String> {
        // Each has a function of this name: DEFINE_BPF_ITER_FUNC, include/linux/bpf.h.
        let function = btf.function(&format!("bpf_iter_{}", self.0));
        let function = function.ok_or_else(|| format!("this kernel has no iterator {}", self.0))?;
        Ok(Sort::tracing(BPF_TRACE_ITER, function))
    }

    fn attach(&self, program: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Refused> {
        bpf::link(program, BPF_TRACE_ITER, &LinkTo::Iterator).map(|link| vec![link])
    }

    fn second(&self) -> Second {
        Second::None
    }

    fn preempted(&self) -> bool {
        true
    }
}
