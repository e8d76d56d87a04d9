#![allow(unused_imports, reason = "the attribute names them")]
use tracers::{Bool, Cell, Column, Cursor, Event, Role, Source, user_only, zerocopy};
use tracers_macros::event;

/// Rows.
#[event]
pub struct Rows {
    /// Time from the first SYN to the outcome.
    pub latency_ns: u64,
    /// Remote port.
    pub dport: u16,
    /// Whether it was.
    pub established: Bool,
}

fn main() {}
