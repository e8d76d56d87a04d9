//! The plan of one trace: what the loader loads and where, and which datasets come out of it.

use crate::{
    Column, Dataset, Filter, Form, Instruction, LABELS, Point, Slot, Source, Split, Unwind, control,
};
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

/// What is left of a filter after the kernel side: a row is delivered where both match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// For rows as they are decoded.
    pub early: Option<Filter>,
    /// For rows with their names, and all columns of labels.
    pub late: Option<Filter>,
}

impl Plan {
    /// Keeps only rows of the dataset of this number that match; the filter's columns are those of [`Dataset::labelled`]. The kernel side tests
    /// events as far as it can. A row of a table is whole only once it has been read.
    ///
    /// # Panics
    /// Where there is no such dataset: a bug of the caller.
    pub fn keep(&mut self, dataset: usize, filter: Filter) -> Left {
        let (early, late) = filter.by_time(LABELS.len());
        let dataset = &self.datasets[dataset];
        let early = match (dataset.source.form(), early) {
            (Form::Events, Some(early)) => {
                let Split { kernel, user } = early.split(&dataset.columns);
                if let Some(code) = kernel {
                    self.slots.insert(Slot::Row, code);
                }
                user
            }
            (Form::Table | Form::Events, early) => early,
        };
        Left { early, late }
    }

    /// Returns whether user stacks may be copied, by the options.
    pub fn copies_stacks(&self) -> bool {
        let unwind = self.global(control::UNWIND);
        unwind.is_some_and(|value| value != [Unwind::Fp as u8])
    }

    /// Returns the maximum bytes of a copied stack; 0 for a tracer that copies none.
    pub fn stack_copy_bytes(&self) -> usize {
        let bytes = self.global(control::STACK_COPY);
        let bytes = bytes.and_then(|value| value.try_into().ok());
        bytes.map_or(0, |value| u64::from_ne_bytes(value) as usize)
    }

    /// Takes user stacks by frame pointers only, where copies cannot be unwound.
    pub fn copy_no_stacks(&mut self) {
        let mut globals = self.globals.iter_mut();
        if let Some((_, value)) = globals.find(|(name, _)| *name == control::UNWIND) {
            *value = [Unwind::Fp as u8].into();
        }
    }

    fn global(&self, name: &str) -> Option<&[u8]> {
        let mut globals = self.globals.iter();
        let (_, value) = globals.find(|(global, _)| *global == name)?;
        Some(value)
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
