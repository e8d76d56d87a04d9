//! A signal, shown by name.

shared! {
    /// A signal's number; the same on x86-64 and arm64.
    Signal (pub u32);
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
        const NAME: &'static str = "signal";
        const WORD: &'static str = "signal";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 9, cut: Cut::Never, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(9), text: "SIGKILL", json: "\"SIGKILL\"", csv: "SIGKILL" };

        fn store(self) -> Store {
            Store::Unsigned
        }
        fn compared(self) -> Compared {
            Compared::Named(|each| {
                (0..=64).for_each(|number: u32| each(number.into(), &signal(number.into())));
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
        by_name!(_, n => signal(n));
    }

    cell! { Signal => Kind::Signal, |v, out| out.unsigned(v.0.into()) }

    /// Names from number 1 on. Values: include/uapi/asm-generic/signal.h, and arch/x86/include/uapi/asm/signal.h, which has the same.
    const NAMES: [&str; 31] = [
        "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1", "SIGSEGV",
        "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN",
        "SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS",
    ];

    /// Real-time signals are counted from the kernel's first one, 32. 0 is no signal: kill(2) only looks whether a process is there.
    fn signal(number: u64) -> Cow<'static, str> {
        match number {
            0 => "none".into(),
            1..=31 => NAMES[number as usize - 1].into(),
            32..=64 => format!("SIGRT_{}", number - 32).into(),
            _ => format!("signal_{number}").into(),
        }
    }

    #[test]
    fn signals_have_their_names_and_unknown_ones_their_numbers() {
        assert_eq!(signal(15), "SIGTERM");
        assert_eq!(signal(u64::from(crate::arch::SIGSYS)), "SIGSYS");
        assert_eq!(signal(34), "SIGRT_2");
        assert_eq!(signal(0), "none");
        assert_eq!(signal(65), "signal_65");
    }
}
