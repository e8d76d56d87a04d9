//! An address in the kernel's code, shown by its symbol, which a stage after reading looks up. Without one it is `[kernel]`: numbers would
//! show where the kernel lies in memory.

shared! {
    /// An address in the kernel's code.
    KernelAddress (pub u64);
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
        const NAME: &'static str = "kernel_address";
        const WORD: &'static str = "kernel symbol";
        // Whoever may load a program or a module into the kernel may do anything on the node.
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::KernelSymbol;
        const LOOK: Look = Look { width: 20, cut: Cut::Right, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(0x1f), text: "[kernel]", json: "\"[kernel]\"", csv: "[kernel]" };

        fn store(self) -> Store {
            Store::Unsigned
        }
        fn compared(self) -> Compared {
            // By its symbol: answers about numbers would show where the kernel lies in memory.
            Compared::Later
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
        by_name!(_, n => if n == 0 { "" } else { "[kernel]" });
    }

    cell! { KernelAddress => Kind::KernelAddress, |v, out| out.unsigned(v.0) }
}
