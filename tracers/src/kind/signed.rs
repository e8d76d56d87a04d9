//! A number.

#[cfg(feature = "user")]
pub(super) use user::This;

#[cfg(feature = "user")]
mod user {
    use super::super::{form::*, plain::*};

    /// The kind.
    #[derive(Clone, Copy)]
    pub(in crate::kind) struct This;

    impl Form for This {
        const NAME: &'static str = "signed";
        const WORD: &'static str = "number";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 5, cut: Cut::Never, right: true };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Signed(-3), text: "-3", json: "-3", csv: "-3" };

        fn store(self) -> Store {
            Store::Signed
        }
        fn compared(self) -> Compared {
            Compared::Number
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Signed)
        }
        fn of(self) -> &'static str {
            ""
        }
        fn sent(_: Unit) -> Option<Self> {
            Some(Self)
        }
        as_stored!();
    }

    cell! { i32 => Kind::Signed, |v, out| out.signed((*v).into()) }
    cell! { i64 => Kind::Signed, |v, out| out.signed(*v) }
}
