#![allow(unused_imports, reason = "the attribute names them")]
use tracers::{Bool, Cell, Column, Cursor, Event, Role, Source, user_only, zerocopy};
use tracers_macros::event;

/// Rows.
#[event]
pub struct Rows {
    /// Which.
    #[key]
    pub which: u64,
    /// Calls.
    #[count]
    pub calls: u64,
    /// Size of the last.
    #[last]
    pub last_bytes: u64,
}

fn main() {}
