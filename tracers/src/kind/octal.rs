//! Permission bits, shown in octal.

shared! {
    /// Permission bits.
    Mode (pub u32);
}

#[cfg(feature = "user")]
pub(super) use user::This;

#[cfg(feature = "user")]
mod user {
    use super::{super::{form::*, plain::*}, *};
    use std::format;

    /// The kind.
    #[derive(Clone, Copy)]
    pub(in crate::kind) struct This;

    impl Form for This {
        const NAME: &'static str = "octal";
        const WORD: &'static str = "mode";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 4, cut: Cut::Never, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(0o644), text: "0644", json: "\"0644\"", csv: "0644" };

        fn store(self) -> Store {
            Store::Unsigned
        }
        fn compared(self) -> Compared {
            Compared::Written("octal digits, such as 0644", |written| {
                u64::from_str_radix(written, 8).ok()
            })
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Octal)
        }
        fn of(self) -> &'static str {
            ""
        }
        fn sent(_: Unit) -> Option<Self> {
            Some(Self)
        }
        by_name!(_, n => format!("{n:04o}"));
    }

    cell! { Mode => Kind::Octal, |v, out| out.unsigned(v.0.into()) }
}
