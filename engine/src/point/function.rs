//! `fentry`, `fexit`, `fmod_ret`: a kernel function, by a trampoline for its type.

use super::{Kind, LOOKS, Second, tried};
use crate::{
    Kernel,
    bpf::{self, Refused, Sort},
    btf::Btf,
};
use aya_obj::generated::bpf_attach_type;
use std::os::fd::{BorrowedFd, OwnedFd};

pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    pub(super) attach: bpf_attach_type,
    pub(super) word: &'static str,
    /// Programs of a function run in the reverse order of attaching: bpf_trampoline_add_prog, kernel/bpf/trampoline.c.
    /// A program with a verdict has no second one: a skipped verdict cannot be recovered.
    pub(super) second: Second,
}

impl Kind for Function<'_> {
    fn refuses(&self, kernel: &Kernel) -> Option<String> {
        // Not every function can be hooked, so each is tried.
        let what = format!("{} {}", self.word, self.name);
        // A read of the first argument of a function that has none is refused, by every kernel.
        let trial = match self.arguments(kernel) {
            Some(none) if none.is_empty() => &LOOKS[1..],
            _ => &LOOKS,
        };
        tried(trial, self.sort(&kernel.btf), &what)
    }

    fn arguments(&self, kernel: &Kernel) -> Option<Vec<String>> {
        kernel.btf.function_arguments(self.name)
    }

    fn sort(&self, btf: &Btf) -> Result<Sort, String> {
        let function = btf.function(self.name);
        let function =
            function.ok_or_else(|| format!("this kernel has no function {} to hook", self.name))?;
        Ok(Sort::tracing(self.attach, function))
    }

    fn attach(&self, program: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Refused> {
        bpf::open_tracepoint(program, None).map(|link| vec![link])
    }

    fn second(&self) -> Second {
        self.second
    }

    fn preempted(&self) -> bool {
        // On kernels with preemption, which is unknown here.
        true
    }
}
