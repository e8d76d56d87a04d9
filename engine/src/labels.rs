//! What the caller said of targets becomes columns of their rows.

use crate::{Request, Target, select::Selection};
use std::array;
use tracers::{Batch, Data, Dataset, LABELS, Value, labels};

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

/// The datasets of a trace: before the columns of each the labels.
pub fn datasets(request: &Request) -> Vec<Dataset> {
    let mut datasets = request.spec.plan().datasets;
    for dataset in &mut datasets {
        let labels = labels(dataset.source.form()).zip(wanted(request));
        let labels = labels.filter(|(_, has)| *has).map(|(label, _)| label);
        let own = std::mem::take(&mut dataset.columns);
        dataset.columns = labels.chain(own).collect();
    }
    datasets
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
