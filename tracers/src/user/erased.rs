//! A tracer without its type, as the agent, the command line and the generators handle it.

use crate::{
    Batch, Class, Column, Dataset, Event, Family, Opt, Params, Plan, Point, Source, Spec, Tracer,
};
use core::{any::type_name, marker::PhantomData};
use std::{collections::BTreeMap, string::String, vec::Vec};

/// A tracer without its type.
pub trait Erased: Sync {
    /// Its name: that of its module, its object and its test.
    fn name(&self) -> &'static str;
    /// What its rows are; the first paragraph is one sentence.
    fn about(&self) -> &'static str;
    /// What it reveals or changes.
    fn class(&self) -> Class;
    /// The part of the system that it looks at.
    fn family(&self) -> Family;
    /// Sets of points, best first; each set alone is enough. Those of a trace are in its plan.
    fn points(&self) -> Vec<Vec<Point>>;
    /// Whether a point may be reached where a program of it is at work: by that work itself, or by an interrupt.
    fn nests(&self) -> bool;
    /// Its options.
    fn options(&self) -> &'static [Opt];
    /// Its columns.
    fn columns(&self) -> Vec<Column>;
    /// How its rows leave the kernel.
    fn source(&self) -> Source;
    /// What it costs, in a few words.
    fn cost(&self) -> &'static str;
    /// What comes after `tracejob run NAME`, one string per example.
    fn examples(&self) -> &'static [&'static str];
    /// Bytes of a map row's key.
    fn key_bytes(&self) -> usize;
    /// Bytes of a row's fixed part.
    fn row_bytes(&self) -> usize;
    /// What one trace with these options needs of the kernel, and the tables that it produces.
    fn plan(&self, spec: &Spec) -> Plan;
    /// Appends one record: a ring's, or a map's key and value joined.
    ///
    /// # Errors
    /// Where its size or a span in it does not fit; the batch is as before.
    fn decode(&self, record: &[u8], out: &mut Batch) -> Result<(), Malformed>;
}

/// A record that is not one of this tracer's: a bug between the two sides of the kernel.
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

/// What makes a typed tracer an [`Erased`] one.
pub struct Handle<T> {
    name: &'static str,
    tracer: PhantomData<fn() -> T>,
}

impl<T> Handle<T> {
    /// `name` is the tracer's module.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            tracer: PhantomData,
        }
    }
}

impl<T: Tracer> Erased for Handle<T> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn about(&self) -> &'static str {
        T::ABOUT
    }
    fn class(&self) -> Class {
        T::CLASS
    }
    fn family(&self) -> Family {
        T::FAMILY
    }
    fn points(&self) -> Vec<Vec<Point>> {
        T::POINTS.iter().map(|set| set.to_vec()).collect()
    }
    fn nests(&self) -> bool {
        T::NESTS
    }
    fn options(&self) -> &'static [Opt] {
        <T::Params as Params>::OPTIONS
    }
    fn columns(&self) -> Vec<Column> {
        let mut out = Vec::new();
        T::columns(&mut out);
        out
    }
    fn source(&self) -> Source {
        T::SOURCE
    }
    fn cost(&self) -> &'static str {
        T::COST
    }
    fn examples(&self) -> &'static [&'static str] {
        T::EXAMPLES
    }
    fn key_bytes(&self) -> usize {
        <T as Event>::KEY_BYTES
    }
    fn row_bytes(&self) -> usize {
        size_of::<T>()
    }
    fn plan(&self, spec: &Spec) -> Plan {
        Plan {
            tracer: self.name,
            datasets: std::vec![Dataset {
                columns: self.columns(),
                source: T::SOURCE,
            }],
            points: self.points(),
            nests: T::NESTS,
            globals: spec.globals(),
            slots: BTreeMap::new(),
        }
    }
    fn decode(&self, record: &[u8], out: &mut Batch) -> Result<(), Malformed> {
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
}

/// The tracer of that name, in snake case or as a TraceJob writes it.
pub fn find(name: &str) -> Option<&'static dyn Erased> {
    crate::ALL
        .iter()
        .copied()
        .find(|tracer| tracer.name() == name || camel(tracer.name()) == name)
}

/// The name among `names` that `name` was most likely meant to be.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `tcp_connect` as a TraceJob writes it.
pub fn camel(snake: &str) -> String {
    let mut out = String::new();
    for (index, word) in snake.split('_').enumerate() {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if index > 0 => out.extend(first.to_uppercase()),
            Some(first) => out.push(first),
            None => {}
        }
        out.push_str(letters.as_str());
    }
    out
}

/// Levenshtein distance by bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
