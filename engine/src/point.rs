//! Kinds of points, one file each: availability on this kernel, loading and attaching of the program.
//!
//! Only [`kind`] distinguishes kinds; all other code uses [`Kind`]. A program of any kind is detached by closing its links.

mod cgroup;
mod function;
mod iterator;
mod kprobe_multi;
mod raw_tp;
mod tp_btf;
mod uprobe_multi;

pub(crate) use uprobe_multi::attach_to_file;

use crate::{
    Kernel,
    bpf::{self, Refused, Sort},
    btf::{Btf, c_type},
    capability::lacks,
    clock,
};
use aya_obj::generated::bpf_attach_type;
use std::os::fd::{BorrowedFd, OwnedFd};
use tracers::{At, Point};

/// The program of a trial: `r0 = *(u64 *)(r1 + 0); r0 = 0; exit`. The read of the first argument matters: 5.10 refuses it for functions with
/// an argument type that its BTF only declares.
pub(crate) const LOOKS: [u64; 3] = [0x1079, 0xb7, 0x95];
/// The program of a trial that returns a verdict: `r0 = 1; exit`, which accepts everything.
const ALLOWS: [u64; 2] = [1 << 32 | 0xb7, 0x95];

/// Order of attaching the second program of a point, which must run before the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Second {
    /// Before the first one: programs run in the order of attaching.
    AttachedFirst,
    /// After the first one: the last program runs first.
    AttachedLast,
    /// No second program: the kernel skips no run of such a program, or a skipped run cannot be recovered.
    None,
}

/// A kind of point, with its target.
pub(crate) trait Kind {
    /// Returns why the point is not possible here, apart from the types of arguments; `None` if it is.
    fn refuses(&self, kernel: &Kernel) -> Option<String>;
    /// Returns the types of the target's arguments; `None` if this kernel does not have them.
    fn arguments(&self, kernel: &Kernel) -> Option<Vec<String>>;
    /// Returns how the kernel loads the program.
    ///
    /// # Errors
    /// The name of a missing type of this kernel.
    fn sort(&self, btf: &Btf) -> Result<Sort, String>;
    /// Attaches the program, until its links are closed.
    fn attach(&self, program: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Refused>;
    /// Returns the order of attaching the second program.
    fn second(&self) -> Second;
    /// Returns whether a program of the trace may run on a CPU before the program of this point has ended, by preemption or by an interrupt.
    fn preempted(&self) -> bool;
}

/// Returns the kind of a point.
pub(crate) fn kind(at: &At) -> Box<dyn Kind + '_> {
    use bpf_attach_type::{BPF_MODIFY_RETURN, BPF_TRACE_FENTRY, BPF_TRACE_FEXIT};
    let function = |name, attach, word, second| function::Function {
        name,
        attach,
        word,
        second,
    };
    match at {
        At::RawTracepoint(name) => Box::new(raw_tp::RawTracepoint(name)),
        At::TypedTracepoint(name) => Box::new(tp_btf::TypedTracepoint(name)),
        At::FunctionEntry(name) => Box::new(function(
            name,
            BPF_TRACE_FENTRY,
            at.word(),
            Second::AttachedLast,
        )),
        At::FunctionReturn(name) => Box::new(function(
            name,
            BPF_TRACE_FEXIT,
            at.word(),
            Second::AttachedLast,
        )),
        At::FunctionVerdict(name) => {
            Box::new(function(name, BPF_MODIFY_RETURN, at.word(), Second::None))
        }
        At::KernelFunctions { functions, side } => {
            Box::new(kprobe_multi::KernelFunctions(functions, *side))
        }
        At::Iterator(name) => Box::new(iterator::Iterator(name)),
        At::UserFunction { side, .. } => Box::new(uprobe_multi::UserFunction(*side)),
        At::CgroupPackets { cgroup, direction } => Box::new(cgroup::packets(cgroup, *direction)),
        At::CgroupAddress { cgroup, call } => Box::new(cgroup::address(cgroup, *call)),
    }
}

/// Returns why a point cannot be used here; `None` if it can.
pub(crate) fn refuses(point: &Point, kernel: &Kernel) -> Option<String> {
    let kind = kind(&point.at);
    if let Some(missing) = lacks(&point.at) {
        return Some(format!("{} needs {missing}", point.at));
    }
    if let Some(reason) = kind.refuses(kernel) {
        return Some(reason);
    }
    if point.high_resolution && !clock::has_high_resolution() {
        return Some("the kernel's timers have the resolution of its tick".to_owned());
    }
    if point.arguments.is_empty() {
        return None;
    }
    let Some(types) = kind.arguments(kernel) else {
        return Some(format!(
            "this kernel does not provide the types of the arguments of {}",
            point.at
        ));
    };
    differs(&types, point.arguments)
        .map(|differs| format!("{} differs in this kernel: {differs}", point.at))
}

/// Returns the difference between the types of arguments and the required ones.
fn differs(types: &[String], wanted: &[(u8, &str)]) -> Option<String> {
    wanted.iter().find_map(|&(position, wanted)| {
        let have = types.get(usize::from(position));
        if have.is_some_and(|have| *have == c_type(wanted)) {
            return None;
        }
        let have = have.map_or("missing", String::as_str);
        let position = position + 1;
        Some(format!(
            "argument {position} is {have}, and {wanted} is needed"
        ))
    })
}

/// Returns why the kernel does not load a program of this kind, by a trial.
fn tried(instructions: &[u64], sort: Result<Sort, String>, what: &str) -> Option<String> {
    match sort {
        Err(missing) => Some(missing),
        Ok(sort) => bpf::try_load(instructions, sort).err().map(|refused| {
            format!(
                "this kernel does not allow hooking {what} ({})",
                refused.source
            )
        }),
    }
}

#[cfg(test)]
mod tests;
