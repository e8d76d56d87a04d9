#![allow(unused_imports, reason = "the attribute names them")]
use tracers::{Bool, Cell, Column, Cursor, Event, Role, Source, user_only, zerocopy};
use tracers_macros::event;

/// Rows.
#[event(snapshot)]
pub struct Rows {
    /// Bytes in use.
    #[gauge]
    pub used_bytes: u64,
}

fn main() {}
