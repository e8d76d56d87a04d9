//! Processing in user space after reading, before rows get their labels: chosen by the kinds of columns, for every source.

use crate::source::copies::CopiedRow;
use crate::{
    Error, Kernel,
    limits::{BATCH_FRAMES, BATCH_ROWS, BATCH_TEXT_BYTES, SYMBOLS_STARTING, TABLE_FRAMES},
    load::Loaded,
};
use kernel_enum::KernelEnum;
use stacks::{Depths, Stacks};
use std::{ffi::OsString, time::Instant};
use tracers::{Batch, Column, Form, Kind, Naming};
pub(crate) use unwound::{Counts as UnwoundCounts, MEMORY_BYTES as UNWOUND_BYTES};

mod kernel_address;
mod kernel_enum;
pub(crate) mod stacks;
mod unwound;

/// The processing of one dataset's columns.
pub(crate) struct Stages {
    form: Form,
    stacks: Stacks,
    addresses: Vec<usize>,
    enums: Vec<(usize, KernelEnum)>,
}

/// Processing of the values of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Unchanged.
    None,
    /// Conversion of a stack of this kind to frames.
    Stack(Of),
    /// Conversion of an address in the kernel to a symbol.
    Address,
    /// Conversion of a number to the name in this kernel's enum.
    Enum(&'static str),
}

/// The kind of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    User,
    Kernel,
}

impl Work {
    fn of(kind: Kind) -> Self {
        match kind.naming() {
            Naming::None => Self::None,
            Naming::UserStack => Self::Stack(Of::User),
            Naming::KernelStack => Self::Stack(Of::Kernel),
            Naming::KernelSymbol => Self::Address,
            Naming::KernelEnum => Self::Enum(kind.of()),
        }
    }
}

/// Returns whether these columns have stacks or addresses to symbolize.
pub(crate) fn names(columns: &[Column]) -> bool {
    columns.iter().any(|column| match Work::of(column.kind) {
        Work::Stack(_) | Work::Address => true,
        Work::None | Work::Enum(_) => false,
    })
}

/// Returns the rows of a batch of events: fewer for rows with stacks, because frames are larger than all other values.
fn batch_rows(stacks: usize, depth: usize) -> usize {
    match stacks {
        0 => BATCH_ROWS,
        stacks => (BATCH_FRAMES / (stacks * depth.max(1))).clamp(16, BATCH_ROWS),
    }
}

impl Stages {
    /// Creates the processing of these columns.
    pub(crate) fn new(columns: &[Column], form: Form, kernel: &Kernel) -> Self {
        let (mut stacks, mut addresses, mut enums) = (Vec::new(), Vec::new(), Vec::new());
        for (at, column) in columns.iter().enumerate() {
            match Work::of(column.kind) {
                Work::None => {}
                Work::Stack(of) => stacks.push((at, of)),
                Work::Address => addresses.push(at),
                Work::Enum(of) => enums.push((at, KernelEnum::of(&kernel.btf, of))),
            }
        }
        Self {
            form,
            stacks: Stacks::new(columns, stacks, &kernel.proc),
            addresses,
            enums,
        }
    }

    /// Reads the symbols of a program that is about to start, in case it ends before it is observed.
    pub(crate) fn know_command(&mut self, argv: &[OsString]) {
        self.stacks.know_command(argv);
    }

    /// Observes the selected processes while they exist.
    pub(crate) fn observe(&mut self, loaded: &Loaded) {
        if self.stacks.columns() > 0 || !self.addresses.is_empty() {
            self.stacks.observe(loaded);
        }
    }

    /// Returns the time of the next observation.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.stacks.due()
    }

    /// Returns whether rows have all their names at once: names of stacks and addresses may follow in a later table.
    pub(crate) fn is_immediate(&self) -> bool {
        self.stacks.columns() == 0 && self.addresses.is_empty()
    }

    /// Returns the maximum rows of a batch of events.
    pub(crate) fn batch_rows(&self, loaded: &Loaded) -> usize {
        batch_rows(self.stacks.columns(), loaded.depth as usize)
    }

    /// Unwinds copied stacks until the deadline. Returns the numbers of the stacks for their rows; `None` for a row that keeps its own.
    pub(crate) fn unwind(
        &mut self,
        rows: &[CopiedRow],
        loaded: &Loaded,
        mut deadline: Instant,
    ) -> Result<Vec<Option<u64>>, Error> {
        if self.stacks.symbolizer().worker().is_none() {
            deadline += SYMBOLS_STARTING;
        }
        self.stacks.unwind(rows, loaded, deadline)
    }

    /// Returns the numbers of copied stacks until now.
    pub(crate) fn unwound(&self) -> UnwoundCounts {
        self.stacks.unwound()
    }

    /// Processes rows. Returns the depths of their user stacks too.
    pub(crate) fn resolve(
        &mut self,
        mut batch: Batch,
        loaded: &Loaded,
        mut deadline: Instant,
    ) -> Result<(Batch, Depths), Error> {
        // Otherwise the first events, and those after a pause, would have no names.
        if self.form == Form::Events && self.stacks.symbolizer().worker().is_none() {
            deadline += SYMBOLS_STARTING;
        }
        // The time in which the kernel's symbols are read is added: the worker may run without them, for the files of targets.
        self.stacks.symbolizer().name_until(Some(deadline));
        for (column, names) in &self.enums {
            names.resolve(&mut batch, *column);
        }
        for column in &self.addresses {
            kernel_address::resolve(&mut batch, *column, self.stacks.symbolizer());
        }
        if self.stacks.columns() == 0 {
            return Ok((batch, Depths::default()));
        }
        let room = match self.form {
            Form::Table => stacks::Room {
                frames: TABLE_FRAMES,
                text_bytes: usize::MAX,
            },
            Form::Events => stacks::Room {
                frames: BATCH_FRAMES,
                text_bytes: BATCH_TEXT_BYTES,
            },
        };
        self.stacks.resolve(batch, loaded, room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_events_with_stacks_are_smaller_the_deeper_these_may_be() {
        assert_eq!(batch_rows(0, 127), BATCH_ROWS);
        let rows = batch_rows(2, 127);
        assert!(rows * 2 * 127 <= BATCH_FRAMES, "{rows}");
        assert!(batch_rows(2, 511) < rows);
        assert_eq!(batch_rows(100, 511), 16, "each batch is worth its message");
    }
}
