//! The user-space half: schema, decoding, merging, and a job's tracer with its options.

mod batch;
mod capability;
mod column;
mod erased;
mod flags;
mod names;
mod needs;
mod plan;
mod spec;
mod table;

pub use batch::{Batch, Cursor, Data, Frame, Value};
pub use capability::Capability;
pub use column::{Column, Kind, LABELS, Role, Unit};
pub use erased::{Erased, Handle, Malformed, camel, find, nearest};
pub use flags::{access_flags, open_flags};
pub use names::{errno, error_of, syscall};
pub use needs::{Feature, Need, Needs, Requirement};
pub use plan::{Dataset, Plan};
pub use spec::{Spec, SpecError};
pub use table::Table;
