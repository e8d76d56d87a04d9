//! What the caller said of targets becomes columns of their rows.

use crate::{Request, Target, select::Selection};
use tracers::{Batch, Column, Data, LABELS, Role, Source, Value};

/// Which of [`LABELS`] any of these targets has.
pub(crate) fn present(targets: &[Target]) -> [bool; LABELS.len()] {
    let mut present = [false; LABELS.len()];
    for target in targets {
        for (has, label) in present.iter_mut().zip(&target.labels.0) {
            *has |= !label.is_empty();
        }
    }
    present
}

/// The columns of a trace's rows: its tracer's, and before them the labels that any of its targets has.
pub fn columns(request: &Request) -> Vec<Column> {
    let tracer = request.spec.tracer();
    let source = tracer.source();
    let labels = LABELS
        .iter()
        .zip(present(&request.targets))
        .filter(|(_, has)| *has);
    let labels = labels.map(|(label, _)| match source {
        // Rows that are events have no keys.
        Source::Ring => Column {
            role: Role::None,
            ..*label
        },
        Source::Map => *label,
    });
    labels.chain(tracer.columns()).collect()
}

/// The same of rows.
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
