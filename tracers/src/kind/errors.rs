//! Errors by number, and how often each occurred.

shared! {
    /// Errors by number: as many different ones as there are slots, the rest together under number 0.
    Errors (pub [ErrorCount; 8]);
}
shared! {
    /// How often one error occurred.
    ErrorCount {
        /// The errno; 0 with a count is "others".
        pub errno: u64,
        /// How often.
        pub count: u64,
    }
}

#[cfg(feature = "user")]
pub(super) use user::This;

#[cfg(feature = "user")]
mod user {
    use super::{super::{form::*, plain::*}, *};
    use crate::errno;
    use std::borrow::Cow;

    /// The kind.
    #[derive(Clone, Copy)]
    pub(in crate::kind) struct This;

    impl Form for This {
        const NAME: &'static str = "errors";
        const WORD: &'static str = "errors";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 10, cut: Cut::Right, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::List(&[11, 1022, 0, 1]), text: "1,022 EAGAIN, 1 other", json: r#"{"EAGAIN":1022,"other":1}"#, csv: "EAGAIN:1022 other:1" };

        fn store(self) -> Store {
            Store::Pairs
        }
        fn compared(self) -> Compared {
            Compared::Never("it counts several errors")
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Errors)
        }
        fn of(self) -> &'static str {
            ""
        }
        fn sent(_: Unit) -> Option<Self> {
            Some(Self)
        }
        /// `1,022 EAGAIN, 3 EINTR`, most frequent first; `0` for none.
        fn text(self, value: Value<'_>, shown: Shown<'_>, out: &mut String) -> Tone {
            let Value::List(pairs) = value else {
                return plain::text(value, shown, out);
            };
            let mut pairs: Vec<[u64; 2]> = pairs.as_chunks().0.to_vec();
            pairs.sort_by_key(|[_, count]| std::cmp::Reverse(*count));
            if pairs.is_empty() {
                out.push('0');
                return Tone::Plain;
            }
            for (index, [error, count]) in pairs.into_iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                human::grouped(count, out);
                out.push(' ');
                out.push_str(&name(error));
            }
            Tone::Bad
        }
        fn json(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            let Value::List(pairs) = value else {
                return plain::json(value, shown, out);
            };
            out.push(b'{');
            for (index, [error, count]) in pairs.as_chunks().0.iter().enumerate() {
                separate(index, b',', out);
                json::string(&name(*error), out);
                out.push(b':');
                json::integer(*count, out);
            }
            out.push(b'}');
        }
        fn csv(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            let Value::List(pairs) = value else {
                return plain::csv(value, shown, out);
            };
            for (index, [error, count]) in pairs.as_chunks().0.iter().enumerate() {
                separate(index, b' ', out);
                out.extend_from_slice(name(*error).as_bytes());
                out.push(b':');
                json::integer(*count, out);
            }
        }
    }

    cell! { Errors => Kind::Errors, |v, out| out.pairs(v.0.iter().filter(|e| e.count > 0).map(|e| (e.errno, e.count))) }

    fn name(error: u64) -> Cow<'static, str> {
        match error {
            0 => "other".into(),
            error => errno(error),
        }
    }
}
