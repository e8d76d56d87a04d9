//! An address of the internet.

shared! {
    /// An IPv4 or IPv6 address; IPv4 is stored mapped, as ::ffff:a.b.c.d.
    Ip (pub [u8; 16]);
}

#[cfg(feature = "user")]
pub(super) use user::This;

#[cfg(feature = "user")]
mod user {
    use super::{super::{form::*, plain::*}, *};
    use std::{io::Write as _, net::{IpAddr, Ipv4Addr, Ipv6Addr}};

    /// The kind.
    #[derive(Clone, Copy)]
    pub(in crate::kind) struct This;

    impl Form for This {
        const NAME: &'static str = "ip";
        const WORD: &'static str = "address";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 15, cut: Cut::Never, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Bytes(&[10, 0, 0, 9], false), text: "10.0.0.9", json: "\"10.0.0.9\"", csv: "10.0.0.9" };

        fn store(self) -> Store {
            Store::Bytes
        }
        fn compared(self) -> Compared {
            Compared::Address
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Ip)
        }
        fn of(self) -> &'static str {
            ""
        }
        fn sent(_: Unit) -> Option<Self> {
            Some(Self)
        }
        fn text(self, value: Value<'_>, shown: Shown<'_>, out: &mut String) -> Tone {
            match address(value) {
                Some(address) => push(out, address),
                None => return plain::text(value, shown, out),
            }
            Tone::Plain
        }
        fn json(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            match address(value) {
                // Writing to a vector cannot fail.
                Some(address) => drop(write!(out, "\"{address}\"")),
                None => plain::json(value, shown, out),
            }
        }
        fn csv(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            match address(value) {
                // Writing to a vector cannot fail.
                Some(address) => drop(write!(out, "{address}")),
                None => plain::csv(value, shown, out),
            }
        }
    }

    cell! { Ip => Kind::Ip, |v, out| out.bytes(&v.0), |base| base.held(crate::Held::Bytes(16)) }

    /// IPv4 comes mapped into IPv6, or as 4 bytes.
    fn address(value: Value<'_>) -> Option<IpAddr> {
        let Value::Bytes(bytes, _) = value else {
            return None;
        };
        match (<[u8; 16]>::try_from(bytes), <[u8; 4]>::try_from(bytes)) {
            (Ok(sixteen), _) => Some(Ipv6Addr::from(sixteen).to_canonical()),
            (_, Ok(four)) => Some(Ipv4Addr::from(four).into()),
            _ => None,
        }
    }

    fn push(out: &mut String, address: IpAddr) {
        use std::fmt::Write as _;
        // Writing to a string cannot fail.
        let _ = write!(out, "{address}");
    }
}
