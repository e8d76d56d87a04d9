//! What a stream's messages come to, one after the other. It knows no network: messages go in, updates come out.

use super::account::{Beside, account, add_lost};
use agent::{Account, Lost, Update};
use client::{Join, Schema};
use proto::v1::{StreamEventsResponse, stream_events_response::Item};
use std::{collections::VecDeque, time::Duration};
use tracers::{Batch, Role, Value};

/// How much too early a table may come and still be its interval's: an agent reads no more often than each 100 ms.
const EARLY: Duration = Duration::from_millis(50);

/// A reader of a stream.
#[derive(Debug)]
pub(crate) struct Follow {
    schema: Schema,
    /// The parts of a table that have come.
    join: Join,
    /// How often a table is wanted: agents tell it more often than each second only where that is asked for, and never less often.
    interval: Duration,
    /// When the next table is due.
    due: Duration,
    /// A table that came before it was due.
    held: Option<Batch>,
    /// The sequence number that must come next; not known before the first.
    next: Option<u64>,
    /// The books so far, and at last the account.
    told: Account,
    pub(crate) beside: Beside,
    /// Whether the account has come.
    pub(crate) over: bool,
}

impl Follow {
    pub(crate) fn new(schema: Schema, interval: Duration) -> Self {
        Self {
            schema,
            join: Join::default(),
            interval,
            due: interval,
            held: None,
            next: None,
            told: Account::default(),
            beside: Beside::default(),
            over: false,
        }
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Takes a message that came so long after the trace had started.
    ///
    /// # Errors
    /// Where it is not what the API says.
    pub(crate) fn take(
        &mut self,
        message: StreamEventsResponse,
        elapsed: Duration,
        out: &mut VecDeque<Update>,
    ) -> Result<(), String> {
        if self.over {
            return Err("a message after the account".to_owned());
        }
        let StreamEventsResponse { sequence, item, .. } = message;
        if sequence > 0 {
            if self.next.is_some_and(|next| sequence != next) {
                // Left out without a word: the agent does not say how much.
                self.beside.gap(None);
            }
            self.next = Some(sequence.saturating_add(1));
        }
        match item {
            Some(Item::Schema(_)) => return Err("a second schema".to_owned()),
            Some(Item::Batch(told)) => {
                if let Some(batch) = self.join.take(told, &self.schema)? {
                    self.count(&batch);
                    match self.schema.table {
                        true => self.table(batch, elapsed, out),
                        false => out.push_back(Update::Rows(batch)),
                    }
                }
            }
            Some(Item::Lost(lost)) => {
                add_lost(lost, &mut self.told, &mut self.beside)?;
                out.push_back(Update::Progress(self.told.clone()));
            }
            Some(Item::Gap(gap)) => {
                self.join.clear();
                // What several nodes send has no numbers.
                if gap.last_sequence > 0 {
                    self.next = Some(gap.last_sequence.saturating_add(1));
                }
                // Of a table whatever comes next is all of it.
                if !self.schema.table {
                    self.beside.gap(gap.rows);
                }
            }
            Some(Item::Account(told)) => {
                if self.schema.table && self.join.is_missing() {
                    // The last table: nothing replaces it.
                    self.beside.gap(None);
                }
                let account = account(told, &mut self.beside)?;
                out.extend(self.held.take().map(Update::Table));
                out.push_back(Update::Done(account));
                self.over = true;
            }
            Some(Item::Nodes(told)) => self.beside.tell_nodes(told.nodes)?,
            // A place to go on from, or of a kind that only newer agents send: what it says is beside the rows.
            None => {}
        }
        Ok(())
    }

    /// The stream was cut off, and goes on with another one, which begins with its schema and with all losses.
    ///
    /// # Errors
    /// Where that one's rows are others.
    pub(crate) fn resume(&mut self, schema: Schema) -> Result<(), String> {
        let shape = |schema: &Schema| {
            let names = schema.columns.iter().map(|column| column.name.clone());
            (schema.table, names.collect::<Vec<_>>())
        };
        if shape(&schema) != shape(&self.schema) {
            return Err("other columns than before it broke off".to_owned());
        }
        self.schema = schema;
        self.join.clear();
        self.next = None;
        self.told.lost = Lost::default();
        self.told.missed_runs = 0;
        self.beside.lost.clear();
        Ok(())
    }

    fn table(&mut self, batch: Batch, elapsed: Duration, out: &mut VecDeque<Update>) {
        if elapsed + EARLY < self.due {
            self.held = Some(batch);
            return;
        }
        self.held = None;
        while self.due <= elapsed + EARLY {
            self.due += self.interval.max(EARLY * 2);
        }
        out.push_back(Update::Table(batch));
    }

    /// Events that came: what is known of the books where the account never comes.
    fn count(&mut self, batch: &Batch) {
        let counted = self
            .schema
            .columns
            .iter()
            .position(|c| c.role == Role::Count);
        let events = |column: usize| {
            (0..batch.rows()).fold(0u64, |sum, row| match batch.value(column, row) {
                Value::Unsigned(n) => sum.saturating_add(n),
                _ => sum,
            })
        };
        match (self.schema.table, counted) {
            (true, Some(column)) => self.told.delivered = events(column),
            (true, None) => self.told.delivered = batch.rows() as u64,
            (false, _) => {
                self.told.delivered = self.told.delivered.saturating_add(batch.rows() as u64);
            }
        }
    }

    /// What is known where the account never comes, with the last table that came.
    pub(crate) fn cut_off(&mut self, elapsed: Duration) -> (Account, Option<Batch>) {
        self.over = true;
        self.beside.cut_off = true;
        let mut account = self.told.clone();
        let lost = account.lost.stages();
        let all = lost.iter().fold(account.delivered, |sum, (_, events, _)| {
            sum.saturating_add(*events)
        });
        account.produced = all.saturating_add(self.beside.lost_total());
        account.elapsed = elapsed;
        (account, self.held.take())
    }
}

#[cfg(test)]
mod tests;
