//! `page_fault`: options and columns. Kernel side: `agent-ebpf/src/bin/page_fault.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Page faults by process and stack, which show the code that touches memory for the first time.
///
/// A fault in user mode has a user stack. A fault in the kernel on behalf of a process (such as a copy to its memory) has both stacks.
/// Reading a stack may cause faults. The trace does not count these faults of its own.
/// This tracer is not available on arm64, whose kernels (up to 7.x) lack the tracepoints.
#[event]
pub struct PageFault {
    /// PID of the process, in the host's PID namespace.
    #[key]
    pub pid: Pid,
    /// Kind of access: read, write or exec, and whether it came from user mode or hit a present page.
    #[key]
    pub access: Access,
    /// Name of the thread.
    #[key]
    pub comm: Text16,
    /// User stack of the fault.
    #[key]
    pub user_stack: UserStack,
    /// Kernel stack of the fault; empty for a fault in user mode.
    #[key]
    pub kernel_stack: KernelStack,
    /// Target that caused the faults.
    #[key]
    pub target: Target,
    #[key]
    pub _pad: u32,
    /// Number of faults.
    #[count]
    pub faults: u64,
}

/// Options of `page_fault`. Each option restricts the traced events.
#[params]
pub struct Params {
    /// Count only write faults.
    pub write_only: bool,
    /// Count only faults in user mode.
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
