//! Conversion of rows to messages. A table of any size is sent in parts that every client accepts.

use crate::limits::PART_BYTES;
use proto::v1::{self, values::Values as Wire};
use std::{collections::HashMap, sync::Arc};
use tracers::{Batch, Data};

/// Bytes of a frame without its texts.
const FRAME_BYTES: usize = 24;

/// Converts a batch to messages: one for events, one or more for a table. `values` encodes the column with an index.
pub fn parts(
    batch: &Batch,
    table: bool,
    mut values: impl FnMut(usize, Data) -> Wire,
) -> Vec<v1::Batch> {
    let mut parts = Parts {
        batch,
        most: if table { PART_BYTES } else { usize::MAX },
        done: Vec::new(),
        now: v1::Batch::default(),
        bytes: 0,
        from: 0,
        strings: HashMap::new(),
        values: &mut values,
    };
    for frame in &batch.frames {
        if parts.bytes >= parts.most {
            parts.end(0);
        }
        let names = [&frame.name, &frame.module, &frame.file];
        let [name, module, file] = names.map(|text| parts.string(text));
        let frames = parts.now.interned.get_or_insert_default();
        frames.names.push(name);
        frames.modules.push(module);
        frames.offsets.push(frame.offset);
        frames.files.push(file);
        frames.lines.push(frame.line);
        parts.bytes += FRAME_BYTES;
    }
    for row in 0..batch.rows() {
        let bytes = batch.columns.iter().map(|data| data.row_bytes(row));
        let bytes: usize = bytes.sum();
        if parts.bytes > 0 && parts.bytes.saturating_add(bytes) > parts.most {
            parts.end(row);
        }
        parts.bytes += bytes;
    }
    parts.end(batch.rows());
    let mut done = parts.done;
    if let Some(last) = done.last_mut() {
        last.more = false;
    }
    done
}

struct Parts<'a, F> {
    batch: &'a Batch,
    most: usize,
    done: Vec<v1::Batch>,
    /// Current part, and its approximate size.
    now: v1::Batch,
    bytes: usize,
    /// First row of the current part.
    from: usize,
    /// Index of each text sent so far, in all parts.
    strings: HashMap<Arc<str>, u32>,
    values: &'a mut F,
}

impl<F: FnMut(usize, Data) -> Wire> Parts<'_, F> {
    fn string(&mut self, text: &Arc<str>) -> u32 {
        if let Some(at) = self.strings.get(text) {
            return *at;
        }
        let at = self.strings.len() as u32;
        self.strings.insert(Arc::clone(text), at);
        self.now.strings.push(text.to_string());
        self.bytes += text.len() + 4;
        at
    }

    /// Ends a part before this row.
    fn end(&mut self, row: usize) {
        let mut part = std::mem::take(&mut self.now);
        let columns = self.batch.columns.iter().enumerate();
        let columns = columns.map(|(at, data)| v1::Values {
            values: Some((self.values)(at, data.slice(self.from..row))),
        });
        part.columns = columns.collect();
        part.rows = (row - self.from) as u32;
        part.part = self.done.len() as u32;
        part.more = true;
        // The messages are kept while the trace's log has room.
        part.strings.shrink_to_fit();
        if let Some(frames) = &mut part.interned {
            frames.names.shrink_to_fit();
            frames.modules.shrink_to_fit();
            frames.offsets.shrink_to_fit();
            frames.files.shrink_to_fit();
            frames.lines.shrink_to_fit();
        }
        self.done.push(part);
        self.from = row;
        self.bytes = 0;
    }
}

