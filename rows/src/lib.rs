//! Rows as programs read them: JSON lines and comma-separated values, whose forms are documented in docs/output.md and do not change.
//!
//! How a value looks is its kind's to say; this is where rows become lines. It knows no tracer, and not where rows come from.
#![forbid(unsafe_code)]

mod csv;
mod json;
pub mod text;
mod wall;

pub use csv::{Csv, field};
pub use json::Json;
pub use tracers::{Wall, escape};
pub use wall::wall;
