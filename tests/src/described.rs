//! What `tracejob describe` reports about a tracer: the harness knows no column by its name.

use crate::trace::tracejob;
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// A tracer's description, as `tracejob describe TRACER -o json` prints it. Each tracer is described once per test program.
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

/// The columns of a tracer for which this is true of their description.
pub fn columns_where(tracer: &str, holds: impl Fn(&Value) -> bool) -> Vec<String> {
    let description = described(tracer);
    let columns = description["columns"].as_array().unwrap();
    let found = columns.iter().filter(|column| holds(column));
    let name = |column: &Value| column["name"].as_str().unwrap().to_owned();
    found.map(name).collect()
}

/// How much these rows of a tracer show: the sum of their counts, and the number of rows where they have none.
pub fn amount(tracer: &str, rows: &[&Value]) -> u64 {
    let counts = columns_where(tracer, |column| column["role"] == "count");
    match counts.as_slice() {
        [] => rows.len() as u64,
        [count] => rows.iter().map(|row| row[count].as_u64().unwrap()).sum(),
        several => panic!("{tracer} has several counts: {several:?}"),
    }
}

/// How many events of the account these rows of a tracer are; `None` where a row is a state, which events have changed.
pub(crate) fn events(tracer: &str, rows: &[&Value]) -> Option<u64> {
    let source = described(tracer)["source"].clone();
    match source.as_str() {
        Some("events" | "table") => Some(amount(tracer, rows)),
        Some("shared table" | "snapshot") => None,
        _ => panic!("{tracer} has rows of an unknown source: {source}"),
    }
}
