#![allow(unused_imports, reason = "the attribute names them")]
use tracers::{Bool, Cell, Column, Cursor, Event, Role, Source, user_only, zerocopy};
use tracers_macros::event;

#[event]
pub struct Rows {
    /// Whether.
    pub established: Bool,
}

fn main() {}
