//! What the caller said of targets becomes columns of their rows.

use crate::{Request, Target, select::Selection};
use std::array;
use tracers::{Batch, Column, Data, LABELS, Value, labels};

/// Which of [`LABELS`] a target has.
pub(crate) fn present(target: &Target) -> [bool; LABELS.len()] {
    target.labels.0.each_ref().map(|label| !label.is_empty())
}

/// Which of them a trace's rows have.
pub(crate) fn wanted(request: &Request) -> [bool; LABELS.len()] {
    let targets = request.targets.iter().map(present);
    targets.fold(request.label_columns, |all, one| {
        array::from_fn(|at| all[at] || one[at])
    })
}

/// The columns of a trace's rows: its tracer's, and before them the labels.
pub fn columns(request: &Request) -> Vec<Column> {
    let tracer = request.spec.tracer();
    let labels = labels(tracer.source().form()).zip(wanted(request));
    let labels = labels.filter(|(_, has)| *has).map(|(label, _)| label);
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
