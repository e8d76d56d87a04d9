//! A dataset: rows of one type, of which a tracer has one or more.

use crate::{Batch, Column, Event, Source, labels};
use core::any::type_name;
use std::vec::Vec;

/// Rows of one type that a tracer produces.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its name. That of a tracer's first is the tracer's.
    pub name: &'static str,
    /// What its rows are; the first paragraph is one sentence.
    pub about: &'static str,
    /// Its columns.
    pub columns: Vec<Column>,
    /// How its rows leave the kernel.
    pub source: Source,
    /// Bytes of a map row's key.
    pub key_bytes: usize,
    /// Bytes of a row's fixed part.
    pub row_bytes: usize,
    decode: fn(&[u8], &mut Batch) -> Result<(), Malformed>,
}

/// A record that is not one of this dataset's: a bug between the two sides of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The row's type.
    pub wanted: &'static str,
    /// Bytes that came.
    pub bytes: usize,
}

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { wanted, bytes } = self;
        write!(f, "a record of {bytes} bytes is not a {wanted}")
    }
}

impl std::error::Error for Malformed {}

impl Dataset {
    /// The rows of `T`, under this name.
    pub fn of<T: Event>(name: &'static str) -> Self {
        let mut columns = Vec::new();
        T::columns(&mut columns);
        Self {
            name,
            about: T::ABOUT,
            columns,
            source: T::SOURCE,
            key_bytes: T::KEY_BYTES,
            row_bytes: size_of::<T>(),
            decode: decode::<T>,
        }
    }

    /// Its columns behind those of labels, as conditions have them.
    pub fn labelled(&self) -> Vec<Column> {
        // Those of a trace may have labels before them already.
        let own = self.columns.iter().filter(|column| !column.is_label());
        labels(self.source.form()).chain(own.cloned()).collect()
    }

    /// Appends one record: a ring's, or a map's key and value joined.
    ///
    /// # Errors
    /// Where its size or a span in it does not fit; the batch is as before.
    pub fn decode(&self, record: &[u8], out: &mut Batch) -> Result<(), Malformed> {
        (self.decode)(record, out)
    }
}

fn decode<T: Event>(record: &[u8], out: &mut Batch) -> Result<(), Malformed> {
    let fits = match T::ref_from_prefix(record) {
        Ok((row, tail)) => out.append(tail, |cursor| row.push(cursor)),
        Err(_) => false,
    };
    match fits {
        true => Ok(()),
        false => Err(Malformed {
            wanted: type_name::<T>(),
            bytes: record.len(),
        }),
    }
}
