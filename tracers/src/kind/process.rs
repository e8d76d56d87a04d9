//! A process, as the host numbers it. What follows a stack to its process looks for this kind.

shared! {
    /// A process (the kernel's tgid), as the host numbers it.
    Pid (pub u32);
}

#[cfg(feature = "user")]
pub(super) use user::This;

#[cfg(feature = "user")]
mod user {
    use super::{super::{form::*, plain::*}, *};

    /// The kind.
    #[derive(Clone, Copy)]
    pub(in crate::kind) struct This;

    impl Form for This {
        const NAME: &'static str = "process";
        const WORD: &'static str = "process";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 5, cut: Cut::Never, right: true };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(4242), text: "4242", json: "4242", csv: "4242" };

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

    cell! { Pid => Kind::Process, |v, out| out.unsigned(v.0.into()) }
}
