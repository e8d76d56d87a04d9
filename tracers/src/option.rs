//! Options: each sets one kernel global, and each only narrows what is traced or adds detail.

/// The options of one tracer; `#[params]` implements it.
pub trait Params: 'static {
    /// In the order of the struct.
    const OPTIONS: &'static [Opt];
}

/// One option, as its manual, its flag and its schema need it.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// The field's name: `failed_only`. The flag is the same with dashes.
    pub name: &'static str,
    /// The name in a TraceJob: `failedOnly`.
    pub key: &'static str,
    /// The kernel global that it sets: `FAILED_ONLY`.
    pub global: &'static str,
    /// The field's doc comment.
    pub about: &'static str,
    /// Its type and width.
    pub kind: OptKind,
}

/// What an option holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptKind {
    /// On or off; one byte in the kernel.
    Flag,
    /// An unsigned number of this many bytes.
    Number {
        /// 1, 2, 4 or 8.
        bytes: u8,
    },
}

impl OptKind {
    /// The largest value that the kernel global can hold.
    pub const fn max(self) -> u64 {
        match self {
            Self::Flag => 1,
            Self::Number { bytes } => u64::MAX >> (64 - 8 * bytes as u32),
        }
    }

    /// The width of the kernel global.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Flag => 1,
            Self::Number { bytes } => bytes as usize,
        }
    }
}

/// A type that an option can have.
pub trait OptionValue {
    /// Its kind.
    const KIND: OptKind;
}

impl OptionValue for bool {
    const KIND: OptKind = OptKind::Flag;
}

macro_rules! numbers {
    ($($ty:ty),*) => { $(
        impl OptionValue for $ty {
            const KIND: OptKind = OptKind::Number { bytes: size_of::<$ty>() as u8 };
        }
    )* };
}
numbers!(u8, u16, u32, u64);
