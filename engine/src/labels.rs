//! Conversion of targets' labels to columns of their rows.

use crate::select::Selection;
use tracers::{Batch, Data, LABELS, Value};

/// Inserts the labels of each row's target before the other columns.
pub(crate) fn label(selection: &Selection, mut batch: Batch) -> Batch {
    let has = selection.label_columns();
    if !has.contains(&true) {
        return batch;
    }
    let mut columns: Vec<Data> = (0..LABELS.len())
        .filter(|at| has[*at])
        .map(|at| {
            let mut data = Data::of(LABELS[at].kind);
            for target in &batch.targets {
                let label = selection.labels(*target).0[at].as_bytes();
                let pushed = data.push(Value::Bytes(label, false));
                debug_assert!(pushed, "labels are text");
            }
            data
        })
        .collect();
    columns.append(&mut batch.columns);
    Batch::from_columns(columns, batch.frames)
}
