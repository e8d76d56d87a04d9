//! An output whose rows are shown through views: the output itself has the columns of the views.

use super::{Output, Status, Wall};
use crate::show::view::RowView;
use engine::Account;
use std::{borrow::Cow, io, time::Duration};
use tracers::{Batch, Column};

/// An output of rows without widths.
pub(crate) struct Viewed {
    /// Columns of each dataset, with its view.
    views: Vec<(Vec<Column>, RowView)>,
    to: Box<dyn Output>,
}

impl Viewed {
    /// Creates an output of these datasets, by number.
    pub(crate) fn new<'a>(
        datasets: impl Iterator<Item = (&'a [Column], &'a RowView)>,
        to: Box<dyn Output>,
    ) -> Self {
        let views = datasets.map(|(columns, view)| (columns.to_vec(), view.clone()));
        Self {
            views: views.collect(),
            to,
        }
    }
}

/// Applies the view of its dataset to a batch.
fn viewed<'a>(views: &[(Vec<Column>, RowView)], batch: &'a Batch) -> Cow<'a, Batch> {
    match views.get(batch.dataset) {
        Some((columns, view)) => view.apply(columns, batch),
        None => Cow::Borrowed(batch),
    }
}

impl Output for Viewed {
    fn rows(&mut self, batch: &Batch, wall: Wall) -> io::Result<()> {
        self.to.rows(&viewed(&self.views, batch), wall)
    }

    fn table(&mut self, batch: &Batch, wall: Wall, elapsed: Duration) -> io::Result<()> {
        self.to.table(&viewed(&self.views, batch), wall, elapsed)
    }

    fn status(&mut self, status: &Status) -> io::Result<()> {
        self.to.status(status)
    }

    fn end(
        &mut self,
        tables: &[&Batch],
        wall: Wall,
        account: &Account,
    ) -> io::Result<Option<String>> {
        let tables: Vec<Cow<'_, Batch>> = { tables.iter() }
            .map(|table| viewed(&self.views, table))
            .collect();
        let tables: Vec<&Batch> = tables.iter().map(|table| &**table).collect();
        self.to.end(&tables, wall, account)
    }
}
