//! Bytes that are mostly text, not always UTF-8.

shared! {
    /// Text of at most 16 bytes, ended by a zero byte where it is shorter.
    Text16 (pub [u8; 16]);
}

#[cfg(feature = "user")]
pub(super) use user::This;
#[cfg(feature = "user")]
pub(crate) use user::until_zero;

#[cfg(feature = "user")]
mod user {
    use super::{super::{form::*, plain::*}, *};

    /// The kind.
    #[derive(Clone, Copy)]
    pub(in crate::kind) struct This;

    impl Form for This {
        const NAME: &'static str = "text";
        const WORD: &'static str = "text";
        const TRUST: Trust = Trust::Program;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 15, cut: Cut::Right, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Bytes(b"a\xff", false), text: "a\\xff", json: r#"{"base64":"Yf8="}"#, csv: "a\u{fffd}" };

        fn store(self) -> Store {
            Store::Bytes
        }
        fn compared(self) -> Compared {
            Compared::Text
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Text)
        }
        fn of(self) -> &'static str {
            ""
        }
        fn sent(_: Unit) -> Option<Self> {
            Some(Self)
        }
        as_stored!();
    }

    cell! { Text16 => Kind::Text, |v, out| out.bytes(until_zero(&v.0)), |base| base.held(crate::Held::Text(16)) }

    pub(crate) fn until_zero(text: &[u8]) -> &[u8] {
        text.split(|&b| b == 0).next().unwrap_or_default()
    }
}
