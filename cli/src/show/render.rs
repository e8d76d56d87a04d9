//! Rows made visible: as a table, JSON, CSV, or a picture of stacks. Only the columns' kinds and roles decide how.

mod csv;
#[cfg(test)]
mod fixture;
mod grid;
#[cfg(test)]
mod hostile;
mod human;
mod json;
mod layout;
mod pprof;
mod rates;
mod spark;
mod stacks;
mod status;
mod table;
mod viewed;

pub(crate) use self::csv::Csv;
pub(crate) use grid::Palette;
pub(crate) use human::{count, plural, size, span};
pub(crate) use json::Json;
pub(crate) use layout::in_table;
pub(crate) use pprof::Pprof;
pub(crate) use rows::{Wall, escape::escaped};
pub(crate) use stacks::{Flamegraph, Folded, has_stacks};
pub(crate) use status::StatusLine;
pub(crate) use table::Table;
pub(crate) use viewed::Viewed;

use engine::Account;
use std::{io, time::Duration};
use tracers::Batch;

/// What a person who waits is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// The tracer; of a job its nodes.
    pub(crate) what: String,
    /// Since the trace began.
    pub(crate) elapsed: Duration,
    /// Until it ends by itself.
    pub(crate) left: Option<Duration>,
    /// Rows so far.
    pub(crate) rows: u64,
    /// Events lost so far.
    pub(crate) lost: u64,
}

/// Where rows go.
pub(crate) trait Output {
    /// Events, as they come.
    fn rows(&mut self, batch: &Batch, wall: Wall) -> io::Result<()>;
    /// The state of a map so far, which takes the place of the one before.
    fn table(&mut self, batch: &Batch, wall: Wall, elapsed: Duration) -> io::Result<()>;
    /// Whether it shows that time passes.
    fn is_live(&self) -> bool {
        false
    }
    /// Time has passed.
    fn status(&mut self, _status: &Status) -> io::Result<()> {
        Ok(())
    }
    /// The end; `tables` are the last states of maps, of each dataset that it shows and has one. What remains is a sentence for a person,
    /// where there is something to say.
    fn end(
        &mut self,
        tables: &[&Batch],
        wall: Wall,
        account: &Account,
    ) -> io::Result<Option<String>>;
}
