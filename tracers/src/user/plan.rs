//! The plan of one trace: what the loader loads and where, and which datasets come out of it.

use crate::{Column, Dataset, Filter, Form, Instruction, Point, Slot, Source, Split};
use std::{collections::BTreeMap, vec::Vec};

/// What one trace needs of the kernel, made from the tracer and its options when the trace starts. All that loads, admits and reads works
/// on the plan, so a tracer may decide its points and columns by its options.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The tracer. Its programs are in the object of this name.
    pub tracer: &'static str,
    /// The datasets that the trace produces; bounds on events are the first one's.
    pub datasets: Vec<Dataset>,
    /// Sets of points, best first; each set alone is enough.
    pub points: Vec<Vec<Point>>,
    /// Whether a point may be reached where a program of it is at work: by that work itself, or by an interrupt.
    pub nests: bool,
    /// Values of the object's globals, by their names.
    pub globals: Vec<(&'static str, Vec<u8>)>,
    /// Instructions for places in the programs. A slot that no program of the object has is an error of the load.
    pub slots: BTreeMap<Slot, Vec<Instruction>>,
}

/// The rows of a trace cannot be filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEvents;

impl core::fmt::Display for NoEvents {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a filter takes rows that are events, and these are a table")
    }
}

impl std::error::Error for NoEvents {}

impl Plan {
    /// Keeps only rows of the first dataset that match. The kernel side tests what it can; the answer is what is left to be tested after
    /// reading.
    ///
    /// # Errors
    /// Where its rows are no events.
    pub fn keep(&mut self, filter: Filter) -> Result<Option<Filter>, NoEvents> {
        let columns = match self.datasets.first() {
            Some(first) if first.source.form() == Form::Events => &first.columns,
            Some(_) | None => return Err(NoEvents),
        };
        let Split { kernel, user } = filter.split(columns);
        if let Some(code) = kernel {
            self.slots.insert(Slot::Row, code);
        }
        Ok(user)
    }

    /// Whether a dataset comes this way.
    pub fn has(&self, source: Source) -> bool {
        self.datasets.iter().any(|one| one.source == source)
    }

    /// The columns of all datasets.
    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        self.datasets.iter().flat_map(|one| &one.columns)
    }
}
