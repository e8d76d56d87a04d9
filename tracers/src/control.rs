//! Types of the maps that the loader and the kernel programs exchange.
//!
//! Keys and values of these maps are the structs below, so neither side contains offsets.

use crate::Target;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! control {
    ($(#[$meta:meta])* $name:ident { $($body:tt)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct $name { $($body)* }
    };
}

macro_rules! counters {
    ($($(#[$meta:meta])* $name:ident,)*) => {
        control! {
            /// The accounting of one CPU, the only value of the map `COUNTERS`. Its numbers only grow.
            #[derive(Default)]
            Counters { $($(#[$meta])* pub $name: u64,)* }
        }

        impl Counters {
            /// Adds the numbers of another CPU.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Events that passed the selection and the options.
    produced,
    /// Events that found the ring full.
    ring_full,
    /// Events that found a map of state or rows full.
    map_full,
    /// Events whose memory could not be read.
    unreadable,
    /// Events that found the CPU's scratch memory in use.
    busy,
    /// Events of a cgroup beyond its quota, while the ring was filling up.
    over_quota,
    /// Events that were omitted to keep the trace within its budget.
    sampled,
    /// Events whose rows did not match the filter.
    filtered,
    /// Omitted events in the counts of rows: the weight of each event minus 1.
    weighted,
    /// Rows whose stack found no room.
    stacks_missing,
    /// Events that a second program took over.
    taken_over,
    /// Events that were taken over although the first program ran. It ignored them.
    given_back,
    /// Stacks of events with the maximum depth: the caller of their outermost frame is unknown.
    stacks_truncated,
    /// Events in a shared table.
    folded,
}

control! {
    /// Measured cost of the programs on a CPU, the only value of the map `COST`.
    Cost {
        /// Runs of programs.
        pub runs: u64,
        /// Time of programs, ns.
        pub ns: u64,
        /// Start time of the running program, CLOCK_MONOTONIC in ns; 0 without one. On the stack, the verifier would verify the program once for
        /// each value. The time of an interrupted program is attributed to the interrupting one.
        pub since: u64,
    }
}

/// Bits of the global `SELECT`: how a trace selects tasks.
pub mod by {
    /// Processes in the map `PROCESSES`.
    pub const PROCESS: u32 = 1;
    /// Cgroups in the map `CGROUPS`.
    pub const CGROUP: u32 = 2;
    /// Every process.
    pub const HOST: u32 = 4;
}

control! {
    /// Origin of a selected object: the value of the maps `CGROUPS` and `PODS`.
    Member {
        /// The target of its events.
        pub target: Target,
        /// The entry of the selection, by which the loader finds all objects of the entry.
        pub entry: u32,
    }
}

control! {
    /// A selected process: the value of the map `PROCESSES`, whose key is its number.
    Process {
        /// [`Process::NOW`] or [`Process::FROM_EXEC`].
        pub state: u32,
        /// Origin of the process.
        pub member: Member,
    }
}

impl Process {
    /// The process is traced.
    pub const NOW: u32 = 1;
    /// The process is traced from its next execve(2): until then the command that we start is our own program.
    pub const FROM_EXEC: u32 = 2;
}

/// Number of depths at which a cgroup can be selected: 0, the root, to 24. Tasks may lie at any depth below a selected cgroup.
pub const DEPTHS: usize = 25;
/// Depths of selected cgroups below the hierarchy's root, the deepest first: the only value of the map `CGROUP_DEPTHS`.
/// [`NO_DEPTH`] ends the list.
pub type Depths = [u8; DEPTHS];
/// The end of a list of depths.
pub const NO_DEPTH: u8 = 0xff;

/// Number of counts, by the low bits of a key, for each map with counts: a power of two.
pub const CHOSEN_EACH: usize = 4096;
/// Index of the counts of `PROCESSES` in the only value of the map `CHOSEN`.
pub const CHOSEN_PROCESSES: usize = 0;
/// Index of the counts of `CGROUPS`.
pub const CHOSEN_CGROUPS: usize = CHOSEN_EACH;
/// Upper bounds of the numbers of keys with the same low bits in each of these maps: the only value of the map `CHOSEN`.
pub type Chosen = [u32; 2 * CHOSEN_EACH];

/// The state of the reader's sleep: the only value of the map `SLEEP`.
pub type Sleep = [u32; 2];
/// Index of the number of the reader's sleep; 0 while the reader is awake. Only the reader writes it.
pub const SLEEP_NOW: usize = 0;
/// The only one of the two lowest bits that is set in each of these numbers: BPF_RB_FORCE_WAKEUP of include/uapi/linux/bpf.h. Programs compute
/// the flags of a record from the number without a branch.
pub const SLEEP_WAKES: u32 = 2;
/// Index of the number of the last sleep with a wake-up. Only programs write it.
pub const SLEEP_WOKEN: usize = 1;

control! {
    /// A pass over all tasks, the only value of the map `PASS`.
    Pass {
        /// Which pass it is.
        pub which: u64,
        /// The time of the pass, ns of CLOCK_BOOTTIME.
        pub at: u64,
    }
}

impl Pass {
    /// The pass when a trace begins.
    pub const FIRST: u64 = 1;
    /// The pass when it ends, while nothing else runs.
    pub const LAST: u64 = 2;
}

/// Bytes of a pod's uid, RFC 9562: the key of the map `PODS`.
pub const POD_UID: usize = 36;
/// Bytes of a static pod's uid: the MD5 sum of its manifest as hexadecimal digits (pkg/kubelet/config/common.go). Zero bytes follow it.
pub const STATIC_UID: usize = 32;
/// A pod's uid.
pub type PodUid = [u8; POD_UID];

control! {
    /// The head of an entry in the map `FIRST` of a table, before the key and the value.
    FirstHead {
        /// 1 if a row follows.
        pub used: u64,
    }
}

/// Maximum frames of a stack in kernel programs, regardless of `kernel.perf_event_max_stack`: a value of a per-CPU map has at most 32 KiB
/// (PCPU_MIN_UNIT_SIZE, include/linux/percpu.h).
pub const FRAMES: usize = 511;

control! {
    /// A frame of a user stack in the kernel's format: `struct bpf_stack_build_id`, include/uapi/linux/bpf.h.
    UserFrame {
        /// [`UserFrame::VALID`] if the file's build id was found.
        pub status: u32,
        /// The build id of the file.
        pub build_id: [u8; 20],
        /// The offset in the file if the build id was found, otherwise the address.
        pub offset_or_ip: u64,
    }
}

impl UserFrame {
    /// The file's build id was found.
    pub const VALID: u32 = 1;
}

control! {
    /// The head of a user stack in the map `USER_STACKS`, before the recorded [`UserFrame`]s.
    UserHead {
        /// Number of frames.
        pub len: u32,
        /// Number of reads of the frames; the kernel side sets a final number when every frame has its build id.
        pub reads: u32,
    }
}

control! {
    /// The head of a kernel stack in the map `KERNEL_STACKS`, before the recorded addresses of 8 bytes.
    KernelHead {
        /// Number of frames.
        pub len: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_all_cpus_add_up() {
        let one = Counters {
            produced: 2,
            stacks_truncated: 1,
            ..Counters::default()
        };
        let mut all = one;
        all.add(&one);
        assert_eq!((all.produced, all.stacks_truncated), (4, 2));
        assert_eq!(all.ring_full, 0);
    }
}
