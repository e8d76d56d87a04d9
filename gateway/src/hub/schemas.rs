//! The columns of a job's rows: the columns that all of its agents have, because agents may be of different versions.

use super::{Hub, accounts::Node};
use client::{Projection, Schema, common};
use proto::v1;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tracers::{Column, Erased, Form, Kind, labels};

/// Maximum time for which the decision on the columns waits for the schemas of all nodes.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Schemas of a job's agents.
pub(super) struct Schemas {
    /// Schemas by node, until the columns are decided.
    offered: BTreeMap<u32, Schema>,
    decided: Option<Arc<Columns>>,
    since: Instant,
}

/// The columns of a job's rows.
#[derive(Debug)]
pub(crate) struct Columns {
    /// Columns of the first dataset.
    pub(crate) first: Arc<[Column]>,
    /// Further datasets with tables. Events of further datasets are not merged by time.
    pub(crate) further: Vec<Further>,
}

/// A further dataset.
#[derive(Debug)]
pub(crate) struct Further {
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
}

/// Projections from an agent's columns to the job's.
pub(super) struct Projections {
    pub(super) first: Projection,
    /// For each further dataset of the agent, its index among the job's, and its projection.
    pub(super) further: Vec<Option<(usize, Projection)>>,
}

impl Schemas {
    pub(super) fn new(since: Instant) -> Self {
        Self {
            offered: BTreeMap::new(),
            decided: None,
            since,
        }
    }

    /// Decides on the columns after all desired agents have sent a schema, after the end of the job, or after a timeout. Returns whether it
    /// decided.
    fn decide(&mut self, desired: usize, over: bool, tracer: &dyn Erased, now: Instant) -> bool {
        let enough = desired > 0 && self.offered.len() >= desired;
        let waits = !enough && !over && now.saturating_duration_since(self.since) < TIMEOUT;
        if self.decided.is_some() || waits {
            return false;
        }
        let offered = std::mem::take(&mut self.offered);
        let offered: Vec<&Schema> = offered.values().collect();
        let columns = match offered.first() {
            // No agent has the job: its readers receive the catalogue's columns.
            None => of_catalogue(tracer),
            Some(first) => {
                let columns = match common(&offered) {
                    // The agents have no column in common: all but the first are refused.
                    columns if columns.is_empty() => first.columns.clone(),
                    columns => columns,
                };
                let further = first.further.iter();
                Columns {
                    first: columns.into(),
                    further: further.filter_map(|one| in_common(one, &offered)).collect(),
                }
            }
        };
        self.decided = Some(columns.into());
        true
    }
}

fn of_catalogue(tracer: &dyn Erased) -> Columns {
    let with_labels = |columns, form| labels(form).chain(columns).collect::<Vec<_>>();
    let further = tracer.datasets().into_iter().skip(1);
    let further = further.filter(|one| one.source.form() == Form::Table);
    let further = further.map(|one| Further {
        name: one.name.to_owned(),
        columns: with_labels(one.columns, Form::Table),
    });
    Columns {
        first: with_labels(tracer.columns(), tracer.source().form()).into(),
        further: further.collect(),
    }
}

/// Returns a further dataset with the columns that all agents have; `None` if an agent does not have it as a table.
fn in_common(of: &Schema, offered: &[&Schema]) -> Option<Further> {
    let of_agent = |schema: &&Schema| -> Option<Schema> {
        let mut further = schema.further.iter();
        further
            .find(|one| one.name == of.name && one.table)
            .cloned()
    };
    let each = offered.iter().map(of_agent).collect::<Option<Vec<_>>>()?;
    let columns = common(&each.iter().collect::<Vec<_>>());
    (!columns.is_empty()).then(|| Further {
        name: of.name.clone(),
        columns,
    })
}

