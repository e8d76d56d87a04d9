//! `oom_kill`: options and columns. Kernel side: `agent-ebpf/src/bin/oom_kill.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Processes killed by the OOM killer: the victim, its memory, and the task that triggered the kill.
///
/// A kill is shown if the victim or the triggering task belongs to a target.
#[event]
pub struct OomKill {
    /// Time at which the victim was chosen.
    #[wide]
    pub time: Time,
    /// PID of the victim, in the host's PID namespace.
    pub victim_pid: u32,
    /// User ID of the victim.
    #[wide]
    pub victim_uid: u32,
    /// Name of the victim.
    pub victim_comm: Text16,
    /// Anonymous memory of the victim in RAM.
    pub anon_rss_bytes: u64,
    /// File pages that the victim had mapped in RAM.
    pub file_rss_bytes: u64,
    /// Shared memory that the victim had mapped in RAM.
    #[wide]
    pub shmem_rss_bytes: u64,
    /// Swapped-out memory of the victim.
    #[wide]
    pub swap_bytes: u64,
    /// Size of the victim's address space.
    #[wide]
    pub total_vm_bytes: u64,
    /// Size of the victim's page tables.
    #[wide]
    pub page_table_bytes: u64,
    /// Cgroup of the victim in the memory controller: the inode number of the cgroup's directory.
    pub victim_memory_cgroup: u64,
    /// Value of the victim's oom_score_adj, -1000 to 1000.
    #[wide]
    pub victim_oom_score_adj: i32,
    pub _pad: u32,
    /// Task whose allocation failed and triggered the kill.
    pub task: Task,
}

/// Options of `oom_kill`.
#[params]
pub struct Params {}

impl Tracer for OomKill {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Memory;
    const POINTS: &'static [&'static [Point]] = &[
        // Before the victim gets its signal. The others come after it, and a victim that is gone by then is no longer known to be selected.
        &[fentry("__oom_kill_process")],
        // Since 6.10 the tracepoint has the victim itself; before, only its number.
        &[raw_tp("mark_victim").with(&[(0, "struct task_struct *")])],
        &[fentry("mark_oom_victim")],
    ];
    const COST: &'static str = "nothing until memory runs out";
    const EXAMPLES: &'static [&'static str] = &["--host", "--cgroup /sys/fs/cgroup/kubepods.slice -o json"];
}
