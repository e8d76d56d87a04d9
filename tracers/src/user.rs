//! The user-space half: schema, decoding, merging, and a job's tracer with its options.

mod batch;
mod column;
mod erased;
pub mod escape;
pub mod human;
pub mod json;
mod spec;
mod table;
mod wall;

pub use batch::{Batch, Cursor, Data, Frame, Value};
pub use column::{Column, LABELS, Role, Unit};
pub use erased::{Erased, Handle, Malformed, camel, find, nearest, needs};
pub use spec::{Spec, SpecError};
pub use table::Table;
pub use wall::Wall;
