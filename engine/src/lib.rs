//! The tracing engine of one node: loads, attaches and reads tracers, and keeps their accounts.
//!
//! A [`Trace`] is a running tracer: dropping it detaches everything, and nothing is pinned.
//! This is the only crate that uses aya. It contains no names of tracers, and uses neither a terminal nor the network.

mod account;
mod bpf;
mod btf;
mod capability;
mod clock;
mod cost;
mod cpus;
mod doctor;
mod error;
#[doc(hidden)]
pub mod fault;
#[doc(hidden)]
pub mod fuzzing;
mod governor;
mod kernel;
mod labels;
mod launch;
mod limits;
mod load;
mod memory;
mod objects;
mod point;
mod read;
mod request;
mod requirement;
mod run;
mod select;
#[doc(hidden)]
pub mod selftest;
mod source;
mod stage;

pub use account::{Account, BpfCost, Cost, Ended, Lost, Untraced, UserStacks};
pub use clock::Clock;
pub use doctor::{Check, Verdict};
pub use error::{Error, Reason};
pub use kernel::{Kernel, Support};
pub use memory::memory;
pub use objects::object;
pub use request::{Bounds, Budget, Change, Denied, Labels, Limits, Request, Selector, Target};
pub use requirement::Checked;
pub use run::{Handle, Trace, Update};

/// To be called first in `main` of every program that traces: where this process was started to be a part of a trace
/// (the launcher of its command, the reader of its targets' symbols), it is that part and never returns.
pub fn worker_if_asked() {
    launch::launch_if_asked();
    symbols::worker_if_asked();
}