impl Hub {
    /// Decides on the columns of the job's rows, if that is possible now.
    pub(super) fn decide(&self) {
        let mut state = self.state();
        let desired = usize::try_from(state.job.status.nodes.desired).unwrap_or(0);
        let over = state.job.over || state.job.deleted || state.closed.is_some();
        let now = Instant::now();
        if state.schemas.decide(desired, over, self.tracer, now) {
            drop(state);
            self.notify();
        }
    }

    /// Waits for the columns of the job's rows.
    pub(crate) async fn columns(&self) -> Arc<Columns> {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            if let Some(columns) = &self.state().schemas.decided {
                return Arc::clone(columns);
            }
            // This hub owns the sender.
            let _ = changes.changed().await;
        }
    }

    /// Returns the index of the column with the time of an event.
    pub(super) fn time_column(&self) -> Option<usize> {
        let state = self.state();
        let columns = state.schemas.decided.as_ref()?;
        let mut columns = columns.first.iter();
        columns.position(|column| matches!(column.kind, Kind::Time))
    }

    fn offer(&self, node: u32, schema: &Schema) {
        let schemas = &mut self.state().schemas;
        if schemas.decided.is_none() {
            schemas.offered.insert(node, schema.clone());
        }
    }

    /// Reads the schema of an agent. Returns it with the projections to the job's columns.
    ///
    /// # Errors
    /// If the schema is that of another tracer, is sent without the job's filter, or lacks a decided column.
    pub(super) async fn adopt(
        &self,
        node: u32,
        sent: v1::Schema,
    ) -> Result<(Schema, Projections), String> {
        if sent.filter != self.state().job.filter {
            return Err("its agent does not apply spec.output.where, so its rows are left out: upgrade the agent of this node".to_owned());
        }
        let schema = Schema::read(sent, self.tracer.name())?;
        if schema.table != self.table {
            return Err("it sends events where other agents send tables, or the other way round: it is of another version".to_owned());
        }
        self.offer(node, &schema);
        self.decide();
        let columns = self.columns().await;
        let projections = Projections::new(&columns, &schema)?;
        self.change(node, |node| {
            node.leaves_out(&projections.left_out(&schema));
            node.lacks(&projections.lacking(&columns));
        });
        Ok((schema, projections))
    }
}

impl Projections {
    fn new(columns: &Columns, schema: &Schema) -> Result<Self, String> {
        let further = schema.further.iter().map(|own| {
            let mut all = columns.further.iter();
            let at = all.position(|one| own.table && one.name == own.name)?;
            let projection = Projection::new(&columns.further[at].columns, own).ok()?;
            Some((at, projection))
        });
        Ok(Self {
            first: Projection::new(&columns.first, schema)?,
            further: further.collect(),
        })
    }

    /// Returns the columns and datasets of an agent that are in no row of the job.
    fn left_out(&self, schema: &Schema) -> Vec<String> {
        let mut out = self.first.left_out().to_vec();
        for (own, to) in schema.further.iter().zip(&self.further) {
            match to {
                Some((_, projection)) => {
                    let columns = projection.left_out().iter();
                    out.extend(columns.map(|column| format!("{}.{column}", own.name)));
                }
                None => out.push(format!("dataset {}", own.name)),
            }
        }
        out
    }

    /// Returns the datasets of the job that an agent does not send.
    fn lacking(&self, columns: &Columns) -> Vec<String> {
        let all = columns.further.iter().enumerate();
        let is_sent = |at: usize| self.further.iter().flatten().any(|(to, _)| *to == at);
        let lacking = all.filter(|(at, _)| !is_sent(*at));
        lacking.map(|(_, one)| one.name.clone()).collect()
    }
}

impl Node {
    /// Records the columns of the agent that are in no row of the job.
    fn leaves_out(&mut self, columns: &[String]) {
        /// Maximum number of names in a message.
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
                    "the agent's version differs from that of other agents of this job; omitted from its rows: {names}{more}"
                )
            }
        };
    }
}

