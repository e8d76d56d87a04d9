//! A value of one of the kernel's enums. Its numbers differ between kernels, so a stage after reading replaces them by the names that the
//! types of the node's kernel (BTF) have for them. A number that has no name stays one.

/// Makes the type of a field that holds a value of an enum of the kernel, as the running kernel numbers it:
/// `kernel_enum! { /// Why a packet was dropped. DropReason of "skb_drop_reason" }`.
#[allow(unused_macros, reason = "for tracers' files, of which none may need it")]
macro_rules! kernel_enum {
    ($(#[$meta:meta])* $name:ident of $of:literal) => {
        shared! { $(#[$meta])* $name (pub u32); }

        #[cfg(feature = "user")]
        impl crate::Cell for $name {
            fn columns(base: crate::Column, out: &mut std::vec::Vec<crate::Column>) {
                out.push(base.kind(crate::Kind::KernelEnum { of: $of }));
            }
            fn push(&self, out: &mut crate::Cursor<'_>) {
                out.unsigned(self.0.into());
            }
        }
    };
}
#[allow(unused_imports, reason = "for tracers' files, of which none may need it")]
pub(crate) use kernel_enum;

#[cfg(feature = "user")]
pub(super) use user::This;

#[cfg(feature = "user")]
mod user {
    use super::super::{form::*, plain::*};
    use std::format;

    /// The kind.
    #[derive(Clone, Copy)]
    pub(in crate::kind) struct This {
        /// The enum's name in the kernel's types; of a column from elsewhere, which has the names themselves, it is empty.
        pub(in crate::kind) of: &'static str,
    }

    impl Form for This {
        const NAME: &'static str = "kernel_enum";
        const WORD: &'static str = "kernel enum";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::KernelEnum;
        const LOOK: Look = Look { width: 18, cut: Cut::Right, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::Unsigned(2), text: "2", json: "\"2\"", csv: "2" };

        fn store(self) -> Store {
            Store::Unsigned
        }
        fn compared(self) -> Compared {
            Compared::Later
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Text)
        }
        fn of(self) -> &'static str {
            self.of
        }
        fn sent(_: Unit) -> Option<Self> {
            Some(Self { of: "" })
        }
        by_name!(_, n => format!("{n}"));
    }
}

#[cfg(all(test, feature = "user"))]
#[allow(unreachable_pub, reason = "the macro makes fields of tracers, which are public")]
mod tests {
    use crate::{Batch, Cell as _, Column, Role, Value};
    use std::vec::Vec;

    kernel_enum! {
        /// Why.
        Reason of "skb_drop_reason"
    }

    #[test]
    fn a_field_of_an_enum_is_its_number_and_its_kind_names_the_enum() {
        let mut columns = Vec::new();
        Reason::columns(Column::of("reason", "Why.", Role::Key, false), &mut columns);
        assert_eq!(columns[0].kind.of(), "skb_drop_reason");
        let mut batch = Batch::new(&columns);
        assert!(batch.append(&[], |cursor| Reason(7).push(cursor)));
        assert_eq!(batch.value(0, 0), Value::Unsigned(7));
    }
}
