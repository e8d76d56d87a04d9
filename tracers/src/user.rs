//! The user-space half: schema, decoding, merging, and a job's tracer with its options.

mod batch;
mod column;
mod erased;
mod flags;
mod names;
mod option;
pub mod quantity;
mod spec;
mod table;

pub use batch::{Batch, Cursor, Data, Frame, Value};
pub use column::{Column, Kind, LABELS, Role, Unit};
pub use erased::{Erased, Handle, Malformed, camel, find, nearest, needs};
pub use flags::{access_flags, open_flags};
pub use names::{errno, error_of, syscall};
pub use option::{
    ChoiceKind, DurationKind, EXACT, Facts, FlagKind, Form, ListKind, Literal, NumberKind, Opt,
    OptKind, OptValue, OptionValue, SizeKind, TextKind,
};
pub use spec::{Draft, Spec, SpecError, named};
pub use table::Table;
