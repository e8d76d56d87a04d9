//! The maps by which the loader and the kernel programs talk to each other, as types that both sides share.
//!
//! A map's key or value is one of these structs; neither side knows an offset.

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
    /// Events that selection and options let through.
    produced,
    /// Events that found the ring full.
    ring_full,
    /// Events that found a map of state or rows full.
    map_full,
    /// Events whose memory could not be read.
    unreadable,
    /// Events that found the CPU's scratch memory taken.
    busy,
    /// Events of a cgroup beyond its quota, while the ring was filling up.
    over_quota,
    /// Events that were left out so that the trace keeps to its budget.
    sampled,
    /// Events whose rows did not match the filter.
    filtered,
    /// What rows count for events that were left out: one less than the weight of each event.
    weighted,
    /// Rows whose stack found no room.
    stacks_missing,
    /// Events that a second program took over.
    taken_over,
    /// Events that were taken over, and for which the first program ran all the same and ignored them.
    given_back,
    /// Stacks of events that are as deep as they are recorded: the caller of their outermost frame is not known.
    stacks_truncated,
    /// Events that are in a shared table.
    folded,
}

control! {
    /// What the programs took on a CPU while they were measured, the only value of the map `COST`.
    Cost {
        /// Runs of programs.
        pub runs: u64,
        /// Their time, ns.
        pub ns: u64,
        /// When the program that is running began, CLOCK_MONOTONIC in ns; 0 while none is. It is kept here and not on the stack, where the
        /// verifier would go through the program once for each value. A program that is interrupted by another loses its time to it.
        pub since: u64,
    }
}

/// How a trace selects tasks, the global `SELECT`: a sum of these.
pub mod by {
    /// Processes in the map `PROCESSES`.
    pub const PROCESS: u32 = 1;
    /// Cgroups in the map `CGROUPS`.
    pub const CGROUP: u32 = 2;
    /// Every process.
    pub const HOST: u32 = 4;
}

control! {
    /// Why something is selected: the value of the maps `CGROUPS` and `PODS`.
    Member {
        /// The target to which its events belong.
        pub target: Target,
        /// The entry of the selection by which it was selected, so that the loader finds everything that goes with it.
        pub entry: u32,
    }
}

control! {
    /// A selected process: the value of the map `PROCESSES`, whose key is its number.
    Process {
        /// [`Process::NOW`] or [`Process::FROM_EXEC`].
        pub state: u32,
        /// Why it is selected.
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
/// At which depths below the hierarchy's root there are selected cgroups, the deepest first: the only value of the map `CGROUP_DEPTHS`.
/// [`NO_DEPTH`] ends the list.
pub type Depths = [u8; DEPTHS];
/// The end of a list of depths.
pub const NO_DEPTH: u8 = 0xff;

/// Counts by the low bits of a key, for each map in front of which counts stand: a power of two.
pub const CHOSEN_EACH: usize = 4096;
/// Where the counts of `PROCESSES` begin in the only value of the map `CHOSEN`.
pub const CHOSEN_PROCESSES: usize = 0;
/// Where those of `CGROUPS` begin.
pub const CHOSEN_CGROUPS: usize = CHOSEN_EACH;
/// How many keys of each low part are in each of these maps, or more: the only value of the map `CHOSEN`.
pub type Chosen = [u32; 2 * CHOSEN_EACH];

/// The only value of the map `SLEEP`: in which sleep the reader is, and from which it has been woken.
pub type Sleep = [u32; 2];
/// Where the number of the reader's sleep is; 0 while it is awake. Only the reader writes it.
pub const SLEEP_NOW: usize = 0;
/// The bit that each of these numbers has, and no other of the two lowest: BPF_RB_FORCE_WAKEUP of include/uapi/linux/bpf.h, so that the
/// flags of a record are made of the number without a branch.
pub const SLEEP_WAKES: u32 = 2;
/// Where the number of the sleep is from which it was last woken. Only programs write it.
pub const SLEEP_WOKEN: usize = 1;

/// Bytes of a pod's uid, RFC 9562: the key of the map `PODS`.
pub const POD_UID: usize = 36;
/// Bytes of a static pod's uid: the MD5 sum of its manifest as hexadecimal digits (pkg/kubelet/config/common.go). Zero bytes follow it.
pub const STATIC_UID: usize = 32;
/// A pod's uid.
pub type PodUid = [u8; POD_UID];

control! {
    /// What stands before the key and the value in the map `FIRST` of a table.
    FirstHead {
        /// 1 where a row follows.
        pub used: u64,
    }
}

/// Most frames of a stack that kernel programs have room for, whatever `kernel.perf_event_max_stack` says: a value of a per-CPU map has
/// 32 KiB at most (PCPU_MIN_UNIT_SIZE, include/linux/percpu.h).
pub const FRAMES: usize = 511;

control! {
    /// A frame of a user stack as the kernel gives it: `struct bpf_stack_build_id`, include/uapi/linux/bpf.h.
    UserFrame {
        /// [`UserFrame::VALID`] where the file's build id was found.
        pub status: u32,
        /// The build id of the file.
        pub build_id: [u8; 20],
        /// The offset in the file where the build id was found, the address otherwise.
        pub offset_or_ip: u64,
    }
}

impl UserFrame {
    /// The file's build id was found.
    pub const VALID: u32 = 1;
}

control! {
    /// What stands before the frames of a user stack in the map `USER_STACKS`; [`UserFrame`]s follow, as many as are recorded.
    UserHead {
        /// Number of frames.
        pub len: u32,
        /// How often they were read; a number that the kernel side gives once every frame has its build id.
        pub reads: u32,
    }
}

control! {
    /// What stands before the frames of a kernel stack in the map `KERNEL_STACKS`; addresses of 8 bytes follow, as many as are recorded.
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
