//! Types of a tracer's options, as the kernel's globals hold them. Each option sets one global, and each only narrows what is traced or adds detail.
//!
//! How they are written on the command line, in a TraceJob and in the API: `user/option`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The options of one tracer; `#[params]` implements it.
pub trait Params: 'static {
    /// In the order of the struct.
    #[cfg(feature = "user")]
    const OPTIONS: &'static [crate::Opt];
}

/// A time span. The global is a `u64` of nanoseconds.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Duration(pub u64);

/// An amount of memory or data. The global is a `u64` of bytes.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Size(pub u64);

/// Text of at most `N` bytes of UTF-8, followed by zero bytes where it is shorter. All zero is no text.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Text<const N: usize>(pub [u8; N]);

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

/// At most `N` items; those after the first `len` are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, KnownLayout)]
pub struct List<T, const N: usize> {
    /// The number of items, in 8 bytes so that no item needs padding before it.
    pub len: u64,
    /// The items.
    pub items: [T; N],
}

impl<T: Copy + Default, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self {
            len: 0,
            items: [T::default(); N],
        }
    }
}

/// One of a few words; `#[choice]` implements it for an enum. The global is a `u8`, the variant's number.
pub trait Choice: Copy + 'static {
    /// The words in the order of the variants, each with its prose. The first is the default.
    const WORDS: &'static [(&'static str, &'static str)];
}
