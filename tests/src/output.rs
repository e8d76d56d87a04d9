//! Output of programs, read by threads so that a program never waits for its reader.

use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read},
    process::ChildStderr,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

/// JSON values that several programs wrote to one stream, and any other lines.
#[derive(Clone, Default)]
pub(crate) struct Messages(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    rest: String,
    values: Vec<Value>,
    text: String,
    closed: bool,
}

impl Messages {
    /// Reads to the end of the stream.
    pub(crate) fn of(mut stream: ChildStderr) -> (Self, JoinHandle<()>) {
        let messages = Self::default();
        let own = messages.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                own.with(|received| received.take(&String::from_utf8_lossy(&buffer[..n])));
            }
            own.with(|received| received.closed = true);
        });
        (messages, reader)
    }

    fn with<T>(&self, action: impl FnOnce(&mut Received) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The values of all messages `{key: value}` so far.
    pub(crate) fn all(&self, key: &str) -> Vec<Value> {
        self.with(|received| {
            received
                .values
                .iter()
                .filter_map(|value| value.get(key))
                .cloned()
                .collect()
        })
    }

    /// The first message `{key: value}`; `Err` with the whole text of the stream if it ended without that message.
    pub(crate) fn first(&self, key: &str) -> Option<Result<Value, String>> {
        self.with(
            |received| match received.values.iter().find_map(|value| value.get(key)) {
                Some(value) => Some(Ok(value.clone())),
                None if received.closed => Some(Err(received.everything())),
                None => None,
            },
        )
    }

    /// The whole text of the stream.
    pub(crate) fn everything(&self) -> String {
        self.with(|received| received.everything())
    }
}

impl Received {
    /// Adds a part of the stream. Two programs may write into one line, so JSON itself separates the values.
    fn take(&mut self, more: &str) {
        self.rest.push_str(more);
        loop {
            let text = self.rest.trim_start();
            if !text.starts_with('{') {
                let Some((line, rest)) = text.split_once('\n') else {
                    self.rest = text.to_owned();
                    return;
                };
                self.text.push_str(line);
                self.text.push('\n');
                self.rest = rest.to_owned();
                continue;
            }
            let mut values = serde_json::Deserializer::from_str(text).into_iter();
            match values.next() {
                Some(Ok(value)) => {
                    let rest = text[values.byte_offset()..].to_owned();
                    self.values.push(value);
                    self.rest = rest;
                }
                _ => {
                    self.rest = text.to_owned();
                    return;
                }
            }
        }
    }

    fn everything(&self) -> String {
        let values: Vec<String> = self.values.iter().map(Value::to_string).collect();
        format!("{}{}\n{}", self.text, values.join("\n"), self.rest)
    }
}

/// Rows as they come, or only how many.
#[derive(Clone, Default)]
pub(crate) struct Rows(Arc<Mutex<Taken>>);

/// What has come of them.
#[derive(Clone, Default)]
pub(crate) struct Taken {
    /// Of the first dataset.
    pub(crate) rows: Vec<Value>,
    /// How many these are.
    pub(crate) count: u64,
    /// Of further datasets, which are always kept.
    pub(crate) further: Vec<Value>,
}

impl Rows {
    /// Reads to the end of the stream.
    pub(crate) fn of(stream: impl Read + Send + 'static, keep: bool) -> (Self, JoinHandle<()>) {
        let rows = Self::default();
        let own = rows.clone();
        let reader = std::thread::spawn(move || {
            let mut stream = BufReader::with_capacity(1 << 20, stream);
            let mut line = Vec::new();
            while matches!(stream.read_until(b'\n', &mut line), Ok(1..)) {
                let is_further = line.starts_with(b"{\"dataset\":");
                let row = (keep || is_further).then(|| {
                    serde_json::from_slice(&line).unwrap_or_else(|error| {
                        panic!("{error}: {:?}", String::from_utf8_lossy(&line))
                    })
                });
                own.with(|taken| match is_further {
                    true => taken.further.extend(row),
                    false => {
                        taken.count += 1;
                        taken.rows.extend(row);
                    }
                });
                line.clear();
            }
        });
        (rows, reader)
    }

    fn with<T>(&self, action: impl FnOnce(&mut Taken) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many of the first dataset there are.
    pub(crate) fn count(&self) -> u64 {
        self.with(|taken| taken.count)
    }

    /// All of them.
    pub(crate) fn take(&self) -> Taken {
        self.with(std::mem::take)
    }
}
