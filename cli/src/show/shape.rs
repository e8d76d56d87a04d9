//! Datasets as outputs and views need them, whether a tracer or an agent describes them.

use client::Schema;
use tracers::{Column, Dataset, Form};

/// Name, columns and form of a dataset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape<'a> {
    /// Name of the dataset.
    pub(crate) name: &'a str,
    /// Columns of the dataset.
    pub(crate) columns: &'a [Column],
    /// Form of the rows.
    pub(crate) form: Form,
}

impl<'a> Shape<'a> {
    /// Returns the datasets of a tracer.
    pub(crate) fn of(datasets: &'a [Dataset]) -> Vec<Self> {
        let shape = |one: &'a Dataset| Self {
            name: one.name,
            columns: &one.columns,
            form: one.source.form(),
        };
        datasets.iter().map(shape).collect()
    }

    /// Returns the datasets of a schema from an agent.
    pub(crate) fn of_schema(schema: &'a Schema) -> Vec<Self> {
        let shape = |one: &'a Schema| Self {
            name: &one.name,
            columns: &one.columns,
            form: match one.table {
                true => Form::Table,
                false => Form::Events,
            },
        };
        schema.datasets().map(shape).collect()
    }
}
