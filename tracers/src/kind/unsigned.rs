//! A number from 0.

#[cfg(feature = "user")]
pub(super) use user::This;

#[cfg(feature = "user")]
mod user {
    use super::super::{form::*, plain::*};

    /// The kind.
    #[derive(Clone, Copy)]
    pub(in crate::kind) struct This;

    impl Form for This {
        const NAME: &'static str = "unsigned";
        const WORD: &'static str = "number";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 5, cut: Cut::Never, right: true };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(1204), text: "1204", json: "1204", csv: "1204" };

        fn store(self) -> Store {
            Store::Unsigned
        }
        fn compared(self) -> Compared {
            Compared::Number
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Unsigned)
        }
        fn of(self) -> &'static str {
            ""
        }
        fn sent(_: Unit) -> Option<Self> {
            Some(Self)
        }
        as_stored!();
    }

    cell! { u8 => Kind::Unsigned, |v, out| out.unsigned((*v).into()) }
    cell! { u16 => Kind::Unsigned, |v, out| out.unsigned((*v).into()) }
    cell! { u32 => Kind::Unsigned, |v, out| out.unsigned((*v).into()) }
    cell! { u64 => Kind::Unsigned, |v, out| out.unsigned(*v) }
}
