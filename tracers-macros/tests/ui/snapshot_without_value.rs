#![allow(unused_imports, reason = "the attribute names them")]
use tracers::{Bool, Cell, Column, Cursor, Event, Role, Source, user_only, zerocopy};
use tracers_macros::event;

/// Rows.
#[event(snapshot)]
pub struct Rows {
    /// Which.
    #[key]
    pub which: u64,
}

fn main() {}
