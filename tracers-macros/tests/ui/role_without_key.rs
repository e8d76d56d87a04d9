#![allow(unused_imports, reason = "the attribute names them")]
use tracers::{Bool, Cell, Column, Cursor, Event, Role, Source, user_only, zerocopy};
use tracers_macros::event;

/// Rows.
#[event]
pub struct Rows {
    /// Bytes.
    #[sum]
    pub bytes: u64,
}

fn main() {}
