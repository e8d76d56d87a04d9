//! The tables of a trace, one for each dataset that is one: when each is read, and that only one of it is on its way.

use super::{Gone, Update, Worker};
use crate::{
    Error, labels,
    limits::{LAST_NAMING, NAMING},
    read::Reader,
    source::LastTable,
};
use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::{Duration, Instant},
};
use tracers::Batch;

/// Those of a trace, by the numbers of their datasets; one of events never has a table.
pub(super) struct Tables(Vec<Told>);

/// What was told of a dataset's table.
struct Told {
    last: LastTable,
    /// Whether one was sent.
    any: bool,
    /// Whether the one that was read last had rows.
    had_rows: bool,
    /// Says that the last one has been taken.
    may_send: Receiver<()>,
    /// Whether it has said so.
    may_send_now: bool,
}

impl Tables {
    /// Those of a reader, and what tells that the last one of each has been taken.
    pub(super) fn of(reader: &Reader) -> (Self, Vec<SyncSender<()>>) {
        let tables = reader.last_tables().map(|last| {
            let (taken, may_send) = sync_channel(1);
            let told = Told {
                last,
                any: false,
                had_rows: false,
                may_send,
                may_send_now: true,
            };
            (told, taken)
        });
        let (tables, taken) = tables.unzip();
        (Self(tables), taken)
    }

    /// Whether one is last read before programs are detached.
    pub(super) fn any_attached(&self) -> bool {
        self.0.iter().any(|one| one.last == LastTable::Attached)
    }

    fn numbers(&self, last: LastTable) -> Vec<usize> {
        let all = self.0.iter().enumerate();
        all.filter(|(_, one)| one.last == last)
            .map(|(at, _)| at)
            .collect()
    }
}

impl Worker {
    /// Sends each table at this time whose last one has been taken.
    pub(super) fn tell_tables(&mut self, ending: bool) -> Result<Result<(), Gone>, Error> {
        for at in 0..self.tables.0.len() {
            let told = &mut self.tables.0[at];
            let is_due = match told.last {
                LastTable::None => false,
                LastTable::Attached => !ending,
                LastTable::Detached => true,
            };
            told.may_send_now |= is_due && told.may_send.try_recv().is_ok();
            if is_due && told.may_send_now && self.tell_table(at)?.is_err() {
                return Ok(Err(Gone));
            }
        }
        Ok(Ok(()))
    }

    /// Sends a table at this time, unless everything that it had has just gone: then the trace may be about to end by that, and what
    /// there was is its result.
    fn tell_table(&mut self, at: usize) -> Result<Result<(), Gone>, Error> {
        let table = self.reader.table(at)?;
        let told = &mut self.tables.0[at];
        let had = std::mem::replace(&mut told.had_rows, table.rows() > 0);
        if told.last == LastTable::Attached && had && !told.had_rows {
            return Ok(Ok(()));
        }
        told.any = true;
        told.may_send_now = false;
        let table = self.named(at, table, NAMING)?;
        let sent = self.sender.send(Ok(Update::Table(table)));
        Ok(sent.map_err(|_| Gone))
    }

    /// Names what is in a table, and whose its rows are.
    fn named(&mut self, at: usize, table: Batch, naming: Duration) -> Result<Batch, Error> {
        let deadline = Instant::now() + naming;
        let table = self.stages[at].resolve(table, &self.reader.loaded, deadline)?;
        let mut table = labels::label(&self.selection, table);
        table.dataset = at;
        Ok(self.reader.named_table(at, table))
    }

    /// The last tables that are read before programs are detached; `is_gone` says whether what was selected is.
    pub(super) fn last_attached(&mut self, is_gone: bool) -> Result<Vec<(usize, Batch)>, Error> {
        let mut last = Vec::new();
        for at in self.tables.numbers(LastTable::Attached) {
            let table = self.reader.table(at)?;
            // Where everything is gone, the table before says more than one without rows.
            if table.rows() > 0 || !self.tables.0[at].any || !is_gone {
                last.push((at, table));
            }
        }
        Ok(last)
    }

    /// Those that are read afterwards.
    pub(super) fn last_detached(&mut self) -> Result<Vec<(usize, Batch)>, Error> {
        let numbers = self.tables.numbers(LastTable::Detached);
        numbers
            .into_iter()
            .map(|at| Ok((at, self.reader.table(at)?)))
            .collect()
    }

    /// Sends the last tables.
    pub(super) fn send_last(
        &mut self,
        last: Vec<(usize, Batch)>,
    ) -> Result<Result<(), Gone>, Error> {
        for (at, table) in last {
            let told = &self.tables.0[at];
            if !told.may_send_now && told.may_send.recv().is_err() {
                return Ok(Err(Gone));
            }
            let table = self.named(at, table, LAST_NAMING)?;
            if self.sender.send(Ok(Update::Table(table))).is_err() {
                return Ok(Err(Gone));
            }
        }
        Ok(Ok(()))
    }
}
