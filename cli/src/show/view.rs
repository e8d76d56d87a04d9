//! Views of rows: columns, order and number of rows (`--columns`, `--sort`, `--top`).
//!
//! A view follows from names of columns, their kinds and whether rows are a table. Every output shows rows through it.

#[cfg(test)]
mod tests;

use super::shape::Shape;
use std::{borrow::Cow, cmp::Ordering};
use tracers::{Batch, Column, Data, Form, Role, Store, Value, column_named, nearest};

/// Columns, order and number of rows, as the user gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ViewArgs {
    /// Names of columns; `+NAME` adds to the default columns and `-NAME` hides one.
    pub(crate) columns: Vec<String>,
    /// Names of sort columns; `-NAME` sorts in descending order.
    pub(crate) sort: Vec<String>,
    /// Number of rows of a table.
    pub(crate) top: Option<usize>,
    /// Names of columns whose values are the first frames of stacks.
    pub(crate) root: Vec<String>,
}

/// View of the rows of a dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowView {
    /// Places of the columns that are shown; `None` shows all.
    places: Option<Vec<usize>>,
    /// Places of the columns that are named: an ordinary table shows them even where it usually does not.
    named: Vec<usize>,
    /// Whether these columns are shown in the order given, and no others.
    pub(crate) exact: bool,
    sort: Vec<(usize, Direction)>,
    /// Number of rows.
    pub(crate) top: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Ascending,
    Descending,
}

/// Item of `--columns`.
enum Item<'a> {
    Only(&'a str),
    Add(&'a str),
    Hide(&'a str),
}

impl<'a> Item<'a> {
    fn of(text: &'a str) -> Self {
        match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(name), _) => Self::Add(name),
            (None, Some(name)) => Self::Hide(name),
            (None, None) => Self::Only(text),
        }
    }

    fn name(&self) -> &'a str {
        match self {
            Self::Only(name) | Self::Add(name) | Self::Hide(name) => name,
        }
    }
}

impl From<&crd::Output> for ViewArgs {
    fn from(output: &crd::Output) -> Self {
        Self {
            columns: output.columns.clone(),
            sort: output.sort.clone(),
            top: output.top.map(|top| top as usize),
            root: Vec::new(),
        }
    }
}

impl ViewArgs {
    /// Returns whether the view is the default.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether columns, order or number of rows are selected.
    pub(crate) fn selects_rows(&self) -> bool {
        !self.columns.is_empty() || !self.sort.is_empty() || self.top.is_some()
    }

    /// Returns the places of the columns of `--root`.
    ///
    /// # Errors
    /// If a name is no column whose values can be frames: the error lists these columns.
    pub(crate) fn root_places(&self, dataset: &Shape<'_>) -> Result<Vec<usize>, String> {
        let place = |name: &String| {
            let found = column_named(dataset.columns, name);
            found
                .filter(|at| can_be_root(&dataset.columns[*at]))
                .ok_or_else(|| {
                    format!(
                        "--root: {name:?} is no column of {} that can be a frame; columns: {}",
                        dataset.name,
                        names(&[dataset], can_be_root)
                    )
                })
        };
        self.root.iter().map(place).collect()
    }

    /// Returns these values, with missing ones from `other`.
    pub(crate) fn or(self, other: Self) -> Self {
        let list = |own: Vec<String>, other| if own.is_empty() { other } else { own };
        Self {
            columns: list(self.columns, other.columns),
            sort: list(self.sort, other.sort),
            top: self.top.or(other.top),
            root: list(self.root, other.root),
        }
    }

