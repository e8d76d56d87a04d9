//! Conversion between the API's messages and the catalogue, for clients and servers: options, schemas and rows. Messages are not trusted: a
//! batch with an index out of range is refused, and names are checked before they reach a terminal.
#![forbid(unsafe_code)]

mod batch;
mod columns;
pub mod duration;
mod limits;
mod options;
mod parts;
mod schema;

pub use batch::Join;
pub use columns::{Projection, common};
pub use limits::PART_BYTES;
pub use options::{option, options, spec};
pub use parts::{parts, wire_values};
pub use schema::{Schema, further, schema, schemas};

/// Returns the beginning of a peer's text, with control characters escaped.
fn shown(text: &str) -> String {
    rows::text::excerpt(text, 128)
}
