//! Return addresses in user space, innermost first.

shared! {
    /// The hash of a user stack in `USER_STACKS`, or the number of an unwound copy; 0 is none.
    UserStack (pub u64);
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
        const NAME: &'static str = "user_stack";
        const WORD: &'static str = "stack";
        const TRUST: Trust = Trust::Program;
        const NAMING: Naming = Naming::UserStack;
        const LOOK: Look = Look { width: 20, cut: Cut::Right, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(31), text: "0x1f", json: "\"0x1f\"", csv: "0x1f" };

        fn store(self) -> Store {
            Store::Stack
        }
        fn compared(self) -> Compared {
            Compared::Never("it is a stack")
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Stack)
        }
        fn of(self) -> &'static str {
            ""
        }
        fn sent(_: Unit) -> Option<Self> {
            Some(Self)
        }
        stack!();
    }

    cell! { UserStack => Kind::UserStack, |v, out| out.stack(v.0) }
}
