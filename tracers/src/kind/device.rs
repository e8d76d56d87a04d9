//! A device, by its numbers.

shared! {
    /// A device as the kernel numbers it (dev_t): 12 bits of the driver, 20 of the device. include/linux/kdev_t.h.
    Device (pub u32);
}

#[cfg(feature = "user")]
pub(super) use user::This;

#[cfg(feature = "user")]
mod user {
    use super::{super::{form::*, plain::*}, *};
    use std::format;

    /// The kind.
    #[derive(Clone, Copy)]
    pub(in crate::kind) struct This;

    impl Form for This {
        const NAME: &'static str = "device";
        const WORD: &'static str = "device";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 7, cut: Cut::Never, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(0x0080_0001), text: "8:1", json: "\"8:1\"", csv: "8:1" };

        fn store(self) -> Store {
            Store::Unsigned
        }
        fn compared(self) -> Compared {
            Compared::Written("MAJOR:MINOR, such as 8:1", |written| {
                let (major, minor) = written.split_once(':')?;
                let (major, minor) = (major.parse::<u64>().ok()?, minor.parse::<u64>().ok()?);
                (major < 1 << 12 && minor < 1 << 20).then_some(major << 20 | minor)
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
        by_name!(_, n => format!("{}:{}", n >> 20, n & 0xf_ffff));
    }

    cell! { Device => Kind::Device, |v, out| out.unsigned(v.0.into()) }
}
