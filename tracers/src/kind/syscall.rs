//! A system call, shown by name.

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

#[cfg(feature = "user")]
pub(super) use user::This;
#[cfg(feature = "user")]
pub use user::syscall;

#[cfg(feature = "user")]
mod user {
    use super::{super::{form::*, plain::*}, *};
    use crate::arch::machine;
    use std::{borrow::Cow, format};
    use syscalls::Sysno;

    /// The kind.
    #[derive(Clone, Copy)]
    pub(in crate::kind) struct This;

    impl Form for This {
        const NAME: &'static str = "syscall";
        const WORD: &'static str = "system call";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 14, cut: Cut::Never, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(9999), text: "syscall_9999", json: "\"syscall_9999\"", csv: "syscall_9999" };

        fn store(self) -> Store {
            Store::Unsigned
        }
        fn compared(self) -> Compared {
            Compared::Named(|each| {
                // No table has as many.
                const MOST: usize = 1024;
                for number in (0..MOST).filter(|number| Sysno::new(*number).is_some()) {
                    each(number as i64, &syscall(number as u64));
                }
                for number in (0..MOST).filter(|number| machine::compat_name(*number).is_some()) {
                    let number = number as u64 | Syscall::COMPAT;
                    each(number as i64, &syscall(number));
                }
            })
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Syscall)
        }
        fn of(self) -> &'static str {
            ""
        }
        fn sent(_: Unit) -> Option<Self> {
            Some(Self)
        }
        by_name!(_, n => syscall(n));
    }

    cell! { Syscall => Kind::Syscall, |v, out| out.unsigned(v.0) }

    /// A system call by name, in the tables of this machine. One of the 32-bit table is marked: the same name may take other arguments there.
    pub fn syscall(number: u64) -> Cow<'static, str> {
        let compat = number & Syscall::COMPAT != 0;
        let index = (number & !Syscall::COMPAT) as usize;
        match compat {
            false => match Sysno::new(index) {
                Some(known) => known.name().into(),
                None => format!("syscall_{index}").into(),
            },
            true => match machine::compat_name(index) {
                Some(known) => format!("{}{known}", machine::COMPAT_PREFIX).into(),
                None => format!("{}syscall_{index}", machine::COMPAT_PREFIX).into(),
            },
        }
    }

    #[test]
    fn system_calls_have_their_names_and_unknown_ones_their_numbers() {
        assert_eq!(syscall(Sysno::openat as u64), "openat");
        assert_eq!(syscall(100_000), "syscall_100000");
        let compat = |name| format!("{}{name}", machine::COMPAT_PREFIX);
        assert_eq!(syscall(5 | Syscall::COMPAT), compat("open"));
        assert_eq!(syscall(99_999 | Syscall::COMPAT), compat("syscall_99999"));
        // Whatever number a caller takes, it is none of the other table.
        assert_eq!(syscall(u64::from(u32::MAX)), "syscall_4294967295");
        assert_eq!(syscall(1 << 31 | 1), "syscall_2147483649");
    }
}
