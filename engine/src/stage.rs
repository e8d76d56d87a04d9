//! Work in user space after reading, before rows get their labels: chosen by the kinds of columns, for every source.

use crate::{
    Error, Kernel,
    limits::{BATCH_FRAMES, BATCH_ROWS, BATCH_TEXT_BYTES, SYMBOLS_STARTING, TABLE_FRAMES},
    load::Loaded,
};
use kernel_enum::KernelEnum;
use stacks::Stacks;
use std::{ffi::OsString, time::Instant};
use tracers::{Batch, Column, Form, Kind, Naming};

mod kernel_address;
mod kernel_enum;
pub(crate) mod stacks;

/// What is done with the columns of one tracer.
pub(crate) struct Stages {
    form: Form,
    stacks: Stacks,
    addresses: Vec<usize>,
    enums: Vec<(usize, KernelEnum)>,
}

/// What the values of a column become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Nothing else: they are as they came.
    None,
    /// The frames of a stack of this kind.
    Stack(Of),
    /// The symbol of an address in the kernel.
    Address,
    /// The name that this kernel's enum of this name has for a number.
    Enum(&'static str),
}

/// Whose stack it is.
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

/// Whether stacks or addresses of these columns are named.
pub(crate) fn names(columns: &[Column]) -> bool {
    columns.iter().any(|column| match Work::of(column.kind) {
        Work::Stack(_) | Work::Address => true,
        Work::None | Work::Enum(_) => false,
    })
}

/// Rows of a batch of events: fewer where they have stacks, whose frames take more than all else.
fn batch_rows(stacks: usize, depth: usize) -> usize {
    match stacks {
        0 => BATCH_ROWS,
        stacks => (BATCH_FRAMES / (stacks * depth.max(1))).clamp(16, BATCH_ROWS),
    }
}

impl Stages {
    /// Of a tracer's columns.
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

    /// A program that is about to run: its names are known even if it is gone before it was looked at.
    pub(crate) fn know_command(&mut self, argv: &[OsString]) {
        self.stacks.know_command(argv);
    }

    /// Looks at the selected processes while they are there.
    pub(crate) fn observe(&mut self, loaded: &Loaded) {
        if self.stacks.columns() > 0 || !self.addresses.is_empty() {
            self.stacks.observe(loaded);
        }
    }

    /// When it is to look again.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.stacks.due()
    }

    /// Most rows of a batch of events.
    pub(crate) fn batch_rows(&self, loaded: &Loaded) -> usize {
        batch_rows(self.stacks.columns(), loaded.depth as usize)
    }

    /// Does its work with some rows.
    pub(crate) fn resolve(
        &mut self,
        mut batch: Batch,
        loaded: &Loaded,
        mut deadline: Instant,
    ) -> Result<Batch, Error> {
        // Else the first events, and each after a pause, would have no names.
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
            return Ok(batch);
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
