//! A batch's rows, once it is certain that every index in it is in range.

use crate::schema::{Schema, Sort};
use proto::v1::{self, values::Values as Wire};
use tracers::{Batch, Data, Frame, Kind};

/// Buckets of a histogram: one per bit of its values.
const BUCKETS: u32 = 64;

/// Rows as renderers take them.
pub(crate) fn batch(batch: v1::Batch, schema: &Schema) -> Result<Batch, String> {
    let v1::Batch {
        rows,
        columns,
        frames,
    } = batch;
    if columns.len() != schema.columns.len() {
        return Err(format!(
            "a batch of {} columns, where its schema has {}",
            columns.len(),
            schema.columns.len()
        ));
    }
    let kinds = schema
        .columns
        .iter()
        .map(|column| (column.name, column.kind));
    if rows == 0 && columns.iter().all(is_empty) {
        // Nothing is of the wrong kind where nothing is, whatever it is in.
        let none = kinds
            .zip(&schema.sorts)
            .map(|((_, kind), sort)| empty(*sort, kind));
        return Ok(Batch::from_columns(none.collect(), Vec::new()));
    }
    let decoded = kinds.zip(&schema.sorts).zip(columns);
    let columns = decoded.map(|(((name, kind), sort), values)| {
        let data = column(values, *sort, kind, frames.len());
        let data = data.map_err(|why| format!("column {name}: {why}"))?;
        match data.rows() == rows as usize {
            true => Ok(data),
            false => Err(format!(
                "column {name} has {} rows, and the batch {rows}",
                data.rows()
            )),
        }
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    Ok(Batch::from_columns(
        columns,
        frames.into_iter().map(frame).collect(),
    ))
}

/// Rows as a message has them, the other way round.
pub fn wire(batch: &Batch) -> v1::Batch {
    let columns = batch.columns.iter().map(|data| v1::Values {
        values: Some(wire_values(data.clone())),
    });
    v1::Batch {
        rows: batch.rows() as u32,
        columns: columns.collect(),
        frames: batch.frames.iter().cloned().map(wire_frame).collect(),
    }
}

/// A column's values as they are stored.
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

/// A frame of a stack.
pub fn wire_frame(frame: Frame) -> v1::Frame {
    let Frame {
        name,
        module,
        offset,
        file,
        line,
    } = frame;
    v1::Frame {
        name,
        module,
        offset,
        file,
        line,
    }
}

/// Whether there is no value in a message's column, of whatever kind.
fn is_empty(values: &v1::Values) -> bool {
    match &values.values {
        Some(Wire::Unsigned(of)) => of.values.is_empty(),
        Some(Wire::Signed(of)) => of.values.is_empty(),
        Some(Wire::Bytes(of)) => of.ends.is_empty() && of.data.is_empty() && of.cut.is_empty(),
        Some(Wire::Lists(of)) => of.ends.is_empty() && of.values.is_empty(),
        Some(Wire::Stacks(of)) => of.ends.is_empty() && of.frames.is_empty(),
        None => false,
    }
}

/// A column without a value.
fn empty(sort: Sort, kind: Kind) -> Data {
    match sort {
        Sort::Unsigned => Data::of(Kind::Unsigned),
        Sort::Signed => Data::of(Kind::Signed),
        Sort::Bytes => Data::of(Kind::Text),
        Sort::Lists => Data::of(Kind::Errors),
        Sort::Stacks => Data::Frames {
            ends: Vec::new(),
            ids: Vec::new(),
        },
        Sort::Any => Data::of(kind),
    }
}

fn column(values: v1::Values, sort: Sort, kind: Kind, frames: usize) -> Result<Data, String> {
    let data = match (values.values, sort) {
        (Some(Wire::Unsigned(of)), Sort::Unsigned | Sort::Stacks | Sort::Any) => {
            Data::Unsigned(of.values)
        }
        (Some(Wire::Signed(of)), Sort::Signed | Sort::Any) => Data::Signed(of.values),
        (Some(Wire::Bytes(of)), Sort::Bytes | Sort::Any) => {
            let v1::Bytes { ends, data, cut } = of;
            check_ends(&ends, data.len())?;
            let rows = ends.len();
            if !cut.is_sorted() || cut.last().is_some_and(|row| *row as usize >= rows) {
                return Err("what was cut is not in order, or in no row".to_owned());
            }
            Data::Bytes {
                ends,
                data: data.into(),
                cut,
            }
        }
        (Some(Wire::Lists(of)), Sort::Lists | Sort::Any) => {
            let v1::Lists { ends, values } = of;
            check_ends(&ends, values.len())?;
            check_lists(&ends, kind)?;
            Data::List { ends, values }
        }
        (Some(Wire::Stacks(of)), Sort::Stacks | Sort::Any) => {
            let v1::Stacks { ends, frames: ids } = of;
            check_ends(&ends, ids.len())?;
            if let Some(id) = ids.iter().find(|id| **id as usize >= frames) {
                return Err(format!("frame {id}, and there are {frames}"));
            }
            Data::Frames { ends, ids }
        }
        (None, _) => return Err("it has no values".to_owned()),
        (Some(_), _) => return Err("its values are not of its kind".to_owned()),
    };
    Ok(data)
}

/// Ends never go back, and the last is the end of what there is.
fn check_ends(ends: &[u32], len: usize) -> Result<(), String> {
    let last = ends.last().map_or(0, |end| *end as usize);
    match ends.is_sorted() && last == len {
        true => Ok(()),
        false => Err(format!("its rows do not end where its {len} values do")),
    }
}

fn check_lists(ends: &[u32], kind: Kind) -> Result<(), String> {
    let mut start = 0;
    let mut lengths = ends
        .iter()
        .map(|end| end - std::mem::replace(&mut start, *end));
    match kind {
        Kind::Log2 { .. } if lengths.any(|len| len > BUCKETS) => {
            Err(format!("a histogram of more than {BUCKETS} buckets"))
        }
        Kind::Errors if lengths.any(|len| len % 2 != 0) => {
            Err("an error without its count".to_owned())
        }
        _ => Ok(()),
    }
}

fn frame(frame: v1::Frame) -> Frame {
    let v1::Frame {
        name,
        module,
        offset,
        file,
        line,
    } = frame;
    Frame {
        name,
        module,
        offset,
        file,
        line,
    }
}
