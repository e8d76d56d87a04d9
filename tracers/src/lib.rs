//! The catalogue: every tracer's options, columns and points, for both sides of the kernel.
//!
//! The kernel programs use it without `user`; everyone else with it.
//! Nothing here does I/O or knows how a program is loaded.
#![no_std]
#![forbid(unsafe_code)]
#[cfg(feature = "user")]
extern crate std;

#[macro_use]
mod record;

pub mod arch;
mod catalogue;
mod cell;
mod class;
pub mod control;
mod dataset;
mod kind;
pub mod option;
mod point;
mod slot;
mod source;
#[cfg(feature = "user")]
mod user;

pub use catalogue::*;
pub use cell::*;
pub use class::{Class, UnknownClass};
pub use dataset::{Further, further};
pub use kind::*;
pub use option::Params;
pub use point::*;
pub use slot::Slot;
pub use source::*;
pub use tracers_macros::program;
#[cfg(feature = "user")]
pub use user::*;
#[doc(hidden)]
pub use zerocopy;

/// What `#[event]` makes for user space alone.
#[cfg(feature = "user")]
#[doc(hidden)]
#[macro_export]
macro_rules! user_only {
    ($($item:tt)*) => { $($item)* };
}
/// What `#[event]` makes for user space alone.
#[cfg(not(feature = "user"))]
#[doc(hidden)]
#[macro_export]
macro_rules! user_only {
    ($($item:tt)*) => {};
}

/// What a tracer's file needs.
mod prelude {
    #[allow(unused_imports, reason = "not every tracer has further datasets")]
    pub(crate) use crate::dataset::{Further, further};
    #[allow(unused_imports, reason = "not every option is one of these")]
    pub(crate) use crate::option;
    pub(crate) use crate::{cell::*, kind::*, point::*};
    #[allow(unused_imports, reason = "not every option is one of these")]
    pub(crate) use tracers_macros::choice;
    pub(crate) use tracers_macros::{event, params};
}

/// The rows of one dataset, as the kernel writes them; `#[event]` implements it.
pub trait Event:
    zerocopy::FromBytes + zerocopy::Immutable + zerocopy::KnownLayout + Send + Sync + 'static
{
    /// What the rows are: the struct's own doc comment.
    const ABOUT: &'static str;
    /// How rows leave the kernel.
    const SOURCE: Source;
    /// Bytes of a map row that are its key; 0 where rows come from no map.
    const KEY_BYTES: usize;
    /// Appends this struct's columns in field order.
    #[cfg(feature = "user")]
    fn columns(out: &mut std::vec::Vec<Column>);
    /// Appends one row's cells in the same order.
    #[cfg(feature = "user")]
    fn push(&self, out: &mut Cursor<'_>);
}

/// What one tracer is. Its name is that of its module, and the struct that implements this is a row of its first dataset.
pub trait Tracer: Event {
    /// What it takes.
    type Params: Params;
    /// What it reveals or changes: policies and rights go by it.
    const CLASS: Class;
    /// The part of the system that it looks at.
    const FAMILY: Family;
    /// Sets of points, best first; each set alone is enough.
    const POINTS: &'static [&'static [Point]];
    /// Whether a point may be reached where a program of it is at work: by that work itself, or by an interrupt.
    const NESTS: bool = false;
    /// Its further datasets.
    const ALSO: &'static [Further] = &[];
    /// What it costs, in a few words.
    const COST: &'static str;
    /// What comes after `tracejob run NAME`, one string per example.
    const EXAMPLES: &'static [&'static str];
}

/// The part of the system that a tracer looks at; it groups `tracejob list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// System calls, and what programs do through them.
    Syscalls,
    /// Sockets and packets.
    Network,
    /// Faults, allocation, reclaim.
    Memory,
    /// Where threads run and wait.
    Cpu,
}

impl Family {
    /// Returns its name in lists and documents.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Syscalls => "syscalls",
            Self::Network => "network",
            Self::Memory => "memory",
            Self::Cpu => "CPU",
        }
    }
}
