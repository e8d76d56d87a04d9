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

/// For how many events these rows of a tracer stand: a row of a stream for one, a row of counts for its count, a row of gauges for none.
pub fn events(tracer: &str, rows: &[&Value]) -> u64 {
    let counts = columns_where(tracer, |column| column["role"] == "count");
    match counts.as_slice() {
        [] if described(tracer)["source"] == "events" => rows.len() as u64,
        [] => 0,
        [count] => rows.iter().map(|row| row[count].as_u64().unwrap()).sum(),
        several => panic!("{tracer} has several counts: {several:?}"),
    }
}
