//! Conversion of a stream's messages to updates, without network I/O.

use super::account::{Beside, account, add_lost};
use client::{Join, Schema};
use engine::{Account, Lost, Update};
use proto::v1::{self, StreamEventsResponse, stream_events_response::Item};
use std::{collections::VecDeque, time::Duration};
use tracers::{Batch, Role, Value};

/// Tolerance for early tables: an agent reads at most every 100 ms.
const EARLY: Duration = Duration::from_millis(50);

/// Reader of a stream.
#[derive(Debug)]
pub(crate) struct Follow {
    schema: Schema,
    /// State of each dataset, the first one first.
    places: Vec<Place>,
    /// Requested interval of tables. Agents send tables every second, or more often on request.
    interval: Duration,
    /// Expected sequence number; `None` before the first message.
    next: Option<u64>,
    /// Account so far, and at the end the final account.
    reply: Account,
    pub(crate) beside: Beside,
    /// Whether the account was received.
    pub(crate) over: bool,
}

/// State of a dataset.
#[derive(Debug)]
struct Place {
    /// Parts of a table received so far.
    join: Join,
    /// Time when the next table is due.
    due: Duration,
    /// Table that was received before it was due.
    held: Option<Batch>,
    /// Number of events received.
    delivered: u64,
}

impl Follow {
    pub(crate) fn new(schema: Schema, interval: Duration) -> Self {
        let place = |_| Place {
            join: Join::default(),
            due: interval,
            held: None,
            delivered: 0,
        };
        Self {
            places: (0..=schema.further.len()).map(place).collect(),
            schema,
            interval,
            next: None,
            reply: Account::default(),
            beside: Beside::default(),
            over: false,
        }
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Takes a message, received at this time after the start of the trace.
    ///
    /// # Errors
    /// If the message violates the API.
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
                // Rows are missing without a gap message: their number is unknown.
                self.beside.gap(None);
            }
            self.next = Some(sequence.saturating_add(1));
        }
        match item {
            Some(Item::Schema(_)) => return Err("a second schema".to_owned()),
            Some(Item::Batch(reply)) => self.batch(0, reply, elapsed, out)?,
            Some(Item::Further(reply)) => {
                let dataset = usize::try_from(reply.dataset).unwrap_or(usize::MAX);
                let batch = reply.batch.unwrap_or_default();
                self.batch(dataset.saturating_add(1), batch, elapsed, out)?;
            }
            Some(Item::Lost(lost)) => {
                add_lost(lost, &mut self.reply, &mut self.beside)?;
                out.push_back(Update::Progress(self.reply.clone()));
            }
            Some(Item::Gap(gap)) => {
                self.places.iter_mut().for_each(|place| place.join.clear());
                // What several nodes send has no numbers.
                if gap.last_sequence > 0 {
                    self.next = Some(gap.last_sequence.saturating_add(1));
                }
                // Of a table whatever comes next is all of it.
                if !self.schema.table {
                    self.beside.gap(gap.rows);
                }
            }
            Some(Item::Account(reply)) => {
                let missing = |(at, place): (usize, &Place)| {
                    let is_table = self.dataset(at).is_some_and(|schema| schema.table);
                    is_table && place.join.is_missing()
                };
                if self.places.iter().enumerate().any(missing) {
                    // A last table: nothing replaces it.
                    self.beside.gap(None);
                }
                let account = account(reply, &mut self.beside)?;
                out.extend(self.held().into_iter().map(Update::Table));
                out.push_back(Update::Done(account));
                self.over = true;
            }
            Some(Item::Nodes(reply)) => self.beside.record_nodes(reply.nodes)?,
            // A resume token, or an item of newer agents: neither contains rows.
            None => {}
        }
        Ok(())
    }

    /// Continues with a resumed stream, which begins with its schema and with all losses.
    ///
    /// # Errors
    /// If the rows of the new stream have other columns.
    pub(crate) fn resume(&mut self, schema: Schema) -> Result<(), String> {
        let shape = |schema: &Schema| {
            let names = schema.columns.iter().map(|column| column.name.clone());
            (schema.name.clone(), schema.table, names.collect::<Vec<_>>())
        };
        let shapes = |schema: &Schema| schema.datasets().map(shape).collect::<Vec<_>>();
        if shapes(&schema) != shapes(&self.schema) {
            return Err("the columns changed when the stream was resumed".to_owned());
        }
        self.schema = schema;
        self.places.iter_mut().for_each(|place| place.join.clear());
        self.next = None;
        self.reply.lost = Lost::default();
        self.reply.missed_runs = 0;
        self.beside.lost.clear();
        Ok(())
    }

    /// Returns the schema of a dataset by its number.
    pub(super) fn dataset(&self, at: usize) -> Option<&Schema> {
        self.schema.datasets().nth(at)
    }

    fn batch(
        &mut self,
        at: usize,
        reply: v1::Batch,
        elapsed: Duration,
        out: &mut VecDeque<Update>,
    ) -> Result<(), String> {
        let unknown = || "rows of a dataset that is not in the schema".to_owned();
        let schema = self.schema.datasets().nth(at).ok_or_else(unknown)?;
        let place = self.places.get_mut(at).ok_or_else(unknown)?;
        let Some(mut batch) = place.join.take(reply, schema)? else {
            return Ok(());
        };
        batch.dataset = at;
        place.count(&batch, schema);
        match schema.table {
            true => out.extend(
                place
                    .table(batch, elapsed, self.interval)
                    .map(Update::Table),
            ),
            false => out.push_back(Update::Rows(batch)),
        }
        let delivered = self.places.iter().map(|place| place.delivered);
        self.reply.delivered = delivered.fold(0, u64::saturating_add);
        Ok(())
    }

    /// Returns the tables that were received before they were due.
    fn held(&mut self) -> Vec<Batch> {
        let places = self.places.iter_mut();
        places.filter_map(|place| place.held.take()).collect()
    }

    /// Returns a provisional account and the last tables, if no account was received.
    pub(crate) fn cut_off(&mut self, elapsed: Duration) -> (Account, Vec<Batch>) {
        self.over = true;
        self.beside.cut_off = true;
        let mut account = self.reply.clone();
        let lost = account.lost.stages();
        let all = lost.iter().fold(account.delivered, |sum, (_, events, _)| {
            sum.saturating_add(*events)
        });
        account.produced = all.saturating_add(self.beside.lost_total());
        account.elapsed = elapsed;
        (account, self.held())
    }
}

impl Place {
    /// Returns a table if it is due.
    fn table(&mut self, batch: Batch, elapsed: Duration, interval: Duration) -> Option<Batch> {
        if elapsed + EARLY < self.due {
            self.held = Some(batch);
            return None;
        }
        self.held = None;
        while self.due <= elapsed + EARLY {
            self.due += interval.max(EARLY * 2);
        }
        Some(batch)
    }

    /// Counts received events, for a provisional account.
    fn count(&mut self, batch: &Batch, schema: &Schema) {
        let counted = schema.columns.iter().position(|c| c.role == Role::Count);
        let events = |column: usize| {
            (0..batch.rows()).fold(0u64, |sum, row| match batch.value(column, row) {
                Value::Unsigned(n) => sum.saturating_add(n),
                _ => sum,
            })
        };
        let rows = batch.rows() as u64;
        self.delivered = match (schema.table, counted) {
            (true, Some(column)) => events(column),
            // Of what is not counted by a column the rows of each table that came are known to have been delivered.
            (true, None) => self.delivered.max(rows),
            (false, _) => self.delivered.saturating_add(rows),
        };
    }
}

#[cfg(test)]
mod tests;
