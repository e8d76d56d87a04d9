//! Merging of the tables of all nodes: rows with equal keys are merged by the roles of their columns.

use std::sync::Arc;
use tracers::{Batch, Column, Data, Role, Table};

/// The columns of a reader: all, or only some of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    kept: Vec<usize>,
    whole: bool,
}

impl View {
    /// Returns a view with these keys, and with all columns that are not keys. Without names, all keys are included.
    ///
    /// # Errors
    /// If a name is not that of a key column.
    pub(crate) fn new(columns: &[Column], by: &[String]) -> Result<Self, String> {
        let keys = columns.iter().filter(|column| column.role == Role::Key);
        let keys: Vec<&str> = keys.map(|column| &*column.name).collect();
        if let Some(wrong) = by.iter().find(|name| !keys.contains(&name.as_str())) {
            let wrong: String = wrong.chars().take(64).collect();
            return Err(match keys.is_empty() {
                true => {
                    "rows of events are not merged: `by` applies to tracers with tables".to_owned()
                }
                false => format!(
                    "{wrong:?} is not a key column; the key columns are {}",
                    keys.join(", ")
                ),
            });
        }
        let wanted = |column: &Column| {
            by.is_empty() || column.role != Role::Key || by.iter().any(|name| *name == column.name)
        };
        let kept = columns.iter().enumerate();
        let kept: Vec<usize> = kept
            .filter(|(_, column)| wanted(column))
            .map(|(at, _)| at)
            .collect();
        Ok(Self {
            whole: kept.len() == columns.len(),
            kept,
        })
    }

    /// Returns the columns of the view.
    pub(crate) fn columns(&self, columns: &[Column]) -> Vec<Column> {
        self.kept.iter().map(|at| columns[*at].clone()).collect()
    }

    /// Merges tables with all columns. Returns the largest rows first, `most` rows at most.
    pub(crate) fn merge(&self, columns: &[Column], tables: &[Arc<Batch>], most: usize) -> Batch {
        let columns = self.columns(columns);
        let mut table = Table::new(&columns);
        for batch in tables {
            match self.whole {
                true => table.add(batch),
                false => {
                    let kept = self.kept.iter().map(|at| batch.columns[*at].clone());
                    let kept: Vec<Data> = kept.collect();
                    table.add(&Batch::from_columns(kept, batch.frames.clone()));
                }
            }
        }
        let merged = table.batch();
        match merged.rows() > most {
            true => {
                let mut columns = merged.columns;
                columns.iter_mut().for_each(|data| data.truncate(most));
                Batch::from_columns(columns, merged.frames)
            }
            false => merged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracers::{Kind, Value};

    fn column(name: &'static str, kind: Kind, role: Role) -> Column {
        Column::of(name, "", role, false).kind(kind)
    }

    fn columns() -> Vec<Column> {
        vec![
            column("node", Kind::Text, Role::Key),
            column("call", Kind::Text, Role::Key),
            column("count", Kind::Unsigned, Role::Count),
            column("max_ns", Kind::Unsigned, Role::Max),
        ]
    }

    fn table(node: &str, rows: &[(&str, u64, u64)]) -> Arc<Batch> {
        let mut data: Vec<Data> = columns().iter().map(|c| Data::of(c.kind)).collect();
        for (call, count, max) in rows {
            assert!(data[0].push(Value::Bytes(node.as_bytes(), false)));
            assert!(data[1].push(Value::Bytes(call.as_bytes(), false)));
            assert!(data[2].push(Value::Unsigned(*count)));
            assert!(data[3].push(Value::Unsigned(*max)));
        }
        Arc::new(Batch::from_columns(data, Vec::new()))
    }

    #[test]
    fn rows_that_differ_only_in_unrequested_keys_are_merged() {
        let tables = [
            table("a", &[("read", 3, 9), ("open", 2, 1)]),
            table("b", &[("read", 4, 5)]),
        ];
        let columns = columns();
        let all = View::new(&columns, &[]).unwrap();
        assert_eq!(all.merge(&columns, &tables, 100).rows(), 3);
        assert_eq!(all.merge(&columns, &tables, 1).rows(), 1);
        let by = View::new(&columns, &["call".to_owned()]).unwrap();
        let merged = by.merge(&columns, &tables, 100);
        let names = by.columns(&columns);
        let names: Vec<&str> = names.iter().map(|column| &*column.name).collect();
        assert_eq!(names, ["call", "count", "max_ns"]);
        assert_eq!(merged.value(0, 0), Value::Bytes(b"read", false));
        assert_eq!(
            (merged.value(1, 0), merged.value(2, 0)),
            (Value::Unsigned(7), Value::Unsigned(9))
        );
        // The merged table of empty tables has columns of the same storage. The kinds do not determine it: an agent sends system calls by
        // name.
        let calls = vec![column("call", Kind::Syscall, Role::Key)];
        let none = Arc::new(Batch::from_columns(vec![Data::of(Kind::Text)], Vec::new()));
        let merged = View::new(&calls, &[]).unwrap().merge(&calls, &[none], 100);
        assert_eq!(
            (merged.rows(), &merged.columns[0]),
            (0, &Data::of(Kind::Text))
        );
        let wrong = View::new(&columns, &["count".to_owned()]).unwrap_err();
        assert_eq!(
            wrong,
            "\"count\" is not a key column; the key columns are node, call"
        );
    }

    #[test]
    fn gauges_add_up_where_keys_are_left_out_and_a_newer_table_replaces_them() {
        let columns = vec![
            column("node", Kind::Text, Role::Key),
            column("used_bytes", Kind::Unsigned, Role::Gauge),
            column("peak_bytes", Kind::Unsigned, Role::Max),
        ];
        let table = |node: &str, used, peak| {
            let mut data: Vec<Data> = columns.iter().map(|c| Data::of(c.kind)).collect();
            assert!(data[0].push(Value::Bytes(node.as_bytes(), false)));
            assert!(data[1].push(Value::Unsigned(used)));
            assert!(data[2].push(Value::Unsigned(peak)));
            Arc::new(Batch::from_columns(data, Vec::new()))
        };
        let all = View {
            kept: vec![1, 2],
            whole: false,
        };
        let merged = |tables: &[Arc<Batch>]| {
            let merged = all.merge(&columns, tables, 100);
            let number = |column| match merged.value(column, 0) {
                Value::Unsigned(n) => n,
                other => panic!("{other:?}"),
            };
            (merged.rows(), number(0), number(1))
        };
        let (first, second) = (table("a", 30, 90), table("b", 12, 50));
        assert_eq!(merged(&[first, Arc::clone(&second)]), (1, 42, 90));
        // The next table of the first node.
        assert_eq!(merged(&[table("a", 5, 91), second]), (1, 17, 91));
    }
}
