//! A path: text that is cut on the left where room is short.

use crate::Tail;

shared! {
    /// A path, as text or as the kernel's directory entries gave it ([`Tail::PARTS`]).
    Path (pub Tail);
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
        const NAME: &'static str = "path";
        const WORD: &'static str = "path";
        const TRUST: Trust = Trust::Program;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 20, cut: Cut::Left, right: false };
        const BESIDE: Beside = Beside::Cut;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Bytes(b"/etc/a", true), text: "/etc/a…", json: r#""/etc/a","x_cut":true"#, csv: "/etc/a" };

        fn store(self) -> Store {
            Store::Bytes
        }
        fn compared(self) -> Compared {
            Compared::Text
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Path)
        }
        fn of(self) -> &'static str {
            ""
        }
        fn sent(_: Unit) -> Option<Self> {
            Some(Self)
        }
        as_stored!();
    }

    cell! { Path => Kind::Path, |v, out| out.tail(v.0) }
}
