//! When something happened.

shared! {
    /// When something happened: CLOCK_BOOTTIME, ns.
    Time (pub u64);
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
        const NAME: &'static str = "time";
        const WORD: &'static str = "time";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 12, cut: Cut::Never, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(1_001_000_000), text: "00:00:01.001", json: "1001000000", csv: "1001000000" };

        fn store(self) -> Store {
            Store::Unsigned
        }
        fn compared(self) -> Compared {
            Compared::Never("bound the time of a trace by its duration")
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Time)
        }
        fn of(self) -> &'static str {
            ""
        }
        fn sent(_: Unit) -> Option<Self> {
            Some(Self)
        }
        fn text(self, value: Value<'_>, shown: Shown<'_>, out: &mut String) -> Tone {
            match value {
                Value::Unsigned(n) => shown.wall.time_of_day(n, out),
                value => return plain::text(value, shown, out),
            }
            Tone::Plain
        }
        fn json(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            match value {
                Value::Unsigned(n) => json::integer(shown.wall.unix_ns(n), out),
                value => plain::json(value, shown, out),
            }
        }
        fn csv(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            match value {
                Value::Unsigned(n) => json::integer(shown.wall.unix_ns(n), out),
                value => plain::csv(value, shown, out),
            }
        }
    }

    cell! { Time => Kind::Time, |v, out| out.unsigned(v.0) }
}
