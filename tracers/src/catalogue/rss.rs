//! `rss`: what it takes and what it emits. Kernel side: `agent-ebpf/src/bin/rss.rs`.
use crate::{Class, Family, Tracer, prelude::*};

/// Memory of processes in RAM, by its kinds: what each process has now.
///
/// The numbers are those of /proc/PID/status. From Linux 6.2 on the kernel counts on each CPU for itself, and a number may lag by 32
/// pages per CPU, or by twice as many pages as there are CPUs, per CPU, where these are more.
/// Memory that several processes share is counted for each of them.
/// A process whose first thread has ended is found by one of its next 32 threads.
#[event(snapshot)]
pub struct Rss {
    /// The process, as the host numbers it.
    #[key]
    pub pid: Pid,
    /// Whose memory it is.
    #[key]
    pub target: Target,
    /// The process's name: that of its first thread.
    #[key]
    pub comm: Text16,
    /// Its cgroup v2 id: the inode number of its directory.
    #[key]
    #[wide]
    pub cgroup: u64,
    /// Memory in RAM: all of the three kinds.
    #[gauge]
    pub rss_bytes: u64,
    /// Memory of its own in RAM.
    #[gauge]
    pub anon_bytes: u64,
    /// Memory of files in RAM that it has mapped.
    #[gauge]
    pub file_bytes: u64,
    /// Shared memory in RAM that it has mapped.
    #[gauge]
    pub shmem_bytes: u64,
    /// Memory of its own that is swapped out.
    #[gauge]
    pub swap_bytes: u64,
    /// The most that it ever had in RAM, as far as the kernel has noted it: it does when memory is given back.
    #[max]
    #[wide]
    pub peak_bytes: u64,
}

/// Options of `rss`.
#[params]
pub struct Params {
    /// Only processes with at least this much in RAM.
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
