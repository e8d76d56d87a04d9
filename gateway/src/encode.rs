//! Encoding of a reader's updates: lines of JSON, CSV, or messages of the API.
//!
//! In JSON, a line other than a row is an object with one key, which is not the name of a column. In CSV, the same object follows a `#`.

use crate::limits::PIECE_BYTES;
use crate::reader::Update;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use client::{duration::duration, parts, wire_values};
use prost::Message;
use proto::v1::{self, StreamEventsResponse, stream_events_response::Item};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tracers::Batch;

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Csv,
    Protobuf,
}

impl Format {
    /// Formats with the name, the accepted media types, and the media type of the output.
    const ALL: [(Self, &'static str, &'static [&'static str], &'static str); 3] = [
        (
            Self::Json,
            "json",
            &[
                "application/json",
                "application/x-ndjson",
                "application/*",
                "*/*",
            ],
            "application/x-ndjson",
        ),
        (Self::Csv, "csv", &["text/csv", "text/*"], "text/csv"),
        (
            Self::Protobuf,
            "protobuf",
            &["application/vnd.tracejob.v1+protobuf"],
            "application/vnd.tracejob.v1+protobuf",
        ),
    ];

    /// Returns the format with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter();
        all.find(|(_, known, ..)| *known == name)
            .map(|(format, ..)| *format)
    }

    /// Returns the first supported format of an Accept header; JSON without a header.
    pub(crate) fn accepted(accept: &str) -> Option<Self> {
        if accept.is_empty() {
            return Some(Self::Json);
        }
        accept.split(',').find_map(|part| {
            let part = part.split(';').next().unwrap_or_default().trim();
            let mut all = Self::ALL.iter();
            all.find(|(_, _, accepted, _)| accepted.contains(&part))
                .map(|(format, ..)| *format)
        })
    }

    pub(crate) fn media_type(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(format, ..)| *format == self)
            .map_or("", |(.., media)| media)
    }
}

/// Encoder of one stream.
pub(crate) enum Encoder {
    /// Lines of JSON or CSV.
    Text(Box<Lines>),
    /// Messages, each preceded by its length (as a varint).
    Protobuf(VecDeque<StreamEventsResponse>),
}

/// Lines of one stream.
pub(crate) struct Lines {
    csv: bool,
    /// Whether each table is written with its time, and not only the last one.
    intervals: bool,
    table: Option<Arc<Batch>>,
    /// Updates that are not written yet.
    left: VecDeque<Left>,
    /// Writer of rows, which exists after the schema.
    rows: Option<Text>,
    out: Out,
}

/// An update that is not written yet.
enum Left {
    /// Rows from this one on, with the time of the table.
    Rows(Arc<Batch>, usize, Option<Duration>),
    /// Encoded bytes.
    Bytes(Vec<u8>),
    /// Names of the columns, if nothing has been written.
    Head,
}

enum Text {
    Json(rows::Json<Out>),
    Csv(Box<rows::Csv<Out>>),
}

/// A shared buffer: the writer of rows keeps one end, and the encoder empties the other.
#[derive(Clone, Debug, Default)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl Out {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Encoder {
    /// Returns the encoder of a format. `intervals`: whether the reader requested an interval.
    pub(crate) fn new(format: Format, intervals: bool) -> Self {
        match format {
            Format::Protobuf => Self::Protobuf(VecDeque::new()),
            text => Self::Text(Box::new(Lines {
                csv: text == Format::Csv,
                intervals,
                table: None,
                left: VecDeque::new(),
                rows: None,
                out: Out::default(),
            })),
        }
    }

    /// Adds an update.
    pub(crate) fn add(&mut self, update: Update) {
        match self {
            Self::Protobuf(left) => left.extend(messages(update)),
            Self::Text(lines) => lines.add(update),
        }
    }

    /// Adds the error that ends the stream. Messages have no field for it: that stream is cut off.
    pub(crate) fn add_error(&mut self, reason: &str, message: &str) {
        match self {
            Self::Protobuf(_) => {}
            Self::Text(lines) => lines.line("error", json!({"reason": reason, "message": message})),
        }
    }

    /// Returns the next bytes of the added updates.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Protobuf(left) => Some(left.pop_front()?.encode_length_delimited_to_vec()),
            // Writes to memory do not fail.
            Self::Text(lines) => lines.next().unwrap_or_default(),
        }
    }
}

