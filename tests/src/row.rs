//! Rows against the truth: one check for all tracers.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// What a column must be.
pub enum Wanted {
    /// This.
    Is(Value),
    /// A number from the first to the second.
    Within(u64, u64),
}

/// Shorthand for [`check`].
pub fn expect<const N: usize>(row: &Value, wanted: [(&str, Wanted); N]) {
    check(row, &wanted);
}

impl<T: Into<Value>> From<T> for Wanted {
    fn from(value: T) -> Self {
        Self::Is(value.into())
    }
}

/// Checks that every column of the row has a wanted value, and reports all errors at once.
/// A wanted column that is absent is an error, and so is a column without a wanted value.
pub fn check(row: &Value, wanted: &[(&str, Wanted)]) {
    let mut wrong = Vec::new();
    for (column, want) in wanted {
        let have = &row[column];
        let right = match want {
            Wanted::Is(value) => have == value,
            Wanted::Within(low, high) => have
                .as_u64()
                .is_some_and(|have| (*low..=*high).contains(&have)),
        };
        if !right {
            wrong.push(match want {
                Wanted::Is(value) => format!("{column} is {have}, and should be {value}"),
                Wanted::Within(low, high) => {
                    format!("{column} is {have}, and should be {low} to {high}")
                }
            });
        }
    }
    for column in row.as_object().unwrap().keys() {
        if !wanted.iter().any(|(name, _)| name == column) {
            wrong.push(format!(
                "{column} is {}, and has no wanted value",
                row[column]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}\nin {row}", wrong.join("\n"));
}

/// The sum of a column.
pub fn sum(rows: &[&Value], column: &str) -> u64 {
    rows.iter().map(|row| row[column].as_u64().unwrap()).sum()
}

/// Bytes as rows have them: text, or base64 where they are not UTF-8.
pub fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}
