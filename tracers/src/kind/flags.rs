//! Bits, shown by their names.

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
    /// Kind of a kernel lock: bits `LCB_F_*` of include/trace/events/lock.h, the same in all versions.
    LockFlags (pub u32);
}

#[cfg(feature = "user")]
pub(super) use user::This;
#[cfg(feature = "user")]
pub use user::{access_flags, lock_flags, open_flags};

#[cfg(feature = "user")]
mod user {
    use super::{super::{form::*, plain::*}, *};
    use crate::arch::machine;
    use std::{format, string::String};

    /// The kind.
    #[derive(Clone, Copy)]
    pub(in crate::kind) struct This {
        pub(in crate::kind) names: BitNames,
    }

    impl Form for This {
        const NAME: &'static str = "flags";
        const WORD: &'static str = "flags";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 18, cut: Cut::Right, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(5), text: "0x5", json: "\"0x5\"", csv: "0x5" };

        fn store(self) -> Store {
            Store::Unsigned
        }
        fn compared(self) -> Compared {
            Compared::Names(self.names)
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Flags)
        }
        fn of(self) -> &'static str {
            ""
        }
        fn sent(_: Unit) -> Option<Self> {
            // They come by their names.
            Some(Self {
                names: |bits, each| each(&format!("{bits:#x}")),
            })
        }
        by_name!(this, n => joined(this.names, n));
    }

    cell! { OpenFlags => Kind::Flags { names: open_flags }, |v, out| out.unsigned(v.0) }
    cell! { LockFlags => Kind::Flags { names: lock_flags }, |v, out| out.unsigned(v.0.into()) }
    cell! { Access => Kind::Flags { names: access_flags }, |v, out| out.unsigned(v.0.into()) }

    /// Names open(2) flags: the access mode and every bit that is set.
    /// Values: include/uapi/asm-generic/fcntl.h; the same on all machines, but for four.
    pub fn open_flags(bits: u64, each: &mut dyn FnMut(&str)) {
        if bits == OpenFlags::UNREAD.0 {
            return each("unreadable");
        }
        let mode = match bits & 3 {
            0 => "O_RDONLY",
            1 => "O_WRONLY",
            2 => "O_RDWR",
            _ => "3",
        };
        // O_SYNC contains O_DSYNC, and O_TMPFILE contains O_DIRECTORY: the longer comes first.
        const COMMON: [(u64, &str); 12] = [
            (0o20200000, "O_TMPFILE"),
            (0o4010000, "O_SYNC"),
            (0o100, "O_CREAT"),
            (0o200, "O_EXCL"),
            (0o400, "O_NOCTTY"),
            (0o1000, "O_TRUNC"),
            (0o2000, "O_APPEND"),
            (0o4000, "O_NONBLOCK"),
            (0o10000, "O_DSYNC"),
            (0o20000, "O_ASYNC"),
            (0o1000000, "O_NOATIME"),
            (0o2000000, "O_CLOEXEC"),
        ];
        const PATH: [(u64, &str); 1] = [(0o10000000, "O_PATH")];
        let names = COMMON.iter().chain(&machine::OPEN_FLAGS).chain(&PATH);
        each(mode);
        name_bits(bits & !3, names, each);
    }

    /// Names the bits of [`crate::Access`].
    pub fn access_flags(bits: u64, each: &mut dyn FnMut(&str)) {
        let first = if bits & 2 != 0 {
            "exec"
        } else if bits & 1 != 0 {
            "write"
        } else {
            "read"
        };
        each(first);
        name_bits(bits & !3, [(4, "user"), (8, "protection")].iter(), each);
    }

    /// Names the bits of [`crate::LockFlags`].
    pub fn lock_flags(bits: u64, each: &mut dyn FnMut(&str)) {
        const NAMES: [(u64, &str); 6] =
            [(1, "spin"), (2, "read"), (4, "write"), (8, "rt"), (16, "percpu"), (32, "mutex")];
        // A read-write semaphore has no bit of its own, nor has a semaphore.
        if bits == 0 {
            return each("semaphore");
        }
        name_bits(bits, NAMES.iter(), each);
    }

    fn name_bits<'a>(
        mut bits: u64,
        names: impl Iterator<Item = &'a (u64, &'static str)>,
        each: &mut dyn FnMut(&str),
    ) {
        for &(bit, name) in names {
            if bits & bit == bit {
                bits &= !bit;
                each(name);
            }
        }
        if bits != 0 {
            each(&format!("{bits:#x}"));
        }
    }

    /// Returns the names of a number's bits, joined by `|`.
    fn joined(names: BitNames, bits: u64) -> String {
        let mut joined = String::new();
        names(bits, &mut |name| {
            if !joined.is_empty() {
                joined.push('|');
            }
            joined.push_str(name);
        });
        joined
    }

    #[test]
    fn flags_are_named_longest_first_and_unknown_bits_are_kept() {
        let open_flags = |bits| joined(open_flags, bits);
        let access_flags = |bits| joined(access_flags, bits);
        assert_eq!(open_flags(0), "O_RDONLY");
        assert_eq!(open_flags(0o2000101), "O_WRONLY|O_CREAT|O_CLOEXEC");
        assert_eq!(open_flags(0o4010002), "O_RDWR|O_SYNC");
        assert_eq!(open_flags(1 << 40), "O_RDONLY|0x10000000000");
        assert_eq!(open_flags(machine::O_LARGEFILE), "O_RDONLY|O_LARGEFILE");
        assert_eq!(open_flags(OpenFlags::UNREAD.0), "unreadable");
        assert_eq!(access_flags(0b101), "write|user");
    }
}
