//! Rates of counts.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};
use tracers::{Batch, Column, Role, Value};

/// Rates of rows between two states of a map.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// Counts of the state before, by a hash of the row's key: a collision would show a wrong rate, and nothing else.
    before: HashMap<u64, u64>,
    at: Duration,
}

impl Rates {
    /// Returns the rate of each row since the previous state.
    pub(super) fn since_last(
        &mut self,
        columns: &[Column],
        batch: &Batch,
        elapsed: Duration,
    ) -> Vec<f64> {
        let seconds = elapsed.saturating_sub(self.at).as_secs_f64();
        let now: Vec<(u64, u64)> = (0..batch.rows())
            .map(|row| (key(columns, batch, row), count(columns, batch, row)))
            .collect();
        let rate = |(key, count): &(u64, u64)| {
            let grown = count.saturating_sub(self.before.get(key).copied().unwrap_or(0));
            if seconds > 0.0 {
                grown as f64 / seconds
            } else {
                0.0
            }
        };
        let rates = now.iter().map(rate).collect();
        self.before = now.into_iter().collect();
        self.at = elapsed;
        rates
    }
}

/// Returns the average rate of each row over the trace.
pub(super) fn average_rates(columns: &[Column], batch: &Batch, elapsed: Duration) -> Vec<f64> {
    let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    (0..batch.rows())
        .map(|row| count(columns, batch, row) as f64 / seconds)
        .collect()
}

fn count(columns: &[Column], batch: &Batch, row: usize) -> u64 {
    let column = columns.iter().position(|column| column.role == Role::Count);
    match column.map(|column| batch.value(column, row)) {
        Some(Value::Unsigned(n)) => n,
        _ => 0,
    }
}

fn key(columns: &[Column], batch: &Batch, row: usize) -> u64 {
    let mut hash = DefaultHasher::new();
    for (at, column) in columns.iter().enumerate() {
        if column.role != Role::Key {
            continue;
        }
        match batch.value(at, row) {
            Value::Unsigned(n) => n.hash(&mut hash),
            Value::Signed(n) => n.hash(&mut hash),
            Value::Bytes(bytes, _) => bytes.hash(&mut hash),
            Value::List(list) => list.hash(&mut hash),
            // Numbers of frames are the batch's own.
            Value::Frames(ids) => {
                ids.len().hash(&mut hash);
                ids.iter()
                    .for_each(|id| batch.frames.get(*id as usize).hash(&mut hash));
            }
        }
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::*, *};

    #[test]
    fn a_rate_is_what_came_since_the_last_time() {
        let mut rates = Rates::default();
        let columns = count_columns();
        let first = rates.since_last(&columns, &counts(false, 1), Duration::from_secs(1));
        assert_eq!(first[0], 412_070.0);
        let second = rates.since_last(&columns, &counts(false, 3), Duration::from_secs(3));
        assert_eq!(second, [412_070.0, 91_204.0, 0.0]);
    }
}
