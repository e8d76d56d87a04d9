//! A kind that only a newer version knows: shown in its basic form, and never trusted.

#[cfg(feature = "user")]
pub(super) use user::This;

#[cfg(feature = "user")]
mod user {
    use super::super::form::*;

    /// The kind.
    #[derive(Clone, Copy)]
    pub(in crate::kind) struct This {
        /// What clients of every version can show of it; `None` where that is not known either.
        pub(in crate::kind) basic: Option<Basic>,
    }

    impl This {
        /// The kind whose form its values have.
        fn like(self, shown: Shown<'_>) -> Option<Kind> {
            self.basic.map(|basic| basic.kind(shown.column.unit()))
        }
    }

    impl Form for This {
        const NAME: &'static str = "";
        const WORD: &'static str = "unknown";
        const TRUST: Trust = Trust::Program;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 10, cut: Cut::Right, right: true };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(7), text: "7", json: "7", csv: "7" };

        fn store(self) -> Store {
            match self.basic {
                Some(basic) => basic.kind(Unit::None).store(),
                None => Store::Unsigned,
            }
        }
        fn compared(self) -> Compared {
            Compared::Never("its kind is of a newer version")
        }
        fn basic(self) -> Option<Basic> {
            self.basic
        }
        fn of(self) -> &'static str {
            ""
        }
        fn sent(_: Unit) -> Option<Self> {
            None
        }
        fn text(self, value: Value<'_>, shown: Shown<'_>, out: &mut String) -> Tone {
            match self.like(shown) {
                Some(kind) => kind.text(value, shown, out),
                None => plain::text(value, shown, out),
            }
        }
        fn json(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            match self.like(shown) {
                Some(kind) => kind.json(value, shown, out),
                None => plain::json(value, shown, out),
            }
        }
        fn csv(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            match self.like(shown) {
                Some(kind) => kind.csv(value, shown, out),
                None => plain::csv(value, shown, out),
            }
        }
    }
}
