//! A capability, shown by name.

shared! {
    /// A capability's number; the same on all machines.
    CapabilityNumber (pub u32);
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
        const NAME: &'static str = "capability";
        const WORD: &'static str = "capability";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 16, cut: Cut::Never, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(12), text: "CAP_NET_ADMIN", json: "\"CAP_NET_ADMIN\"", csv: "CAP_NET_ADMIN" };

        fn store(self) -> Store {
            Store::Unsigned
        }
        fn compared(self) -> Compared {
            Compared::Named(|each| {
                (0..NAMES.len()).for_each(|number| each(number as i64, &capability(number as u64)));
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
        by_name!(_, n => capability(n));
    }

    cell! { CapabilityNumber => Kind::Capability, |v, out| out.unsigned(v.0.into()) }

    /// Names from number 0 on. Values: include/uapi/linux/capability.h, up to Linux 7.
    const NAMES: [&str; 41] = [
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
        "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME",
        "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
        "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
    ];

    fn capability(number: u64) -> String {
        let known = usize::try_from(number).ok();
        match known.and_then(|number| NAMES.get(number)) {
            Some(name) => format!("CAP_{name}"),
            None => format!("capability_{number}"),
        }
    }

    #[test]
    fn capabilities_have_their_names_and_unknown_ones_their_numbers() {
        assert_eq!(capability(0), "CAP_CHOWN");
        assert_eq!(capability(21), "CAP_SYS_ADMIN");
        assert_eq!(capability(38), "CAP_PERFMON");
        assert_eq!(capability(40), "CAP_CHECKPOINT_RESTORE");
        assert_eq!(capability(41), "capability_41");
    }
}
