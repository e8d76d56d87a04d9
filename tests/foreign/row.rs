//! Rows of messages in protobuf's JSON, decoded by the schema as docs/grpc.md describes.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

/// The rows of a stream of messages, texts and numbers only.
pub(crate) fn rows(messages: &[Value]) -> Vec<Value> {
    let columns = messages[0]["schema"]["columns"].as_array();
    let columns =
        columns.unwrap_or_else(|| panic!("a stream begins with its schema: {:?}", messages[0]));
    let batches = messages.iter().filter_map(|message| message.get("batch"));
    batches.flat_map(|batch| rows_of(columns, batch)).collect()
}

fn rows_of(columns: &[Value], batch: &Value) -> Vec<Value> {
    let count = batch["rows"].as_u64().unwrap_or(0) as usize;
    let row = |row: usize| {
        let cells = columns.iter().zip(batch["columns"].as_array().unwrap());
        let cells = cells.map(|(column, values)| {
            (
                column["name"].as_str().unwrap().to_owned(),
                cell(values, row),
            )
        });
        Value::Object(cells.collect::<Map<_, _>>())
    };
    (0..count).map(row).collect()
}

fn cell(values: &Value, row: usize) -> Value {
    let Some(bytes) = values.get("bytes") else {
        let (_, numbers) = values.as_object().unwrap().iter().next().unwrap();
        return numbers["values"][row].clone();
    };
    let end = |row: usize| bytes["ends"][row].as_u64().unwrap() as usize;
    let start = row.checked_sub(1).map_or(0, end);
    let data = STANDARD
        .decode(bytes["data"].as_str().unwrap_or_default())
        .unwrap();
    String::from_utf8_lossy(&data[start..end(row)])
        .into_owned()
        .into()
}
