//! The API's messages in the catalogue's terms, for both of its ends: what is asked for, schemas, and rows. Whoever answers is not
//! trusted: every index in a batch is in range, or the batch is refused, and no name reaches a terminal unseen.
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

/// Returns the beginning of a peer's text, as it may be printed.
fn shown(text: &str) -> String {
    rows::text::excerpt(text, 128)
}