impl Node {
    /// Records the datasets of the job that have no rows of the agent.
    fn lacks(&mut self, datasets: &[String]) {
        if !datasets.is_empty() {
            let names = datasets.join(", ");
            self.left_out = format!(
                "the agent's version differs from that of other agents of this job; it has no rows in: {names}"
            );
        }
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
        { columns.first.iter() }
            .map(|column| column.name.to_string())
            .collect()
    }

    /// Returns a schema with further tables, each with these columns.
    fn with_further(further: &[(&str, &[&str])]) -> Schema {
        let mut first = schema(&["a"]);
        first.further = { further.iter() }
            .map(|(name, columns)| {
                let mut further = schema(columns);
                further.name = (*name).to_owned();
                further.table = true;
                further
            })
            .collect();
        first
    }

    #[test]
    fn further_datasets_are_those_of_all_agents_and_a_node_names_what_it_lacks() {
        let (began, tracer) = (Instant::now(), tracers::ALL[0]);
        let mut schemas = Schemas::new(began);
        let newer = with_further(&[("mine", &["x"]), ("both", &["k", "new", "n"])]);
        let older = with_further(&[("both", &["k", "n"])]);
        schemas.offered.insert(0, newer.clone());
        schemas.offered.insert(1, older.clone());
        assert!(schemas.decide(2, false, tracer, began));
        let decided = schemas.decided.unwrap();
        let [both] = &decided.further[..] else {
            panic!("{decided:?}");
        };
        let names: Vec<&str> = both.columns.iter().map(|one| &*one.name).collect();
        assert_eq!((both.name.as_str(), names), ("both", vec!["k", "n"]));
        let of_newer = Projections::new(&decided, &newer).unwrap();
        assert_eq!(of_newer.left_out(&newer), ["dataset mine", "both.new"]);
        assert_eq!(of_newer.further[1].as_ref().map(|(to, _)| *to), Some(0));
        assert!(of_newer.lacking(&decided).is_empty());
        let without = with_further(&[]);
        let of_it = Projections::new(&decided, &without).unwrap();
        assert_eq!(of_it.lacking(&decided), ["both"]);
    }

    #[test]
    fn columns_are_decided_by_all_nodes_and_without_them_after_a_time() {
        let (began, tracer) = (Instant::now(), tracers::ALL[0]);
        let mut schemas = Schemas::new(began);
        schemas.offered.insert(0, schema(&["a", "new", "b"]));
        assert!(!schemas.decide(2, false, tracer, began), "one of two nodes");
        assert!(
            !schemas.decide(0, false, tracer, began),
            "the number of nodes is unknown"
        );
        schemas.offered.insert(1, schema(&["a", "b"]));
        assert!(schemas.decide(2, false, tracer, began));
        assert_eq!(names(&schemas), ["a", "b"]);
        assert!(!schemas.decide(2, false, tracer, began), "once");

        let mut schemas = Schemas::new(began);
        schemas.offered.insert(0, schema(&["a", "new", "b"]));
        assert!(schemas.decide(2, false, tracer, began + TIMEOUT));
        assert_eq!(names(&schemas), ["a", "new", "b"]);

        // Events have no keys, and agents report that.
        for tracer in tracers::ALL {
            let mut schemas = Schemas::new(began);
            assert!(schemas.decide(0, true, *tracer, began));
            let mut columns = labels(tracer.source().form()).collect::<Vec<_>>();
            columns.extend(tracer.columns());
            let sent = client::schema(*tracer, &columns);
            let schema = Schema::read(sent, tracer.name()).unwrap();
            let decided = schemas.decided.as_ref().unwrap();
            Projection::new(&decided.first, &schema).unwrap();
        }

        let mut schemas = Schemas::new(began);
        assert!(schemas.decide(0, true, tracer, began));
        assert_eq!(
            names(&schemas).len(),
            tracers::LABELS.len() + tracer.columns().len()
        );
    }
}
