//! What a field of an event can be. Each type says which columns it gives and how a row's cells are read from it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! shared {
    ($(#[$meta:meta])* $name:ident $body:tt) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct $name $body
    };
    ($(#[$meta:meta])* $name:ident $body:tt;) => {
        $(#[$meta])*
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct $name $body;
    };
}

shared! {
    /// When something happened: CLOCK_BOOTTIME, ns.
    Time (pub u64);
}
shared! {
    /// The target to which an event belongs: the number that its trace gave to a set of labels.
    Target (pub u32);
}
impl Target {
    /// One without labels.
    pub const NONE: Self = Self(0);
}
shared! {
    /// The task that caused an event, as the kernel saw it.
    Task {
        /// Its cgroup v2 id.
        pub cgroup: u64,
        /// The process (the kernel's tgid) as the host numbers it.
        pub pid: u32,
        /// The thread (the kernel's pid) as the host numbers it.
        pub tid: u32,
        /// The process as its own pid namespace numbers it.
        pub ns_pid: u32,
        /// Effective user id in the host's user namespace.
        pub uid: u32,
        /// Effective group id in the host's user namespace.
        pub gid: u32,
        /// As part of which it was selected.
        pub target: Target,
        /// The thread's name, at most 15 bytes.
        pub comm: [u8; 16],
    }
}
shared! {
    /// An IPv4 or IPv6 address; IPv4 is stored mapped, as ::ffff:a.b.c.d.
    Ip (pub [u8; 16]);
}
shared! {
    /// Text of at most `N` bytes, ended by a zero byte where it is shorter.
    Text16 (pub [u8; 16]);
}
shared! {
    /// 0 is no, 1 is yes, anything else is not known.
    Bool (pub u8);
}
impl Bool {
    /// What was not seen.
    pub const UNKNOWN: Self = Self(2);
}
shared! {
    /// Where in the record's tail a byte string lies.
    Tail {
        /// Offset from the end of the fixed part.
        pub start: u16,
        /// Bytes in the record.
        pub len: u16,
        /// [`Tail::CUT`], [`Tail::PARTS`].
        pub flags: u32,
    }
}
impl Tail {
    /// The kernel had more than the record could hold.
    pub const CUT: u32 = 1;
    /// A path by its directory entries: component by component from the leaf to the root, each ended by a zero byte.
    pub const PARTS: u32 = 2;
    /// Nothing, where there was something that could not be read.
    pub const LOST: Self = Self {
        start: 0,
        len: 0,
        flags: Self::CUT,
    };
    /// Nothing.
    pub const EMPTY: Self = Self {
        start: 0,
        len: 0,
        flags: 0,
    };
}
shared! {
    /// A path, as text or as the kernel's directory entries gave it ([`Tail::PARTS`]).
    Path (pub Tail);
}
shared! {
    /// Arguments of a program, each ended by a zero byte.
    Args (pub Tail);
}
shared! {
    /// A system call's number, of 32 bits that the caller chooses, and above them whether it was made through the 32-bit table.
    Syscall (pub u64);
}
impl Syscall {
    /// Set where the call was made through the 32-bit table.
    pub const COMPAT: u64 = 1 << 32;

    /// Its number in its table.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.0 as u32
    }

    /// Whether that is the 32-bit one.
    #[inline(always)]
    pub const fn is_compat(self) -> bool {
        self.0 & Self::COMPAT != 0
    }
}
shared! {
    /// What a system call returned: a negative number is an error's.
    Outcome (pub i64);
}
shared! {
    /// Permission bits.
    Mode (pub u32);
}
shared! {
    /// open(2) flags.
    OpenFlags (pub u64);
}
impl OpenFlags {
    /// Flags that could not be read from the caller's memory. Those of a call have 32 bits at most.
    pub const UNREAD: Self = Self(1 << 63);
}
shared! {
    /// How memory was accessed: bit 0 write, bit 1 execute, bit 2 from user mode, bit 3 on a present page (protection).
    Access (pub u32);
}
impl Access {
    /// Whether it was a write.
    #[inline(always)]
    pub const fn is_write(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether it was from user mode.
    #[inline(always)]
    pub const fn is_of_user(self) -> bool {
        self.0 & 4 != 0
    }
}
shared! {
    /// The hash of a user stack in `USER_STACKS`; 0 is none.
    UserStack (pub u64);
}
shared! {
    /// The hash of a kernel stack in `KERNEL_STACKS`; 0 is none.
    KernelStack (pub u64);
}
shared! {
    /// A histogram of durations: bucket n counts those of 2^n to 2^(n+1) - 1 ns, bucket 0 also those of 0 ns.
    /// The last bucket takes everything longer (34 s).
    Log2Ns (pub [u64; 36]);
}
shared! {
    /// Errors by number: as many different ones as there are slots, the rest together under number 0.
    Errors (pub [ErrorCount; 8]);
}
shared! {
    /// How often one error occurred.
    ErrorCount {
        /// The errno; 0 with a count is "others".
        pub errno: u64,
        /// How often.
        pub count: u64,
    }
}

impl Log2Ns {
    /// The last bucket.
    pub const LAST: usize = 35;

    /// The bucket of a duration.
    #[inline(always)]
    pub const fn bucket(ns: u64) -> usize {
        let log2 = 63 - (ns | 1).leading_zeros() as usize;
        if log2 > Self::LAST { Self::LAST } else { log2 }
    }
}

#[cfg(feature = "user")]
pub use user::Cell;

#[cfg(feature = "user")]
mod user {
    use super::*;
    use crate::{Column, Cursor, Kind, Unit, open_flags};
    use std::vec::Vec;

    /// One field of an event: usually one column, for a group such as [`Task`] several.
    pub trait Cell {
        /// Appends this field's columns; `base` has the field's name, prose and role.
        fn columns(base: Column, out: &mut Vec<Column>);
        /// Appends this field's cells of one row.
        fn push(&self, out: &mut Cursor<'_>);
    }

    macro_rules! cells {
        ($($ty:ty => $kind:expr, |$value:ident, $out:ident| $push:expr;)*) => { $(
            impl Cell for $ty {
                fn columns(base: Column, out: &mut Vec<Column>) {
                    out.push(base.kind($kind));
                }
                fn push(&self, $out: &mut Cursor<'_>) {
                    let $value = self;
                    $push;
                }
            }
        )* };
    }
    cells! {
        u8 => Kind::Unsigned, |v, out| out.unsigned((*v).into());
        u16 => Kind::Unsigned, |v, out| out.unsigned((*v).into());
        u32 => Kind::Unsigned, |v, out| out.unsigned((*v).into());
        u64 => Kind::Unsigned, |v, out| out.unsigned(*v);
        i32 => Kind::Signed, |v, out| out.signed((*v).into());
        i64 => Kind::Signed, |v, out| out.signed(*v);
        Bool => Kind::Bool, |v, out| out.unsigned(v.0.into());
        Time => Kind::Time, |v, out| out.unsigned(v.0);
        Ip => Kind::Ip, |v, out| out.bytes(&v.0);
        Text16 => Kind::Text, |v, out| out.bytes(until_zero(&v.0));
        Path => Kind::Path, |v, out| out.tail(v.0);
        Args => Kind::Args, |v, out| out.tail(v.0);
        Syscall => Kind::Syscall, |v, out| out.unsigned(v.0);
        Outcome => Kind::Outcome, |v, out| out.signed(v.0);
        Mode => Kind::Octal, |v, out| out.unsigned(v.0.into());
        OpenFlags => Kind::Flags(open_flags), |v, out| out.unsigned(v.0);
        Access => Kind::Flags(crate::access_flags), |v, out| out.unsigned(v.0.into());
        UserStack => Kind::UserStack, |v, out| out.stack(v.0);
        KernelStack => Kind::KernelStack, |v, out| out.stack(v.0);
        Log2Ns => Kind::Log2 { unit: Unit::Nanoseconds }, |v, out| out.list(trimmed(&v.0));
        Errors => Kind::Errors, |v, out| out.pairs(v.0.iter().filter(|e| e.count > 0).map(|e| (e.errno, e.count)));
    }

    /// No column of its own: where targets have labels, these become columns.
    impl Cell for Target {
        fn columns(_: Column, _: &mut Vec<Column>) {}
        fn push(&self, out: &mut Cursor<'_>) {
            out.target(self.0);
        }
    }

    impl Cell for Task {
        fn columns(base: Column, out: &mut Vec<Column>) {
            let mut add = |name, about, kind, wide| {
                out.push(Column::of(name, about, base.role, base.wide || wide).kind(kind));
            };
            add(
                "pid",
                "Process, as the host numbers it.",
                Kind::Unsigned,
                false,
            );
            add(
                "tid",
                "Thread, as the host numbers it.",
                Kind::Unsigned,
                true,
            );
            add(
                "ns_pid",
                "Process, as its own pid namespace numbers it.",
                Kind::Unsigned,
                true,
            );
            add(
                "uid",
                "Effective user id, as the host numbers it.",
                Kind::Unsigned,
                true,
            );
            add(
                "gid",
                "Effective group id, as the host numbers it.",
                Kind::Unsigned,
                true,
            );
            add(
                "comm",
                "The thread's name, at most 15 bytes.",
                Kind::Text,
                false,
            );
            add(
                "cgroup",
                "Cgroup v2 id: the inode number of its directory.",
                Kind::Unsigned,
                true,
            );
        }

        fn push(&self, out: &mut Cursor<'_>) {
            let Self {
                cgroup,
                pid,
                tid,
                ns_pid,
                uid,
                gid,
                target,
                comm,
            } = self;
            target.push(out);
            for number in [pid, tid, ns_pid, uid, gid] {
                out.unsigned((*number).into());
            }
            out.bytes(until_zero(comm));
            out.unsigned(*cgroup);
        }
    }

    fn until_zero(text: &[u8]) -> &[u8] {
        text.split(|&b| b == 0).next().unwrap_or_default()
    }

    fn trimmed(buckets: &[u64]) -> &[u64] {
        let used = buckets
            .iter()
            .rposition(|&n| n > 0)
            .map_or(0, |last| last + 1);
        &buckets[..used]
    }
}
