//! The tables of a trace, one for each dataset of that form: the times of their readings, and their places in the queue.
//!
//! The queue holds at most one table of each dataset. A table whose events have not changed is sent again without another reading, so that
//! an idle trace does not walk its maps at each interval.

use super::{Gone, Update, Worker};
use crate::{
    Error, labels,
    limits::{LAST_NAMING, NAMING, RESENT_ROWS},
    read::Reader,
    source::LastTable,
};
use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::{Duration, Instant},
};
use tracers::Batch;

/// The tables of a trace, by the numbers of their datasets; a dataset of events never has a table.
pub(super) struct Tables(Vec<State>);

/// State of the table of one dataset.
struct State {
    last: LastTable,
    /// Whether a table was sent.
    any: bool,
    /// Whether the newest reading had rows.
    had_rows: bool,
    /// Receives a message when the consumer has released the newest table.
    released: Receiver<()>,
    /// Whether the queue has room for a table.
    may_send: bool,
    /// Events of the trace before the newest reading.
    produced: Option<u64>,
    /// The newest table, if it can be sent again.
    unchanged: Option<Batch>,
}

impl Tables {
    /// Returns the tables of a reader, and for each the sender by which the consumer releases it.
    pub(super) fn of(reader: &Reader) -> (Self, Vec<SyncSender<()>>) {
        let tables = reader.last_tables().map(|last| {
            let (release, released) = sync_channel(1);
            let state = State {
                last,
                any: false,
                had_rows: false,
                released,
                may_send: true,
                produced: None,
                unchanged: None,
            };
            (state, release)
        });
        let (tables, release) = tables.unzip();
        (Self(tables), release)
    }

    /// Returns whether the last table of a dataset is read then.
    pub(super) fn any(&self, last: LastTable) -> bool {
        self.0.iter().any(|one| one.last == last)
    }

    fn numbers(&self, last: LastTable) -> Vec<usize> {
        let all = self.0.iter().enumerate();
        all.filter(|(_, one)| one.last == last)
            .map(|(at, _)| at)
            .collect()
    }
}

impl Worker {
    /// Sends each table whose predecessor was released.
    pub(super) fn send_tables(&mut self, ending: bool) -> Result<Result<(), Gone>, Error> {
        // Read before the tables: programs change a row before they count its event.
        let produced = match self.tables.any(LastTable::Detached) {
            true => Some(self.reader.produced()?),
            false => None,
        };
        for at in 0..self.tables.0.len() {
            let state = &mut self.tables.0[at];
            let (is_due, produced) = match state.last {
                LastTable::None => (false, None),
                LastTable::Attached => (!ending, None),
                LastTable::Detached => (true, produced),
            };
            state.may_send |= is_due && state.released.try_recv().is_ok();
            if is_due && state.may_send && self.send_table(at, produced)?.is_err() {
                return Ok(Err(Gone));
            }
        }
        Ok(Ok(()))
    }

    /// Sends a table. `produced` is the number of events until now, if the table changes only with this number.
    ///
    /// A table that has lost all its rows is not sent: the trace may be about to end for that reason, and then the table before is its result.
    fn send_table(&mut self, at: usize, produced: Option<u64>) -> Result<Result<(), Gone>, Error> {
        let state = &mut self.tables.0[at];
        // The same number before two readings: the second one began an interval after the last event. The first one may not have seen that
        // event, because another CPU may see the count of an event before its row.
        let is_settled = produced.is_some() && state.produced == produced;
        state.produced = produced;
        if !is_settled {
            state.unchanged = None;
        }
        if let Some(table) = state.unchanged.clone() {
            return Ok(self.send(at, table));
        }
        let table = self.reader.table(at)?;
        let state = &mut self.tables.0[at];
        let had = std::mem::replace(&mut state.had_rows, table.rows() > 0);
        if state.last == LastTable::Attached && had && !state.had_rows {
            return Ok(Ok(()));
        }
        let table = self.named(at, table, NAMING)?;
        if is_settled && self.stages[at].is_immediate() && table.rows() <= RESENT_ROWS {
            self.tables.0[at].unchanged = Some(table.clone());
        }
        Ok(self.send(at, table))
    }

    fn send(&mut self, at: usize, table: Batch) -> Result<(), Gone> {
        let state = &mut self.tables.0[at];
        state.any = true;
        state.may_send = false;
        let sent = self.sender.send(Ok(Update::Table(table)));
        sent.map_err(|_| Gone)
    }

    /// Adds names and labels to a table.
    fn named(&mut self, at: usize, table: Batch, naming: Duration) -> Result<Batch, Error> {
        let deadline = Instant::now() + naming;
        let (table, depths) = self.stages[at].resolve(table, &self.reader.loaded, deadline)?;
        let mut table = labels::label(&self.selection, table);
        table.dataset = at;
        Ok(self.reader.named_table(at, table, &depths))
    }

    /// Returns the last tables that are read before programs are detached. `is_gone`: all targets have ended.
    pub(super) fn last_attached(&mut self, is_gone: bool) -> Result<Vec<(usize, Batch)>, Error> {
        let mut last = Vec::new();
        for at in self.tables.numbers(LastTable::Attached) {
            let table = self.reader.table(at)?;
            // If all targets have ended, an earlier table with rows is the result.
            if table.rows() > 0 || !self.tables.0[at].any || !is_gone {
                last.push((at, table));
            }
        }
        Ok(last)
    }

    /// Returns the last tables that are read after programs are detached.
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
            let state = &self.tables.0[at];
            if !state.may_send && state.released.recv().is_err() {
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
