//! Kinds of columns: how the values of a field lie in a record, who chooses them, and how they are shown and sent.
//!
//! A new kind is one file in `kind/` and one line in the list below.
//! The file has the field's type, where kernel programs write one, and `This`, which implements [`Form`].
//! `Form` has no defaults, so a kind with a part missing does not compile. A new kind's name belongs into docs/output.md and docs/grpc.md,
//! which a test checks.

#[cfg(feature = "user")]
mod form;
#[cfg(feature = "user")]
mod plain;

#[cfg(feature = "user")]
pub use form::{
    Basic, Beside, BitNames, Compared, Cut, EachName, Look, Naming, Shown, Store, Tone, Trust,
};

#[cfg(feature = "user")]
use form::Form;

macro_rules! kinds {
    ($($module:ident: $name:ident $({ $($field:ident: $ty:ty),* })?,)*) => {
        $(
            mod $module;
            #[allow(unused_imports, unreachable_pub, reason = "not every kind has a type of its own for fields")]
            pub use $module::*;
        )*

        /// What a column's values are. Each kind is described in its own file, `kind/NAME.rs`.
        #[cfg(feature = "user")]
        #[allow(missing_docs, reason = "each kind is described in its own file")]
        #[derive(Clone, Copy, Debug)]
        pub enum Kind { $($name $({ $($field: $ty),* })?),* }

        #[cfg(feature = "user")]
        impl Kind {
            /// The kind of this wire name; `None` for a name that this version does not have.
            /// `unit` is the column's.
            pub fn named(name: &str, unit: Unit) -> Option<Self> {
                $(if name == <$module::This as Form>::NAME {
                    let $module::This $({ $($field),* })? = <$module::This as Form>::sent(unit)?;
                    return Some(Self::$name $({ $($field),* })?);
                })*
                None
            }

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name { .. } => <$module::This as Form>::NAME,)* }
            }

            /// The word that `describe` and the documentation have for it.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name { .. } => <$module::This as Form>::WORD,)* }
            }

            /// What its values are of, beyond the word: the unit of a histogram, the name of an enum. Empty where the word says all.
            pub fn of(self) -> &'static str {
                match self { $(Self::$name $({ $($field),* })? => Form::of($module::This $({ $($field),* })?),)* }
            }

            /// Who chooses the text of its values.
            pub fn trust(self) -> Trust {
                match self { $(Self::$name { .. } => <$module::This as Form>::TRUST,)* }
            }

            /// What gives its values names after they have been read.
            pub fn naming(self) -> Naming {
                match self { $(Self::$name { .. } => <$module::This as Form>::NAMING,)* }
            }

            /// How tables lay it out.
            pub fn look(self) -> Look {
                match self { $(Self::$name { .. } => <$module::This as Form>::LOOK,)* }
            }

            /// The column that follows it in CSV.
            pub fn beside(self) -> Beside {
                match self { $(Self::$name { .. } => <$module::This as Form>::BESIDE,)* }
            }

            /// How values are stored when they leave the kernel.
            pub fn store(self) -> Store {
                match self { $(Self::$name $({ $($field),* })? => Form::store($module::This $({ $($field),* })?),)* }
            }

            /// How conditions write and compare its values.
            pub fn compared(self) -> Compared {
                match self { $(Self::$name $({ $($field),* })? => Form::compared($module::This $({ $($field),* })?),)* }
            }

            /// The form in which clients of every version can show it; `None` where that is not known either.
            pub fn basic(self) -> Option<Basic> {
                match self { $(Self::$name $({ $($field),* })? => Form::basic($module::This $({ $($field),* })?),)* }
            }

            /// Appends a value as a table shows it: on one line, escaped.
            pub fn text(self, value: Value<'_>, shown: Shown<'_>, out: &mut String) -> Tone {
                match self { $(Self::$name $({ $($field),* })? => $module::This $({ $($field),* })?.text(value, shown, out),)* }
            }

            /// Appends a value as JSON, and after it whatever else is to be said of it under a key of its own.
            #[inline]
            pub fn json(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
                match self { $(Self::$name $({ $($field),* })? => $module::This $({ $($field),* })?.json(value, shown, out),)* }
            }

            /// Appends a value as a field of CSV, not quoted.
            #[inline]
            pub fn csv(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
                match self { $(Self::$name $({ $($field),* })? => $module::This $({ $($field),* })?.csv(value, shown, out),)* }
            }

            /// Every kind that a schema may name.
            pub fn all() -> impl Iterator<Item = Self> {
                let names = [$(<$module::This as Form>::NAME),*].into_iter();
                names.filter_map(|name| Self::named(name, Unit::None))
            }

            /// Every kind that a schema may name, each with a value of it and the forms of that value.
            #[cfg(test)]
            pub(crate) fn samples() -> Vec<(Self, form::Sample)> {
                let mut all = Vec::new();
                $(if let Some(kind) = Self::named(<$module::This as Form>::NAME, Unit::Nanoseconds) {
                    all.push((kind, <$module::This as Form>::SAMPLE));
                })*
                all
            }

            /// How many kinds there are.
            #[cfg(test)]
            pub(crate) const COUNT: usize = [$(stringify!($name)),*].len();
        }
    };
}

#[cfg(feature = "user")]
use crate::{Unit, Value};
#[cfg(feature = "user")]
use std::{string::String, vec::Vec};

kinds! {
    args: Args,
    boolean: Bool,
    capability: Capability,
    device: Device,
    errors: Errors,
    flags: Flags { names: BitNames },
    ip: Ip,
    kernel_address: KernelAddress,
    kernel_enum: KernelEnum { of: &'static str },
    kernel_stack: KernelStack,
    log2: Log2 { unit: Unit },
    octal: Octal,
    outcome: Outcome,
    path: Path,
    process: Process,
    signal: Signal,
    signed: Signed,
    syscall: Syscall,
    tcp_state: TcpState,
    text: Text,
    thread_state: ThreadState,
    time: Time,
    unknown: Unknown { basic: Option<Basic> },
    unsigned: Unsigned,
    user_stack: UserStack,
    wait_reason: WaitReason,
}

#[cfg(feature = "user")]
impl Kind {
    /// Whether its values are the frames of a stack.
    pub fn is_stack(self) -> bool {
        self.store() == Store::Stack
    }

    /// Whether its values are numbers here and their names elsewhere: a client needs no table of them.
    pub fn is_named(self) -> bool {
        let sent = self.basic().map(Basic::store);
        self.store() == Store::Unsigned && sent == Some(Store::Bytes)
    }

    /// Whether its values are histograms, and of what.
    pub fn histogram(self, column: &crate::Column) -> Option<Unit> {
        (self.store() == Store::Buckets).then(|| column.unit())
    }
}

#[cfg(all(test, feature = "user"))]
mod tests;
