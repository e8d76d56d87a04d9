//! Rendering of rows as table, JSON, CSV or stacks, by the kinds and roles of columns.

mod csv;
#[cfg(test)]
mod fixture;
mod fold;
mod grid;
#[cfg(test)]
mod hostile;
mod human;
mod json;
mod layout;
mod parts;
mod pprof;
mod rates;
mod spark;
mod stacks;
mod status;
mod table;
mod viewed;

pub(crate) use self::csv::Csv;
pub(crate) use fold::Stacks;
pub(crate) use grid::Palette;
pub(crate) use human::{count, plural, quantity, size, span};
pub(crate) use json::Json;
pub(crate) use layout::in_table;
pub(crate) use pprof::Pprof;
pub(crate) use rows::{Wall, escape::escaped};
pub(crate) use stacks::{Flamegraph, Folded, draw_difference, has_stacks};
pub(crate) use status::StatusLine;
pub(crate) use table::Table;
pub(crate) use viewed::Viewed;

use engine::Account;
use std::{io, time::Duration};
use tracers::Batch;

/// Content of the status line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// Tracer; for a job its nodes.
    pub(crate) what: String,
    /// Time since the start of the trace.
    pub(crate) elapsed: Duration,
    /// Time until the trace ends.
    pub(crate) left: Option<Duration>,
    /// Number of rows so far.
    pub(crate) rows: u64,
    /// Number of events lost so far.
    pub(crate) lost: u64,
}

/// An output of rows.
pub(crate) trait Output {
    /// Writes events.
    fn rows(&mut self, batch: &Batch, wall: Wall) -> io::Result<()>;
    /// Writes the current state of a map, which replaces the previous state.
    fn table(&mut self, batch: &Batch, wall: Wall, elapsed: Duration) -> io::Result<()>;
    /// Returns whether the output changes while time passes.
    fn is_live(&self) -> bool {
        false
    }
    /// Updates the status line.
    fn status(&mut self, _status: &Status) -> io::Result<()> {
        Ok(())
    }
    /// Finishes the output; `tables` are the last states of maps, for each dataset with one. Returns a sentence for the user, if there is
    /// one.
    fn end(
        &mut self,
        tables: &[&Batch],
        wall: Wall,
        account: &Account,
    ) -> io::Result<Option<String>>;
}
