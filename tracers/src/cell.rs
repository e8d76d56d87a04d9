//! Fields of an event that are several columns, or none. A field that is one column is in its kind's file, `kind/NAME.rs`.

use crate::kind::Pid;

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
        pub pid: Pid,
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
    /// Values whose columns are known only when a trace starts: one for each of the columns that its plan adds after those of the struct.
    ///
    /// It is the last field of an event. Each column's kind says what its 8 bytes are, a number from 0 or a signed one.
    Cells (pub [u64; 8]);
}

#[cfg(feature = "user")]
pub use user::Cell;

#[cfg(feature = "user")]
mod user {
    use super::*;
    use crate::{Column, Cursor, Held, Kind, Width, kind::until_zero};
    use core::mem::offset_of;
    use std::vec::Vec;

    /// One field of an event: usually one column, for a group such as [`Task`] several.
    pub trait Cell {
        /// Appends this field's columns; `base` has the field's name, prose and role.
        fn columns(base: Column, out: &mut Vec<Column>);
        /// Appends this field's cells of one row.
        fn push(&self, out: &mut Cursor<'_>);
    }

    /// No column of its own: where targets have labels, these become columns.
    impl Cell for Target {
        fn columns(_: Column, _: &mut Vec<Column>) {}
        fn push(&self, out: &mut Cursor<'_>) {
            out.target(self.0);
        }
    }

    /// No column of its own: the plan has them.
    impl Cell for Cells {
        fn columns(_: Column, _: &mut Vec<Column>) {}
        fn push(&self, out: &mut Cursor<'_>) {
            out.rest(&self.0);
        }
    }

    impl Cell for Task {
        fn columns(base: Column, out: &mut Vec<Column>) {
            let mut add = |name, about, kind, wide, offset, held: Held| {
                let before = base.place.map(|place| place.offset);
                let column = Column::of(name, about, base.role, base.wide || wide).kind(kind);
                out.push(match before {
                    Some(before) => column.at(before + offset).held(held),
                    None => column,
                });
            };
            add(
                "pid",
                "PID of the process, in the host's PID namespace.",
                Kind::Process,
                false,
                offset_of!(Self, pid),
                Held::Number(Width::Word),
            );
            add(
                "tid",
                "TID of the thread, in the host's PID namespace.",
                Kind::Unsigned,
                true,
                offset_of!(Self, tid),
                Held::Number(Width::Word),
            );
            add(
                "ns_pid",
                "PID of the process, in its own PID namespace.",
                Kind::Unsigned,
                true,
                offset_of!(Self, ns_pid),
                Held::Number(Width::Word),
            );
            add(
                "uid",
                "Effective user ID, in the host's user namespace.",
                Kind::Unsigned,
                true,
                offset_of!(Self, uid),
                Held::Number(Width::Word),
            );
            add(
                "gid",
                "Effective group ID, in the host's user namespace.",
                Kind::Unsigned,
                true,
                offset_of!(Self, gid),
                Held::Number(Width::Word),
            );
            add(
                "comm",
                "Name of the thread, at most 15 bytes.",
                Kind::Text,
                false,
                offset_of!(Self, comm),
                Held::Text(16),
            );
            add(
                "cgroup",
                "Cgroup v2 ID: the inode number of the cgroup's directory.",
                Kind::Unsigned,
                true,
                offset_of!(Self, cgroup),
                Held::Number(Width::Double),
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
            pid.push(out);
            for number in [tid, ns_pid, uid, gid] {
                out.unsigned((*number).into());
            }
            out.bytes(until_zero(comm));
            out.unsigned(*cgroup);
        }
    }
}