    /// Returns the view of each dataset. `only` is the number of the dataset if no other is shown.
    ///
    /// # Errors
    /// If a name is a column of no dataset that is shown, or if `--sort` or `--top` is given without a table.
    pub(crate) fn of(
        &self,
        datasets: &[Shape<'_>],
        only: Option<usize>,
    ) -> Result<Vec<RowView>, String> {
        let shown: Vec<&Shape<'_>> = { datasets.iter().enumerate() }
            .filter(|(at, _)| only.is_none_or(|only| only == *at))
            .map(|(_, one)| one)
            .collect();
        let tables: Vec<&Shape<'_>> = { shown.iter().copied() }
            .filter(|one| one.form == Form::Table)
            .collect();
        for text in &self.columns {
            exists("--columns", Item::of(text).name(), &shown)?;
        }
        if tables.is_empty()
            && let Some(first) = shown.first()
        {
            let events = format!(
                "rows of {} are events, which are shown as they arrive",
                first.name
            );
            if !self.sort.is_empty() {
                return Err(format!(
                    "--sort: {events}; use `-o csv` and sort(1) to sort them afterwards"
                ));
            }
            if self.top.is_some() {
                return Err(format!(
                    "--top: {events}; use --max-events N to end the trace after N of them"
                ));
            }
        }
        for text in &self.sort {
            let (name, _) = direction(text);
            let having = exists("--sort", name, &tables)?;
            if let Some(why) = having.iter().find_map(|column| unordered(column)) {
                return Err(format!(
                    "--sort: {name} is {why}, which has no order; columns with an order: {}",
                    names(&tables, |column| unordered(column).is_none())
                ));
            }
        }
        datasets.iter().map(|one| self.of_one(one)).collect()
    }

    fn of_one(&self, dataset: &Shape<'_>) -> Result<RowView, String> {
        let columns = dataset.columns;
        let mut view = RowView::default();
        let all = self.columns.iter().map(|text| Item::of(text));
        let items: Vec<(Item<'_>, usize)> = all
            .filter_map(|item| column_named(columns, item.name()).map(|at| (item, at)))
            .collect();
        let mut each = items.iter();
        view.exact = each.any(|(item, _)| matches!(item, Item::Only(_)));
        let mut places: Vec<usize> = match view.exact {
            true => Vec::new(),
            false => (0..columns.len()).collect(),
        };
        for (item, at) in &items {
            match item {
                Item::Only(_) | Item::Add(_) => {
                    if !places.contains(at) {
                        places.push(*at);
                    }
                    view.named.push(*at);
                }
                Item::Hide(_) => places.retain(|place| place != at),
            }
        }
        if places.is_empty() {
            return Err(format!(
                "--columns: no column of {} is left; columns: {}",
                dataset.name,
                names(&[dataset], |_| true)
            ));
        }
        if !places.iter().copied().eq(0..columns.len()) {
            view.places = Some(places);
        }
        if dataset.form == Form::Table {
            let by = self.sort.iter().map(|text| direction(text));
            view.sort = by
                .filter_map(|(name, direction)| Some((column_named(columns, name)?, direction)))
                .collect();
            view.top = self.top;
        }
        Ok(view)
    }
}

/// Returns whether values of a column can be frames: identities, and not numbers of events.
fn can_be_root(column: &Column) -> bool {
    unordered(column).is_none()
        && match column.role {
            Role::None | Role::Key | Role::Last => true,
            Role::Count | Role::Sum | Role::Max | Role::Min | Role::Gauge | Role::Histogram => {
                false
            }
        }
}

fn direction(text: &str) -> (&str, Direction) {
    match text.strip_prefix('-') {
        Some(name) => (name, Direction::Descending),
        None => (text, Direction::Ascending),
    }
}

/// Returns the columns with this name in all datasets.
fn exists<'a>(flag: &str, name: &str, shown: &[&Shape<'a>]) -> Result<Vec<&'a Column>, String> {
    let found: Vec<&Column> = { shown.iter() }
        .filter_map(|one| column_named(one.columns, name).map(|at| &one.columns[at]))
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let of: Vec<&str> = shown.iter().map(|one| one.name).collect();
    let columns = shown.iter().flat_map(|one| one.columns);
    let near = nearest(name, columns.map(|column| &*column.name));
    let columns = match near {
        Some(near) => format!("did you mean {near}? Columns"),
        None => "columns".to_owned(),
    };
    Err(format!(
        "{flag}: rows of {} have no column {name:?}; {columns}: {}",
        of.join(" and "),
        names(shown, |_| true)
    ))
}

