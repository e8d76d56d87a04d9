//! `page_fault`: what it takes and what it emits. Kernel side: `agent-ebpf/src/bin/page_fault.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Page faults by process and stack: where memory is touched for the first time.
///
/// A fault from user mode has a user stack; one in the kernel on behalf of a process (copying to its memory) has both.
/// Reading a stack may fault itself: these faults are the trace's own and in no row.
/// Kernels for arm64 have no such tracepoints (up to 7), so this tracer is not available there.
#[event]
pub struct PageFault {
    /// The process, as the host numbers it.
    #[key]
    pub pid: Pid,
    /// Read, write or exec, and whether from user mode or on a page that was there.
    #[key]
    pub access: Access,
    /// The thread's name.
    #[key]
    pub comm: Text16,
    /// Where the program was.
    #[key]
    pub user_stack: UserStack,
    /// Where the kernel was; empty for a fault from user mode.
    #[key]
    pub kernel_stack: KernelStack,
    /// Whose faults these are.
    #[key]
    pub target: Target,
    #[key]
    pub _pad: u32,
    /// Faults.
    #[count]
    pub faults: u64,
}

/// Options of `page_fault`; each narrows what is traced.
#[params]
pub struct Params {
    /// Only faults of writes.
    pub write_only: bool,
    /// Only faults from user mode.
    pub user_only: bool,
}

impl Tracer for PageFault {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Memory;
    const POINTS: &'static [&'static [Point]] = &[&[raw_tp("page_fault_user"), raw_tp("page_fault_kernel")]];
    const NESTS: bool = true;
    const COST: &'static str = "about 1 µs per page fault of the target";
    const EXAMPLES: &'static [&'static str] =
        &["-o flamegraph=faults.svg -- ./myprogram", "--write-only --pid 4242 --duration 10s", "-o folded --container 3f2a"];
}
