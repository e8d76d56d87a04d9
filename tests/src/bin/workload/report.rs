//! Report of this process: notes of its steps, in one line at its end.

use crate::raw;
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};

static NOTES: Mutex<Vec<Value>> = Mutex::new(Vec::new());
static BEGAN: Mutex<(u64, u64)> = Mutex::new((0, 0));

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a report; a child starts its own.
pub(crate) fn begin() {
    lock(&NOTES).clear();
    *lock(&BEGAN) = raw::clocks();
}

/// Adds a note.
pub(crate) fn note(value: Value) {
    lock(&NOTES).push(value);
}

/// Writes the report.
pub(crate) fn end() {
    let notes = std::mem::take(&mut *lock(&NOTES));
    let (began, ended) = (*lock(&BEGAN), raw::clocks());
    say(json!({ "workload": {
        "pid": std::process::id(),
        "boottime_ns": [began.0, ended.0],
        "realtime_ns": [began.1, ended.1],
        "notes": notes,
    }}));
}

/// Writes one line on stderr in one piece: others write there too.
pub(crate) fn say(value: Value) {
    let line = format!("{value}\n");
    raw::write_all(2, line.as_bytes());
}
