//! `rss`: options and columns. Kernel side: `agent-ebpf/src/bin/rss.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Current memory of each process, by kind: anonymous, file, shared and swapped.
///
/// The numbers are those of /proc/PID/status. Since Linux 6.2 the kernel counts per CPU, so a number may lag by up to max(32, 2 × CPUs)
/// pages per CPU.
/// Memory shared by several processes is counted for each of them.
/// A process whose main thread has ended is found through one of its next 32 threads.
#[event(snapshot)]
pub struct Rss {
    /// PID of the process, in the host's PID namespace.
    #[key]
    pub pid: Pid,
    /// Target that the process belongs to.
    #[key]
    pub target: Target,
    /// Name of the process, which is the name of its main thread.
    #[key]
    pub comm: Text16,
    /// Cgroup v2 ID of the process: the inode number of the cgroup's directory.
    #[key]
    #[wide]
    pub cgroup: u64,
    /// Memory in RAM: the sum of anonymous, file and shared memory.
    #[gauge]
    pub rss_bytes: u64,
    /// Anonymous memory in RAM.
    #[gauge]
    pub anon_bytes: u64,
    /// Mapped file pages in RAM.
    #[gauge]
    pub file_bytes: u64,
    /// Mapped shared memory in RAM.
    #[gauge]
    pub shmem_bytes: u64,
    /// Swapped-out anonymous memory.
    #[gauge]
    pub swap_bytes: u64,
    /// Largest amount of memory in RAM so far. The kernel updates this value when memory is freed.
    #[max]
    #[wide]
    pub peak_bytes: u64,
}

/// Options of `rss`.
#[params]
pub struct Params {
    /// Show only processes with at least this much memory in RAM.
    pub min_bytes: u64,
}

impl Tracer for Rss {
    type Params = Params;
    const CLASS: Class = Class::Observe;
    const FAMILY: Family = Family::Memory;
    const POINTS: &'static [&'static [Point]] = &[&[iter("task").by("rss")]];
    const COST: &'static str = "about 1 µs per thread of the host at each interval";
    const EXAMPLES: &'static [&'static str] =
        &["--pid 4242 --interval 1s", "--host --min-bytes 104857600 --duration 1s", "--container 3f2a -o json"];
}
