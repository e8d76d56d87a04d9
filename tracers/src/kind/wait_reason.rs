//! What a thread waits for.

use crate::arch::WaitsFor;

shared! {
    /// A reason's number, from 0: its place in the list of words.
    WaitReason (pub u32);
}

impl WaitReason {
    /// The thread could go on, and waits for a CPU.
    pub const CPU: Self = Self(NUMBER_OF_WAITS);

    /// The thread does not wait: it is on a CPU.
    pub const ON_CPU: Self = Self(NUMBER_OF_WAITS + 1);

    /// Returns the reason of a wait.
    #[inline(always)]
    pub const fn of(waits: WaitsFor) -> Self {
        Self(waits as u32)
    }
}

/// How many kinds of waits there are.
const NUMBER_OF_WAITS: u32 = WaitsFor::Other as u32 + 1;

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
        const NAME: &'static str = "wait_reason";
        const WORD: &'static str = "reason of a wait";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 7, cut: Cut::Never, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(2), text: "lock", json: "\"lock\"", csv: "lock" };

        fn store(self) -> Store {
            Store::Unsigned
        }
        fn compared(self) -> Compared {
            Compared::Named(|each| {
                (0..NAMES.len()).for_each(|number| each(number as i64, &reason(number as u64)));
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
        by_name!(_, n => reason(n));
    }

    cell! { WaitReason => Kind::WaitReason, |v, out| out.unsigned(v.0.into()) }

    /// Words by number: those of [`WaitsFor`], and those of a thread that does not wait for anything else.
    const NAMES: [&str; NUMBER_OF_WAITS as usize + 2] = [
        "disk", "network", "lock", "timer", "process", "memory", "work", "other", "cpu", "on_cpu",
    ];

    fn reason(number: u64) -> Cow<'static, str> {
        match NAMES.get(number as usize) {
            Some(name) => (*name).into(),
            None => format!("reason_{number}").into(),
        }
    }

    #[test]
    fn reasons_have_words_and_unknown_ones_their_numbers() {
        for (waits, word) in [
            (WaitsFor::Disk, "disk"),
            (WaitsFor::Network, "network"),
            (WaitsFor::Lock, "lock"),
            (WaitsFor::Timer, "timer"),
            (WaitsFor::Process, "process"),
            (WaitsFor::Memory, "memory"),
            (WaitsFor::Work, "work"),
            (WaitsFor::Other, "other"),
        ] {
            assert_eq!(reason(WaitReason::of(waits).0.into()), word);
        }
        assert_eq!(reason(WaitReason::CPU.0.into()), "cpu");
        assert_eq!(reason(WaitReason::ON_CPU.0.into()), "on_cpu");
        assert_eq!(reason(10), "reason_10");
    }
}