impl Lines {
    fn add(&mut self, update: Update) {
        match update {
            Update::Schema(schema, columns, further) => {
                self.intervals &= schema.table;
                let out = self.out.clone();
                self.rows = Some(match self.csv {
                    true => {
                        let csv = rows::Csv::new(&columns, self.intervals, false, out);
                        Text::Csv(Box::new(csv))
                    }
                    false => {
                        let mut json = rows::Json::new(&columns, out);
                        for (name, columns) in &further {
                            json.also(name, columns);
                        }
                        Text::Json(json)
                    }
                });
            }
            Update::Rows(batch) => self.left.push_back(Left::Rows(batch, 0, None)),
            Update::Table(batch, elapsed) => match self.intervals {
                true => self.left.push_back(Left::Rows(batch, 0, Some(elapsed))),
                false => self.table = Some(batch),
            },
            // All lines of CSV have the same columns.
            Update::Further(_) if self.csv => {}
            Update::Further(batch) => self.left.push_back(Left::Rows(batch, 0, None)),
            Update::Lost(lost) => {
                let mut object = stages(&lost.stages);
                if lost.missed_runs > 0 {
                    object.insert("missed_runs".to_owned(), lost.missed_runs.into());
                }
                self.line("lost", object.into());
            }
            Update::Gap(rows) => self.line("gap", json!({"rows": rows})),
            Update::Nodes(nodes) => self.line("nodes", nodes.iter().map(node).collect()),
            Update::Resume(place) => {
                self.line("resume", BASE64_URL_SAFE_NO_PAD.encode(place).into());
            }
            Update::Account(account) => {
                if let Some(table) = self.table.take() {
                    self.left.push_back(Left::Rows(table, 0, None));
                }
                self.left.push_back(Left::Head);
                let mut object = account_json(&account);
                object["missed_rows"] = account.missed_rows.into();
                object["late_rows"] = account.late_rows.into();
                object["nodes"] = account.nodes.iter().map(node).collect();
                self.line("account", object);
            }
        }
    }

    fn line(&mut self, what: &str, value: Value) {
        let mark = if self.csv { "# " } else { "" };
        let line = format!("{mark}{}\n", json!({what: value}));
        self.left.push_back(Left::Bytes(line.into_bytes()));
    }

