//! Yes, no, or not known.

shared! {
    /// 0 is no, 1 is yes, anything else is not known.
    Bool (pub u8);
}
impl Bool {
    /// What was not seen.
    pub const UNKNOWN: Self = Self(2);
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
        const NAME: &'static str = "bool";
        const WORD: &'static str = "yes/no";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 3, cut: Cut::Never, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(1), text: "yes", json: "true", csv: "true" };

        fn store(self) -> Store {
            Store::Unsigned
        }
        fn compared(self) -> Compared {
            Compared::Boolean
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Bool)
        }
        fn of(self) -> &'static str {
            ""
        }
        fn sent(_: Unit) -> Option<Self> {
            Some(Self)
        }
        fn text(self, value: Value<'_>, shown: Shown<'_>, out: &mut String) -> Tone {
            match value {
                Value::Unsigned(0) => out.push_str("no"),
                Value::Unsigned(1) => out.push_str("yes"),
                Value::Unsigned(_) => {}
                value => return plain::text(value, shown, out),
            }
            Tone::Plain
        }
        fn json(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            match value {
                Value::Unsigned(0) => out.extend_from_slice(b"false"),
                Value::Unsigned(1) => out.extend_from_slice(b"true"),
                Value::Unsigned(_) => out.extend_from_slice(b"null"),
                value => plain::json(value, shown, out),
            }
        }
        fn csv(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            match value {
                Value::Unsigned(0) => out.extend_from_slice(b"false"),
                Value::Unsigned(1) => out.extend_from_slice(b"true"),
                Value::Unsigned(_) => {}
                value => plain::csv(value, shown, out),
            }
        }
    }

    cell! { Bool => Kind::Bool, |v, out| out.unsigned(v.0.into()) }
}
