//! Descriptions of tracers by `tracejob describe`. The harness names no column.

use crate::trace::tracejob;
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Returns the output of `tracejob describe TRACER -o json`. It runs once per tracer and test program.
pub fn described(tracer: &str) -> Value {
    static DESCRIPTIONS: Mutex<Option<HashMap<String, Value>>> = Mutex::new(None);
    let mut all = DESCRIPTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    let all = all.get_or_insert_default();
    if let Some(known) = all.get(tracer) {
        return known.clone();
    }
    let output = tracejob(&["describe", tracer, "-o", "json"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "describe {tracer}: {text}");
    let description: Value = serde_json::from_str(&text).unwrap();
    all.insert(tracer.to_owned(), description.clone());
    description
}

/// Returns the columns of a tracer's first dataset whose description satisfies a condition.
pub fn columns_where(tracer: &str, holds: impl Fn(&Value) -> bool) -> Vec<String> {
    columns_of(tracer, tracer, holds)
}

/// Returns the same of a dataset.
pub fn columns_of(tracer: &str, dataset: &str, holds: impl Fn(&Value) -> bool) -> Vec<String> {
    let dataset = dataset_of(tracer, dataset);
    let columns = dataset["columns"].as_array().unwrap();
    let found = columns.iter().filter(|column| holds(column));
    let name = |column: &Value| column["name"].as_str().unwrap().to_owned();
    found.map(name).collect()
}

/// Returns the description of a dataset.
fn dataset_of(tracer: &str, dataset: &str) -> Value {
    let description = described(tracer);
    let mut datasets = description["datasets"].as_array().unwrap().iter();
    let found = datasets.find(|one| one["name"] == dataset);
    found
        .unwrap_or_else(|| panic!("{tracer} has no dataset {dataset}"))
        .clone()
}

/// Returns the sum of the counts of these rows of a tracer's first dataset; the number of rows where it has no count.
pub fn amount(tracer: &str, rows: &[&Value]) -> u64 {
    amount_of(tracer, tracer, rows)
}

/// Returns the same of a dataset.
pub fn amount_of(tracer: &str, dataset: &str, rows: &[&Value]) -> u64 {
    let counts = columns_of(tracer, dataset, |column| column["role"] == "count");
    match counts.as_slice() {
        [] => rows.len() as u64,
        [count] => rows.iter().map(|row| row[count].as_u64().unwrap()).sum(),
        several => panic!("{dataset} has several counts: {several:?}"),
    }
}

/// Returns the number of events that the account has for these rows of a dataset; `None` where rows are a state that events change.
pub(crate) fn events(tracer: &str, dataset: &str, rows: &[&Value]) -> Option<u64> {
    let source = dataset_of(tracer, dataset)["source"].clone();
    match source.as_str() {
        Some("events" | "table") => Some(amount_of(tracer, dataset, rows)),
        Some("shared table" | "snapshot") => None,
        _ => panic!("{dataset} has rows of an unknown source: {source}"),
    }
}

/// Returns the names of the further datasets of a tracer.
pub(crate) fn further(tracer: &str) -> Vec<String> {
    let description = described(tracer);
    let datasets = description["datasets"].as_array().unwrap().iter();
    let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
    datasets.skip(1).map(name).collect()
}
