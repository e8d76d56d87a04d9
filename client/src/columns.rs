//! Common columns of the rows of several agents, which may be of different versions.

use crate::Schema;
use tracers::{Batch, Column};

/// Returns the columns that all of these schemas have, in the order of the first one.
///
/// Two columns are the same if their names, roles and the storage of their values are equal. Such rows can be in one stream or in one
/// table.
pub fn common(schemas: &[&Schema]) -> Vec<Column> {
    let Some((first, others)) = schemas.split_first() else {
        return Vec::new();
    };
    let columns = first.columns.iter().enumerate();
    columns
        .filter(|(at, _)| {
            let mut others = others.iter();
            others.all(|other| place(other, first, *at).is_some())
        })
        .map(|(_, column)| column)
        .cloned()
        .collect()
}

/// Returns the index of a column of another schema in this schema.
fn place(schema: &Schema, other: &Schema, at: usize) -> Option<usize> {
    let (wanted, sort) = (&other.columns[at], other.sorts[at]);
    let columns = schema.columns.iter().zip(&schema.sorts);
    let mut places = columns.enumerate();
    places
        .find(|(_, (column, has))| {
            column.name == wanted.name && column.role == wanted.role && **has == sort
        })
        .map(|(place, _)| place)
}

/// A projection of the rows of one schema to other columns.
#[derive(Clone, Debug)]
pub struct Projection {
    /// Index of each projected column in the schema.
    places: Vec<usize>,
    /// Columns of the schema that are left out.
    left_out: Vec<String>,
}

impl Projection {
    /// Returns the projection of rows with `schema` to `columns`.
    ///
    /// # Errors
    /// If the schema lacks one of the columns, which the message names.
    pub fn new(columns: &[Column], schema: &Schema) -> Result<Self, String> {
        let find = |wanted: &Column| {
            let mut columns = schema.columns.iter();
            let place =
                columns.position(|column| column.name == wanted.name && column.role == wanted.role);
            place.ok_or_else(|| {
                format!(
                    "its rows have no column \"{}\": its agent is of another version",
                    wanted.name
                )
            })
        };
        let places = columns.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let left_out = (0..schema.columns.len()).filter(|at| !places.contains(at));
        let left_out = left_out.map(|at| schema.columns[at].name.to_string());
        Ok(Self {
            left_out: left_out.collect(),
            places,
        })
    }

    /// Returns the names of the columns that are left out.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Returns the rows with the projected columns.
    pub fn apply(&self, batch: Batch) -> Batch {
        if self.places.iter().copied().eq(0..batch.columns.len()) {
            return batch;
        }
        let columns = self.places.iter().map(|at| batch.columns[*at].clone());
        Batch::from_columns(columns.collect(), batch.frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::v1;
    use tracers::{Data, Value};

    /// Returns a schema of text columns, the last of which has this kind.
    fn schema(names: &[&str], last: i32) -> Schema {
        let tracer = tracers::ALL[0].name();
        let mut columns: Vec<v1::Column> = names
            .iter()
            .map(|name| v1::Column {
                name: (*name).to_owned(),
                kind: v1::Kind::Text.into(),
                ..v1::Column::default()
            })
            .collect();
        columns.last_mut().unwrap().kind = last;
        let schema = v1::Schema {
            tracer: tracer.to_owned(),
            columns,
            ..v1::Schema::default()
        };
        Schema::read(schema, tracer).unwrap()
    }

    fn names(columns: &[Column]) -> Vec<String> {
        columns
            .iter()
            .map(|column| column.name.to_string())
            .collect()
    }

    #[test]
    fn columns_that_one_agent_lacks_or_stores_otherwise_are_not_common() {
        let (text, number) = (v1::Kind::Text.into(), v1::Kind::Unsigned.into());
        let new = schema(&["a", "new", "b", "c"], text);
        let old = schema(&["a", "b", "c"], text);
        assert_eq!(names(&common(&[&new, &old])), ["a", "b", "c"]);
        assert_eq!(names(&common(&[&old, &new])), ["a", "b", "c"]);
        let other = schema(&["a", "b", "c"], number);
        assert_eq!(names(&common(&[&new, &old, &other])), ["a", "b"]);
        // An unknown kind is equal to itself.
        let unknown = schema(&["a", "b", "c"], 99);
        assert_eq!(names(&common(&[&unknown, &unknown])), ["a", "b", "c"]);
        assert!(common(&[]).is_empty());
    }

    #[test]
    fn rows_are_brought_to_the_common_columns_and_a_missing_column_is_named() {
        let text = v1::Kind::Text.into();
        let new = schema(&["a", "new", "b"], text);
        let old = schema(&["a", "b"], text);
        let columns = common(&[&new, &old]);
        let projection = Projection::new(&columns, &new).unwrap();
        assert_eq!(projection.left_out(), ["new"]);
        let mut data: Vec<Data> = new.columns.iter().map(|c| Data::of(c.kind)).collect();
        for (data, text) in data.iter_mut().zip(["x", "y", "z"]) {
            assert!(data.push(Value::Bytes(text.as_bytes(), false)));
        }
        let rows = projection.apply(Batch::from_columns(data, Vec::new()));
        assert_eq!(rows.value(0, 0), Value::Bytes(b"x", false));
        assert_eq!(rows.value(1, 0), Value::Bytes(b"z", false));
        let lacks = Projection::new(&new.columns, &old).unwrap_err();
        assert!(lacks.contains("no column \"new\""), "{lacks}");
    }
}
