//! The state of a TCP socket, shown by name.

shared! {
    /// A state's number, 0 where no socket is known; the same in all kernels.
    TcpState (pub u32);
}

#[cfg(feature = "user")]
pub(super) use user::This;

#[cfg(feature = "user")]
mod user {
    use super::{super::{form::*, plain::*}, *};
    use std::{borrow::Cow, format};

    /// The kind.
    #[derive(Clone, Copy)]
    pub(in crate::kind) struct This;

    impl Form for This {
        const NAME: &'static str = "tcp_state";
        const WORD: &'static str = "TCP state";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 11, cut: Cut::Never, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(1), text: "ESTABLISHED", json: "\"ESTABLISHED\"", csv: "ESTABLISHED" };

        fn store(self) -> Store {
            Store::Unsigned
        }
        fn compared(self) -> Compared {
            Compared::Named(|each| {
                (0..=NAMES.len()).for_each(|number| each(number as i64, &state(number as u64)));
            })
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
        by_name!(_, n => state(n));
    }

    cell! { TcpState => Kind::TcpState, |v, out| out.unsigned(v.0.into()) }

    /// Names from number 1 on, without `TCP_`: include/net/tcp_states.h, whose enum has no name in the kernel's types.
    const NAMES: [&str; 12] = [
        "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK",
        "LISTEN", "CLOSING", "NEW_SYN_RECV",
    ];

    fn state(number: u64) -> Cow<'static, str> {
        match number {
            0 => "".into(),
            1..=12 => NAMES[number as usize - 1].into(),
            _ => format!("state_{number}").into(),
        }
    }

    #[test]
    fn tcp_states_have_their_names_and_unknown_ones_their_numbers() {
        assert_eq!(state(2), "SYN_SENT");
        assert_eq!(state(10), "LISTEN");
        assert_eq!(state(12), "NEW_SYN_RECV");
        assert_eq!(state(0), "");
        assert_eq!(state(14), "state_14");
    }
}