/// Returns the values of a column in their storage.
pub fn wire_values(data: Data) -> Wire {
    match data {
        Data::Unsigned(values) => Wire::Unsigned(v1::Unsigned { values }),
        Data::Signed(values) => Wire::Signed(v1::Signed { values }),
        Data::Bytes { ends, data, cut } => Wire::Bytes(v1::Bytes {
            ends,
            data: data.into(),
            cut,
        }),
        Data::List { ends, values } => Wire::Lists(v1::Lists { ends, values }),
        Data::Frames { ends, ids } => Wire::Stacks(v1::Stacks { ends, frames: ids }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Join, Schema};
    use tracers::{Frame, Value};

    /// Returns the schema of a table with each storage of values, and a batch of it.
    fn table(rows: usize, depth: usize, name: usize) -> (Schema, Batch) {
        let column = |name: &str, kind: v1::Kind| v1::Column {
            name: name.to_owned(),
            kind: kind.into(),
            ..v1::Column::default()
        };
        let tracer = tracers::ALL[0].name();
        let schema = v1::Schema {
            tracer: tracer.to_owned(),
            table: true,
            columns: vec![
                column("x_text", v1::Kind::Text),
                column("x_number", v1::Kind::Unsigned),
                column("x_signed", v1::Kind::Signed),
                column("x_errors", v1::Kind::Errors),
                column("x_stack", v1::Kind::Stack),
            ],
            instance: 1,
            further: Vec::new(),
            filter: String::new(),
        };
        let schema = Schema::read(schema, tracer).unwrap();
        let frames = (0..rows * depth).map(|at| Frame {
            name: format!("{at}{}", "n".repeat(name)).into(),
            module: format!("/lib/{}", at % 7).into(),
            offset: at as u64,
            file: if at % 2 == 0 { "a.rs" } else { "" }.into(),
            line: at as u32,
        });
        let frames = frames.collect();
        let kinds = schema.columns.iter().map(|column| column.kind);
        let mut columns: Vec<Data> = kinds.map(Data::of).collect();
        columns[4] = Data::Frames {
            ends: Vec::new(),
            ids: Vec::new(),
        };
        for row in 0..rows {
            let text = vec![b'a' + (row % 26) as u8; row % 13];
            let stack: Vec<u32> = (0..depth).map(|at| (row * depth + at) as u32).collect();
            let list = vec![row as u64; 2 * (row % 3)];
            let values = [
                Value::Bytes(&text, row % 5 == 0),
                Value::Unsigned(row as u64),
                Value::Signed(-(row as i64)),
                Value::List(&list),
                Value::Frames(&stack),
            ];
            for (data, value) in columns.iter_mut().zip(values) {
                assert!(data.push(value));
            }
        }
        (schema, Batch::from_columns(columns, frames))
    }

    fn plain(_: usize, data: Data) -> Wire {
        wire_values(data)
    }

    #[test]
    fn a_table_of_any_size_is_sent_in_small_parts_and_joined_again() {
        for (rows, depth, name) in [(0, 0, 0), (1, 3, 10), (3000, 20, 100), (10, 1000, 1000)] {
            let (schema, batch) = table(rows, depth, name);
            let parts = parts(&batch, true, plain);
            let mut join = Join::default();
            let mut joined = None;
            for part in parts {
                let texts: usize = part.strings.iter().map(String::len).sum();
                let own = batch.columns.first().map_or(0, |_| 4 * depth + 100);
                assert!(texts <= PART_BYTES + 3 * 4100, "{texts}");
                let frames = part
                    .interned
                    .as_ref()
                    .map_or(0, |frames| frames.names.len());
                assert!(frames * FRAME_BYTES <= PART_BYTES + FRAME_BYTES);
                assert!(part.rows as usize * (4 * depth) <= PART_BYTES + own);
                assert!(joined.is_none(), "nothing follows the last part");
                joined = join.take(part, &schema).unwrap();
            }
            let joined = joined.expect("the last part");
            assert_eq!(joined.frames, batch.frames);
            assert_eq!(joined.rows(), batch.rows());
            assert!(rows == 0 || joined.columns == batch.columns);
        }
    }

    #[test]
    fn a_table_with_a_missing_part_is_dropped_and_the_next_one_is_complete() {
        let (schema, batch) = table(3000, 20, 100);
        let all = parts(&batch, true, plain);
        assert!(all.len() > 3);
        for lost in 0..all.len() {
            let mut join = Join::default();
            for (at, part) in all.iter().enumerate() {
                if at != lost {
                    assert!(join.take(part.clone(), &schema).unwrap().is_none());
                }
            }
            assert!(join.is_missing());
            let whole = all.iter().map(|part| join.take(part.clone(), &schema));
            let whole = whole.last().unwrap().unwrap().unwrap();
            assert_eq!(whole.columns, batch.columns);
            assert!(!join.is_missing());
        }
    }

    #[test]
    fn parts_that_never_end_are_refused() {
        let (schema, batch) = table(0, 0, 0);
        let mut part = parts(&batch, true, plain).swap_remove(0);
        let mut join = Join::default();
        part.strings = vec!["x".repeat(4000); 64];
        part.more = true;
        let refused = (0..10_000).find_map(|_| {
            let refused = join.take(part.clone(), &schema).err();
            part.part += 1;
            refused
        });
        let refused = refused.expect("an end");
        assert!(refused.contains("a table of more than"), "{refused}");
    }
}
