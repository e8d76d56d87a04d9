//! The user-space half: schema, decoding, merging, and a job's tracer with its options.

mod batch;
mod capability;
mod column;
mod erased;
pub mod escape;
pub mod human;
pub mod json;
mod needs;
mod plan;
mod spec;
mod table;
mod wall;

pub use batch::{Batch, Cursor, Data, Frame, Value};
pub use capability::Capability;
pub use column::{Column, LABELS, Role, Unit, weight};
pub use erased::{Erased, Handle, Malformed, camel, find, nearest};
pub use needs::{Feature, Need, Needs, Requirement};
pub use plan::{Dataset, Plan};
pub use spec::{Spec, SpecError};
pub use table::Table;
pub use wall::Wall;