    /// Returns the next bytes; `None` if nothing is left, or before the schema.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        while let Some(left) = self.left.pop_front() {
            match (left, &mut self.rows) {
                (Left::Bytes(bytes), _) => return Ok(Some(bytes)),
                (Left::Head, Some(Text::Csv(csv))) => csv.head()?,
                (Left::Rows(batch, from, elapsed), Some(text)) => {
                    let to = piece(&batch, from);
                    // Times are wall-clock times already.
                    let wall = rows::Wall::default();
                    match text {
                        Text::Json(json) => json.write_some(&batch, from..to, wall, elapsed)?,
                        Text::Csv(csv) => csv.write_some(&batch, from..to, wall, elapsed)?,
                    }
                    if to < batch.rows() {
                        self.left.push_front(Left::Rows(batch, to, elapsed));
                    }
                }
                _ => {}
            }
            let bytes = self.out.take();
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// Returns the end of a range of rows with about [`PIECE_BYTES`] of text, and with one row at least.
fn piece(batch: &Batch, from: usize) -> usize {
    // The text of a frame is longer than its number.
    let longest = batch.frames.iter();
    let longest = longest.map(|frame| frame.name.len() + frame.module.len() + frame.file.len());
    let frame = longest.max().unwrap_or(0) + 64;
    let mut bytes = 0;
    let mut to = from;
    while to < batch.rows() && (to == from || bytes < PIECE_BYTES) {
        let row = batch.columns.iter().map(|data| match data.value(to) {
            tracers::Value::Frames(ids) => ids.len() * frame,
            _ => 2 * data.row_bytes(to) + 32,
        });
        bytes += row.sum::<usize>();
        to += 1;
    }
    to
}

/// Returns the stages with losses. Their names come from an agent, and control characters are escaped.
fn stages(stages: &[v1::Stage]) -> serde_json::Map<String, Value> {
    let some = stages.iter().filter(|stage| stage.events > 0);
    some.map(|stage| (shown(&stage.name), stage.events.into()))
        .collect()
}

/// Returns untrusted text with its control characters escaped.
fn shown(text: &str) -> String {
    rows::escape::escaped(text.as_bytes())
}

fn account_json(account: &v1::Account) -> Value {
    let time = |time| duration(time).map(|time| time.as_nanos() as u64);
    let cost = account.cost.unwrap_or_default();
    let untraced: Vec<String> = account
        .untraced
        .iter()
        .map(|reason| shown(reason))
        .collect();
    let mut object = json!({
        "produced": account.produced,
        "delivered": account.delivered,
        "filtered": account.filtered,
        "beyond_limit": account.beyond_limit,
        "sampled": account.sampled,
        "lost": stages(&account.lost),
        "missed_runs": account.missed_runs,
        "stacks_missing": account.stacks_missing,
        "stacks_truncated": account.stacks_truncated,
        "stacks_not_unwound": account.stacks_not_unwound,
        "untraced": { "count": account.untraced_count, "reasons": untraced },
        "complete": account.complete,
        "ended": (!account.ended.is_empty()).then(|| shown(&account.ended)),
        "elapsed_ns": time(account.elapsed),
        "cost": {
            "bpf_ns": time(cost.bpf), "bpf_runs": cost.bpf_runs, "bpf_measured": cost.bpf_measured,
            "reader_ns": time(cost.reader), "kernel_bytes": cost.kernel_bytes,
        },
    });
    if let Some(stacks) = account.user_stacks {
        object["user_stacks"] = json!({
            "delivered": stacks.delivered, "truncated": stacks.truncated,
            "empty": stacks.empty, "short": stacks.short,
        });
    }
    object
}

fn node(node: &v1::NodeAccount) -> Value {
    let mut object = node
        .account
        .as_ref()
        .map_or_else(|| json!({}), account_json);
    object["node"] = node.node.as_str().into();
    object["state"] = match node.state() {
        v1::NodeState::Unspecified => "",
        v1::NodeState::Running => "running",
        v1::NodeState::Ended => "ended",
        v1::NodeState::Left => "left",
        v1::NodeState::Unreached => "unreached",
    }
    .into();
    if !node.reason.is_empty() {
        object["reason"] = shown(&node.reason).into();
        object["message"] = shown(&node.message).into();
    }
    object
}

/// Returns an update as messages of the API. A table may be several messages.
pub(crate) fn messages(update: Update) -> Vec<StreamEventsResponse> {
    let response = |item| StreamEventsResponse {
        item: Some(item),
        ..StreamEventsResponse::default()
    };
    let batches = |batch: &Batch, table| {
        let parts = parts(batch, table, |_, data| wire_values(data));
        parts.into_iter().map(Item::Batch).map(response).collect()
    };
    let item = match update {
        Update::Schema(schema, ..) => Item::Schema(schema),
        Update::Rows(batch) => return batches(&batch, false),
        Update::Table(batch, _) => return batches(&batch, true),
        Update::Further(batch) => {
            let dataset = batch.dataset.saturating_sub(1) as u32;
            let parts = parts(&batch, true, |_, data| wire_values(data));
            let parts = parts.into_iter().map(|batch| v1::Further {
                dataset,
                batch: Some(batch),
            });
            return parts.map(Item::Further).map(response).collect();
        }
        Update::Lost(lost) => Item::Lost(lost),
        Update::Gap(rows) => Item::Gap(v1::Gap {
            rows: Some(rows),
            ..v1::Gap::default()
        }),
        Update::Nodes(nodes) => Item::Nodes(v1::Nodes { nodes }),
        Update::Resume(resume) => {
            return vec![StreamEventsResponse {
                resume,
                ..StreamEventsResponse::default()
            }];
        }
        Update::Account(account) => Item::Account(*account),
    };
    vec![response(item)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_other_than_a_row_has_a_key_that_is_no_column() {
        for tracer in tracers::ALL {
            for column in tracer.datasets().iter().flat_map(|one| &one.columns) {
                let words = [
                    "account", "dataset", "error", "gap", "lost", "nodes", "resume",
                ];
                assert!(!words.contains(&&*column.name), "{}", column.name);
            }
        }
    }

    #[test]
    fn the_first_supported_format_of_the_accept_header_is_used() {
        assert_eq!(Format::accepted(""), Some(Format::Json));
        assert_eq!(
            Format::accepted("application/json, */*"),
            Some(Format::Json)
        );
        assert_eq!(
            Format::accepted("image/png, text/csv;q=0.5"),
            Some(Format::Csv)
        );
        assert_eq!(Format::accepted("image/png"), None);
        for format in [Format::Json, Format::Csv, Format::Protobuf] {
            assert_eq!(Format::accepted(format.media_type()), Some(format));
        }
    }

    #[test]
    fn a_further_dataset_is_in_json_and_in_messages_but_not_in_csv() {
        let columns = tracers::LABELS[..1].to_vec();
        let mut data = tracers::Data::of(columns[0].kind);
        assert!(data.push(tracers::Value::Bytes(b"n", false)));
        let mut table = Batch::from_columns(vec![data], Vec::new());
        table.dataset = 1;
        let encoded = |format| {
            let mut encoder = Encoder::new(format, false);
            let further = vec![("more".to_owned(), columns.clone())];
            let schema = v1::Schema::default();
            encoder.add(Update::Schema(schema, columns.clone(), further));
            encoder.add(Update::Further(Arc::new(table.clone())));
            let pieces: Vec<Vec<u8>> = std::iter::from_fn(|| encoder.next()).collect();
            pieces.concat()
        };
        assert_eq!(
            encoded(Format::Json),
            b"{\"dataset\":\"more\",\"node\":\"n\"}\n"
        );
        assert_eq!(encoded(Format::Csv), b"");
        let mut messages = &encoded(Format::Protobuf)[..];
        let mut items = std::iter::from_fn(|| {
            let message = StreamEventsResponse::decode_length_delimited(&mut messages);
            message.ok()?.item
        });
        assert!(matches!(items.next(), Some(Item::Schema(_))));
        assert!(matches!(
            items.next(),
            Some(Item::Further(v1::Further { dataset: 0, .. }))
        ));
    }

    #[test]
    fn an_account_is_the_last_line_and_a_table_comes_before_it() {
        let columns = tracers::LABELS[..1].to_vec();
        let table = Batch::new(&columns);
        let mut encoder = Encoder::new(Format::Csv, false);
        let schema = v1::Schema {
            table: true,
            ..v1::Schema::default()
        };
        encoder.add(Update::Schema(schema, columns, Vec::new()));
        let table = Update::Table(Arc::new(table), Duration::ZERO);
        encoder.add(table);
        assert!(encoder.next().is_none(), "it may not be the last");
        let account = v1::Account {
            produced: 3,
            nodes: vec![v1::NodeAccount {
                node: "a".to_owned(),
                reason: "\x1b[2J".to_owned(),
                ..v1::NodeAccount::default()
            }],
            ..v1::Account::default()
        };
        encoder.add(Update::Account(Box::new(account)));
        let pieces: Vec<Vec<u8>> = std::iter::from_fn(|| encoder.next()).collect();
        let text = String::from_utf8(pieces.concat()).unwrap();
        assert!(text.starts_with("node\n# {\"account\":{"), "{text}");
        assert!(
            text.contains("\"produced\":3") && !text.contains('\x1b'),
            "{text}"
        );
    }
}
