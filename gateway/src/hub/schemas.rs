//! The columns of a job's rows: those that all of its agents have, whichever versions these are of.

use super::{Hub, books::Node};
use client::{Projection, Schema, common};
use proto::v1;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tracers::{Column, Erased, Kind, labels};

/// How long the decision on the columns waits for the schemas of all nodes.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What the agents of a job say of their rows.
pub(super) struct Schemas {
    /// By node, until the columns are decided.
    offered: BTreeMap<u32, Schema>,
    decided: Option<Arc<[Column]>>,
    since: Instant,
}

impl Schemas {
    pub(super) fn new(since: Instant) -> Self {
        Self {
            offered: BTreeMap::new(),
            decided: None,
            since,
        }
    }

    /// Decides on the columns once as many agents as are wanted have sent a schema, once the job is over, or after a time.
    /// Returns whether that was now.
    fn decide(&mut self, desired: usize, over: bool, tracer: &dyn Erased, now: Instant) -> bool {
        let enough = desired > 0 && self.offered.len() >= desired;
        let waits = !enough && !over && now.saturating_duration_since(self.since) < TIMEOUT;
        if self.decided.is_some() || waits {
            return false;
        }
        let offered = std::mem::take(&mut self.offered);
        let offered: Vec<&Schema> = offered.values().collect();
        let columns = match offered.first() {
            // No agent has the job: its readers learn what its rows would be.
            None => labels(tracer.source().form())
                .chain(tracer.columns())
                .collect(),
            Some(first) => match common(&offered) {
                // Agents that have nothing in common: the others are refused.
                columns if columns.is_empty() => first.columns.clone(),
                columns => columns,
            },
        };
        self.decided = Some(columns.into());
        true
    }
}

impl Hub {
    /// Decides on the columns of the job's rows where it is time to.
    pub(super) fn decide(&self) {
        let mut state = self.state();
        let desired = usize::try_from(state.job.status.nodes.desired).unwrap_or(0);
        let over = state.job.over || state.job.going || state.closed.is_some();
        let now = Instant::now();
        if state.schemas.decide(desired, over, self.tracer, now) {
            drop(state);
            self.tell();
        }
    }

    /// The columns of the job's rows, as soon as they are decided.
    pub(crate) async fn columns(&self) -> Arc<[Column]> {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            if let Some(columns) = &self.state().schemas.decided {
                return Arc::clone(columns);
            }
            // The sender is this hub's own.
            let _ = changes.changed().await;
        }
    }

    /// Which column has the time of an event.
    pub(super) fn time_column(&self) -> Option<usize> {
        let state = self.state();
        let columns = state.schemas.decided.as_ref()?;
        columns
            .iter()
            .position(|column| matches!(column.kind, Kind::Time))
    }

    fn offer(&self, node: u32, schema: &Schema) {
        let schemas = &mut self.state().schemas;
        if schemas.decided.is_none() {
            schemas.offered.insert(node, schema.clone());
        }
    }

    /// Reads the schema of an agent, and how its rows get the job's columns.
    ///
    /// # Errors
    /// Where it is of another tracer, or lacks a column that the job's readers have been promised.
    pub(super) async fn adopt(
        &self,
        node: u32,
        sent: v1::Schema,
    ) -> Result<(Schema, Projection), String> {
        let schema = Schema::read(sent, self.tracer.name())?;
        if schema.table != self.table {
            return Err("it sends events where other agents send tables, or the other way round: it is of another version".to_owned());
        }
        self.offer(node, &schema);
        self.decide();
        let projection = Projection::new(&self.columns().await, &schema)?;
        self.change(node, |node| node.leaves_out(projection.left_out()));
        Ok((schema, projection))
    }
}

impl Node {
    /// Notes which columns of its agent are in no row of the job.
    fn leaves_out(&mut self, columns: &[String]) {
        /// Names in a message.
        const NAMED: usize = 8;
        self.left_out = match columns.len() {
            0 => String::new(),
            all => {
                let names = columns[..all.min(NAMED)].join(", ");
                let more = match all.saturating_sub(NAMED) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                format!(
                    "its agent is of another version than others of this job; left out of its rows: {names}{more}"
                )
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(columns: &[&str]) -> Schema {
        let tracer = tracers::ALL[0].name();
        let columns = columns.iter().map(|name| v1::Column {
            name: (*name).to_owned(),
            kind: v1::Kind::Text.into(),
            ..v1::Column::default()
        });
        let schema = v1::Schema {
            tracer: tracer.to_owned(),
            columns: columns.collect(),
            ..v1::Schema::default()
        };
        Schema::read(schema, tracer).unwrap()
    }

    fn names(schemas: &Schemas) -> Vec<String> {
        let columns = schemas.decided.as_ref().unwrap();
        columns
            .iter()
            .map(|column| column.name.to_string())
            .collect()
    }

    #[test]
    fn columns_are_decided_by_all_nodes_and_without_them_after_a_time() {
        let (began, tracer) = (Instant::now(), tracers::ALL[0]);
        let mut schemas = Schemas::new(began);
        schemas.offered.insert(0, schema(&["a", "new", "b"]));
        assert!(!schemas.decide(2, false, tracer, began), "one of two nodes");
        assert!(
            !schemas.decide(0, false, tracer, began),
            "nobody knows how many"
        );
        schemas.offered.insert(1, schema(&["a", "b"]));
        assert!(schemas.decide(2, false, tracer, began));
        assert_eq!(names(&schemas), ["a", "b"]);
        assert!(!schemas.decide(2, false, tracer, began), "once");

        let mut schemas = Schemas::new(began);
        schemas.offered.insert(0, schema(&["a", "new", "b"]));
        assert!(schemas.decide(2, false, tracer, began + TIMEOUT));
        assert_eq!(names(&schemas), ["a", "new", "b"]);

        // Rows of events have no keys, and agents say so.
        for tracer in tracers::ALL {
            let mut schemas = Schemas::new(began);
            assert!(schemas.decide(0, true, *tracer, began));
            let mut columns = labels(tracer.source().form()).collect::<Vec<_>>();
            columns.extend(tracer.columns());
            let sent = client::schema(*tracer, &columns);
            let schema = Schema::read(sent, tracer.name()).unwrap();
            let decided = schemas.decided.as_ref().unwrap();
            Projection::new(decided, &schema).unwrap();
        }

        let mut schemas = Schemas::new(began);
        assert!(schemas.decide(0, true, tracer, began));
        assert_eq!(
            names(&schemas).len(),
            tracers::LABELS.len() + tracer.columns().len()
        );
    }
}
