//! The user-space half: schema, decoding, merging, and a job's tracer with its options.

mod batch;
mod capability;
mod code;
mod column;
mod dataset;
mod erased;
pub mod escape;
mod filter;
pub mod human;
pub mod json;
mod needs;
mod option;
mod plan;
pub mod quantity;
mod spec;
mod table;
mod wall;

pub use batch::{Batch, Cursor, Data, Frame, Value};
pub use capability::Capability;
pub use code::{Assembler, Instruction, Jump, Label, Register, Width};
pub use column::{Column, Held, LABELS, Place, Role, Unit, column_named, labels, weight};
pub use dataset::{Dataset, Malformed};
pub use erased::{Erased, Handle, camel, find, nearest, of_events};
pub use filter::{
    Comparison, Filter, Mistake, Network, NotComparable, Operand, Operator, Pattern, Split,
};
pub use needs::{Feature, Need, Needs, Requirement};
pub use option::{
    ChoiceKind, DurationKind, EXACT, Facts, FlagKind, ListKind, Literal, NumberKind, Opt, OptKind,
    OptValue, OptionForm, OptionValue, SizeKind, TextKind,
};
pub use plan::{Left, Plan};
pub use spec::{Draft, Spec, SpecError, named};
pub use table::Table;
pub use wall::Wall;
