//! The tracers. Each is one file below; its kernel programs are in `agent-ebpf/src/bin`.

#[cfg(feature = "user")]
use crate::{Erased, Handle};

/// Registers tracers: one line per tracer is the only edit outside its own files.
macro_rules! catalogue {
    ($($module:ident :: $event:ident),* $(,)?) => {
        $(#[allow(missing_docs, reason = "a tracer's file is documented by its struct and its options")] pub mod $module;)*
        /// Every tracer, by name.
        #[cfg(feature = "user")]
        pub static ALL: &[&dyn Erased] = &[
            $(&Handle::<$module::$event>::new(stringify!($module))),*
        ];
    };
}

catalogue! {
    cpu_distribution::CpuDistribution,
    cpu_profile::CpuProfile,
    exec::Exec,
    interrupts::Interrupts,
    locks_kernel::LocksKernel,
    locks_user::LocksUser,
    malloc::Malloc,
    off_cpu::OffCpu,
    off_wake::OffWake,
    oom_kill::OomKill,
    open::Open,
    page_fault::PageFault,
    rss::Rss,
    run_queue::RunQueue,
    syscall_count::SyscallCount,
    tcp_connect::TcpConnect,
    tcp_drop::TcpDrop,
    tcp_life::TcpLife,
    tcp_retransmit::TcpRetransmit,
    throttle::Throttle,
    time_budget::TimeBudget,
}
