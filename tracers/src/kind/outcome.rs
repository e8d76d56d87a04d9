//! What a system call returned.

shared! {
    /// What a system call returned: a negative number is an error's.
    Outcome (pub i64);
}

#[cfg(feature = "user")]
pub(super) use user::This;
#[cfg(feature = "user")]
pub use user::{errno, error_of};

#[cfg(feature = "user")]
mod user {
    use super::{super::{form::*, plain::*}, *};
    use std::{borrow::Cow, format};
    use syscalls::Errno;

    /// The kind.
    #[derive(Clone, Copy)]
    pub(in crate::kind) struct This;

    impl Form for This {
        const NAME: &'static str = "outcome";
        const WORD: &'static str = "result";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 7, cut: Cut::Never, right: false };
        const BESIDE: Beside = Beside::Error;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Signed(-2), text: "ENOENT", json: r#"-2,"x_error":"ENOENT""#, csv: "-2" };

        fn store(self) -> Store {
            Store::Signed
        }
        fn compared(self) -> Compared {
            Compared::Named(|each| {
                // Up to 133 errors are those of programs, from 512 on the kernel's own: include/uapi/asm-generic/errno.h, include/linux/errno.h.
                for number in (1..=133).chain(512..=531) {
                    let name = errno(number);
                    if !name.starts_with("errno_") {
                        each(-(number as i64), &name);
                    }
                }
            })
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Outcome)
        }
        fn of(self) -> &'static str {
            ""
        }
        fn sent(_: Unit) -> Option<Self> {
            Some(Self)
        }
        fn text(self, value: Value<'_>, shown: Shown<'_>, out: &mut String) -> Tone {
            let Value::Signed(n) = value else {
                return plain::text(value, shown, out);
            };
            match error_of(n) {
                Some(error) => {
                    out.push_str(&errno(error));
                    Tone::Bad
                }
                None => {
                    out.push_str(itoa::Buffer::new().format(n));
                    Tone::Plain
                }
            }
        }
        fn json(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            plain::json(value, shown, out);
            if let Value::Signed(n) = value
                && let Some(error) = error_of(n)
            {
                json::extra(shown.column, "error", out);
                json::string(&errno(error), out);
            }
        }
        fn csv(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            plain::csv(value, shown, out);
        }
    }

    cell! { Outcome => Kind::Outcome, |v, out| out.signed(v.0) }

    /// An error by name.
    pub fn errno(number: u64) -> Cow<'static, str> {
        let known = i32::try_from(number).ok();
        match known.and_then(|number| Errno::new(number).name()) {
            Some(name) => name.into(),
            None => format!("errno_{number}").into(),
        }
    }

    /// The error that a result stands for: results from -4095 to -1 do, include/linux/err.h (MAX_ERRNO).
    pub fn error_of(result: i64) -> Option<u64> {
        (-4095..0).contains(&result).then(|| result.unsigned_abs())
    }

    #[test]
    fn errors_have_their_names_and_unknown_ones_their_numbers() {
        assert_eq!(errno(2), "ENOENT");
        assert_eq!(
            errno(512),
            "ERESTARTSYS",
            "seen at the exit of a system call that a signal broke"
        );
        assert_eq!(errno(4000), "errno_4000");
        assert_eq!(error_of(-13), Some(13));
        assert_eq!(error_of(-5000), None);
        assert_eq!(error_of(0), None);
    }
}
