//! Arguments of a program: byte strings, each ended by a zero byte.

use crate::Tail;

shared! {
    /// Arguments of a program, each ended by a zero byte.
    Args (pub Tail);
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
        const NAME: &'static str = "args";
        const WORD: &'static str = "arguments";
        const TRUST: Trust = Trust::Program;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 20, cut: Cut::Right, right: false };
        const BESIDE: Beside = Beside::Cut;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Bytes(b"ls\0a b\0", true), text: "ls 'a b' …", json: r#"["ls","a b"],"x_cut":true"#, csv: "ls 'a b'" };

        fn store(self) -> Store {
            Store::Bytes
        }
        fn compared(self) -> Compared {
            Compared::Arguments
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Args)
        }
        fn of(self) -> &'static str {
            ""
        }
        fn sent(_: Unit) -> Option<Self> {
            Some(Self)
        }
        fn text(self, value: Value<'_>, shown: Shown<'_>, out: &mut String) -> Tone {
            let Value::Bytes(bytes, cut) = value else {
                return plain::text(value, shown, out);
            };
            escape::escape(&quoted(bytes), out);
            if cut {
                out.push_str(" …");
            }
            Tone::Plain
        }
        fn json(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            let Value::Bytes(bytes, cut) = value else {
                return plain::json(value, shown, out);
            };
            json::list(escape::arguments(bytes), out, json::text);
            json::cut(cut, shown.column, out);
        }
        fn csv(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            match value {
                Value::Bytes(bytes, _) => out.extend(quoted(bytes)),
                value => plain::csv(value, shown, out),
            }
        }
    }

    cell! { Args => Kind::Args, |v, out| out.tail(v.0) }

    /// As a shell needs them.
    fn quoted(bytes: &[u8]) -> Vec<u8> {
        let mut line = Vec::with_capacity(bytes.len() + 8);
        for (index, argument) in escape::arguments(bytes).enumerate() {
            separate(index, b' ', &mut line);
            escape::quote(argument, &mut line);
        }
        line
    }
}
