//! Entry points of fuzz targets (`fuzz/`): readers and writers of untrusted text. They are no public interface.

use crate::{
    command::{diff, job},
    show::{
        render::{Csv, Json, Output as _, Wall, escaped},
        sink::Sink,
    },
    source::remote,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message as _;
use proto::v1::StreamEventsResponse;
use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::Value as Parsed;
use std::{fs::File, os::unix::fs::FileExt};
use tracers::{Batch, Column, Kind, Value};

/// Parses a TraceJob; its error must be printable text.
pub fn trace_job(text: &str) {
    if let Err(error) = job::parse(text, "job.yaml") {
        assert!(!format!("{error:#}").is_empty());
    }
}

/// Reads a pprof profile and renders its difference with itself, which must be none.
pub fn profile(data: &[u8]) {
    diff::fuzz(data);
}

/// Escapes text for a terminal; the result must be one printable line.
pub fn terminal_text(data: &[u8]) {
    let shown = escaped(data);
    assert!(!shown.contains(char::is_control), "{shown:?}");
}

/// Writes rows as JSON and CSV; both must preserve every byte of text.
pub fn rows(batch: &Batch, columns: &[Column]) {
    let (json, csv) = rendered(batch, columns);
    let lines: Vec<Parsed> = json
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("every line is a JSON object"))
        .collect();
    assert_eq!(lines.len(), batch.rows());
    let mut csv = csv::Reader::from_reader(&csv[..]);
    let heads = csv.byte_headers().cloned().unwrap_or_default();
    let records: Vec<csv::ByteRecord> = csv
        .into_byte_records()
        .map(|record| record.expect("every record has as many fields as the first"))
        .collect();
    assert_eq!(records.len(), batch.rows());
    for (at, column) in columns.iter().enumerate() {
        if !matches!(column.kind, Kind::Text | Kind::Path) {
            continue;
        }
        let head = heads.iter().position(|head| head == column.name.as_bytes());
        let head = head.expect("every column has its head");
        for row in 0..batch.rows() {
            if let Value::Bytes(bytes, _) = batch.value(at, row) {
                assert_eq!(
                    message(&lines[row][&*column.name]),
                    bytes,
                    "{}",
                    column.name
                );
                assert_eq!(&records[row][head], bytes, "{}", column.name);
            }
        }
    }
}

/// Returns rows as JSON and as CSV.
pub(crate) fn rendered(batch: &Batch, columns: &[Column]) -> (Vec<u8>, Vec<u8>) {
    let json = written(|sink| {
        let mut json = Json::new(columns, false, sink);
        let _ = json.rows(batch, Wall::default());
    });
    let csv = written(|sink| {
        let mut csv = Csv::new(columns, false, sink);
        let _ = csv.rows(batch, Wall::default());
    });
    (json, csv)
}

/// Reads messages of an agent, each after its length.
pub fn answers(mut data: &[u8]) {
    remote::fuzzing::stream(std::iter::from_fn(|| {
        StreamEventsResponse::decode_length_delimited(&mut data).ok()
    }));
}

fn message(value: &Parsed) -> Vec<u8> {
    match value {
        Parsed::String(text) => text.clone().into_bytes(),
        other => {
            let text = other["base64"].as_str().expect("a string or base64");
            BASE64_STANDARD.decode(text).expect("base64")
        }
    }
}

fn written(write: impl FnOnce(Sink)) -> Vec<u8> {
    let file = memfd_create("fuzz", MemfdFlags::CLOEXEC).map(File::from);
    let file = file.expect("memory for a file");
    write(Sink::of(file.try_clone().expect("a descriptor")));
    let mut bytes = vec![0; file.metadata().map_or(0, |data| data.len() as usize)];
    file.read_exact_at(&mut bytes, 0).expect("what was written");
    bytes
}