/// Returns the names of columns, each once.
fn names(shown: &[&Shape<'_>], is_meant: impl Fn(&Column) -> bool) -> String {
    let mut names: Vec<&str> = Vec::new();
    for column in shown.iter().flat_map(|one| one.columns) {
        if is_meant(column) && !names.contains(&&*column.name) {
            names.push(&column.name);
        }
    }
    names.join(", ")
}

/// Returns the noun of a column's values, if they have no order.
fn unordered(column: &Column) -> Option<&'static str> {
    match column.kind.store() {
        Store::Unsigned | Store::Signed | Store::Bytes => None,
        Store::Buckets => Some("a histogram"),
        Store::Pairs => Some("a list of counts"),
        Store::Stack => Some("a stack"),
    }
}

/// Sort key of a row. All values of a column are the same variant.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(i128),
    Text(Vec<u8>),
}

fn key(column: &Column, batch: &Batch, at: usize, row: usize) -> Key {
    match batch.value(at, row) {
        value @ Value::Unsigned(number) => match column.kind.is_named() {
            // An agent sends these by their names, and a trace here has them in the same order.
            true => Key::Text(rows::field(column, value)),
            false => Key::Number(number.into()),
        },
        Value::Signed(number) => Key::Number(number.into()),
        Value::Bytes(bytes, _) => Key::Text(bytes.to_vec()),
        // `ViewArgs::of` refuses these.
        Value::List(_) | Value::Frames(_) => Key::Number(0),
    }
}

impl RowView {
    /// Returns the shown columns of a dataset.
    pub(crate) fn columns(&self, all: &[Column]) -> Vec<Column> {
        let shown = |at: usize| Column {
            wide: all[at].wide && !self.named.contains(&at),
            ..all[at].clone()
        };
        match &self.places {
            Some(places) => places.iter().map(|at| shown(*at)).collect(),
            None => (0..all.len()).map(shown).collect(),
        }
    }

    /// Returns whether the view keeps all rows in their order.
    fn keeps_rows(&self, batch: &Batch) -> bool {
        self.sort.is_empty() && self.top.is_none_or(|top| top >= batch.rows())
    }

    /// Returns the shown rows in their order. The sort is stable.
    pub(crate) fn rows(&self, all: &[Column], batch: &Batch) -> Vec<u32> {
        let mut rows: Vec<u32> = (0..batch.rows() as u32).collect();
        if !self.sort.is_empty() {
            let by =
                |at: usize| { rows.iter() }.map(move |row| key(&all[at], batch, at, *row as usize));
            let keys: Vec<(Vec<Key>, Direction)> = { self.sort.iter() }
                .map(|(at, direction)| (by(*at).collect(), *direction))
                .collect();
            rows.sort_by(|a, b| {
                let each = keys.iter().map(|(keys, direction)| {
                    let order = keys[*a as usize].cmp(&keys[*b as usize]);
                    match direction {
                        Direction::Ascending => order,
                        Direction::Descending => order.reverse(),
                    }
                });
                each.fold(Ordering::Equal, Ordering::then)
            });
        }
        rows.truncate(self.top.unwrap_or(usize::MAX));
        rows
    }

    /// Applies the view to a batch with all columns.
    pub(crate) fn apply<'a>(&self, all: &[Column], batch: &'a Batch) -> Cow<'a, Batch> {
        let mut out = match self.keeps_rows(batch) {
            true if self.places.is_none() => return Cow::Borrowed(batch),
            true => None,
            false => {
                let rows = self.rows(all, batch).into_iter();
                let rows: Vec<(u32, u32)> = rows.map(|row| (0, row)).collect();
                Batch::gather(&[batch], &rows)
            }
        };
        if let Some(places) = &self.places {
            let from = out.as_ref().unwrap_or(batch);
            let columns: Vec<Data> = { places.iter() }
                .map(|at| from.columns[*at].clone())
                .collect();
            out = Some(Batch::from_columns(columns, from.frames.clone()));
        }
        match out {
            Some(mut out) => {
                out.dataset = batch.dataset;
                Cow::Owned(out)
            }
            None => Cow::Borrowed(batch),
        }
    }
}
