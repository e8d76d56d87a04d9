//! `oom_kill`: what it takes and what it emits. Kernel side: `agent-ebpf/src/bin/oom_kill.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Processes killed for memory: the victim, what it held, and whose allocation it was killed for.
///
/// A row is selected by its victim or by the task that triggered it.
#[event]
pub struct OomKill {
    /// When the victim was chosen.
    #[wide]
    pub time: Time,
    /// The victim, as the host numbers it.
    pub victim_pid: u32,
    /// The victim's user id.
    #[wide]
    pub victim_uid: u32,
    /// The victim's name.
    pub victim_comm: Text16,
    /// Memory of its own that the victim had in RAM.
    pub anon_rss_bytes: u64,
    /// File memory that the victim had mapped in RAM.
    pub file_rss_bytes: u64,
    /// Shared memory that the victim had mapped in RAM.
    #[wide]
    pub shmem_rss_bytes: u64,
    /// Memory of the victim that was swapped out.
    #[wide]
    pub swap_bytes: u64,
    /// Address space of the victim.
    #[wide]
    pub total_vm_bytes: u64,
    /// Page tables of the victim.
    #[wide]
    pub page_table_bytes: u64,
    /// The victim's cgroup of the memory controller: the inode number of its directory.
    pub victim_memory_cgroup: u64,
    /// The victim's oom_score_adj, -1000 to 1000.
    #[wide]
    pub victim_oom_score_adj: i32,
    pub _pad: u32,
    /// The task whose allocation found no memory.
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
