//! Filters of rows, by the values of their columns.
//!
//! Users write conditions (`text`, `typed`). The kernel side tests as many as possible before a row is sent (`compile`). The others are tested
//! on decoded rows, with the same result. Conditions on names or labels are tested when rows have these.

mod compile;
mod like;
mod mistake;
#[cfg(test)]
mod tests;
mod text;
mod typed;

pub use like::{Network, Pattern};
pub use mistake::Mistake;

use crate::{Batch, Column, Compared, Dataset, Instruction, LABELS, Naming, Store, Value};
use core::cmp::Ordering;
use like::Names;
use std::{borrow::Cow, boxed::Box, string::String, vec::Vec};
use typed::Fault;

/// A filter of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Rows that match all of these.
    All(Vec<Self>),
    /// Rows that match at least one of these.
    Any(Vec<Self>),
    /// Rows that do not match this one.
    Not(Box<Self>),
    /// Rows for which the comparison is true.
    Compare(Comparison),
}

/// A comparison of a column's value with a constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    column: usize,
    operator: Operator,
    with: Operand,
    read: Read,
    /// Whether the column gets its values only from stages.
    named_later: bool,
}

/// The compared form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// The stored value.
    Stored,
    /// Its parts, with a space between them.
    Joined,
    /// The names of its bits.
    Names(Names),
}

/// The operator of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// Less; texts are ordered by bytes.
    Less,
    /// Not greater.
    AtMost,
    /// Greater; texts are ordered by bytes.
    Greater,
    /// Not less.
    AtLeast,
}

/// The constant of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A number, for every column of numbers. It may be outside of the column's range.
    Number(i128),
    /// Stored bytes: a text, a path, 16 bytes of an address. Arguments are separated by a space.
    Bytes(Vec<u8>),
    /// Text that matches a pattern.
    Pattern(Pattern),
    /// Addresses of a network.
    Network(Network),
    /// Names of bits, all of which are set.
    Names(Vec<String>),
}

/// Reason of an impossible comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotComparable {
    /// The index is not that of a column.
    NoColumn(usize),
    /// The column of this name has numbers.
    Numbers(Cow<'static, str>),
    /// The column of this name has texts.
    Texts(Cow<'static, str>),
    /// The values of the column of this name can be compared with this constant only for equality.
    NoOrder(Cow<'static, str>),
    /// The values of the column of this name have neither an order nor a single form: histograms, stacks, and values that are named after reading.
    Neither(Cow<'static, str>),
}

impl core::fmt::Display for NotComparable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoColumn(column) => write!(f, "there is no column {column}"),
            Self::Numbers(name) => write!(f, "{name} is a number: compare it with a number"),
            Self::Texts(name) => write!(f, "{name} is a text: compare it with a text"),
            Self::NoOrder(name) => write!(f, "{name} has no such order: use == or !="),
            Self::Neither(name) => write!(f, "{name} cannot be compared"),
        }
    }
}

impl std::error::Error for NotComparable {}

/// A filter in two parts, which both must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The part for the kernel side, for the slot [`crate::Slot::Row`]; `None` if it cannot test any part.
    pub kernel: Option<Vec<Instruction>>,
    /// The part for user space; `None` if the kernel side tests everything.
    pub user: Option<Filter>,
}

impl Comparison {
    /// Creates a comparison of the column with this index.
    ///
    /// # Errors
    /// If its values cannot be compared with this constant.
    pub fn new(
        columns: &[Column],
        column: usize,
        operator: Operator,
        with: Operand,
    ) -> Result<Self, NotComparable> {
        let Some(of) = columns.get(column) else {
            return Err(NotComparable::NoColumn(column));
        };
        let name = || of.name.clone();
        // Numbers that are named later. Some must not be revealed: the location of the kernel in memory.
        let named_later = match of.kind.naming() {
            Naming::None => false,
            Naming::KernelSymbol | Naming::KernelEnum => true,
            Naming::UserStack | Naming::KernelStack => {
                return Err(NotComparable::Neither(name()));
            }
        };
        let read = match of.kind.compared() {
            Compared::Arguments => Read::Joined,
            Compared::Names(names) => Read::Names(Names(names)),
            Compared::Number
            | Compared::Boolean
            | Compared::Text
            | Compared::Address
            | Compared::Named(_)
            | Compared::Written(..)
            | Compared::Later
            | Compared::Never(_) => Read::Stored,
        };
        let store = match named_later {
            true => Store::Bytes,
            false => of.kind.store(),
        };
        match (&with, operator) {
            (Operand::Number(_) | Operand::Bytes(_), _)
            | (_, Operator::Equal | Operator::NotEqual) => {}
            (Operand::Pattern(_) | Operand::Network(_) | Operand::Names(_), _) => {
                return Err(NotComparable::NoOrder(name()));
            }
        }
        let comparison = |read| Self {
            column,
            operator,
            with: with.clone(),
            read,
            named_later,
        };
        match (store, &with) {
            (Store::Unsigned | Store::Signed, Operand::Number(_)) => Ok(comparison(Read::Stored)),
            (Store::Unsigned, Operand::Names(_)) => match read {
                Read::Names(_) => Ok(comparison(read)),
                Read::Stored | Read::Joined => Err(NotComparable::Numbers(name())),
            },
            (Store::Bytes, Operand::Bytes(_) | Operand::Pattern(_) | Operand::Network(_)) => {
                Ok(comparison(read))
            }
            (
                Store::Unsigned | Store::Signed,
                Operand::Bytes(_) | Operand::Pattern(_) | Operand::Network(_) | Operand::Names(_),
            ) => Err(NotComparable::Numbers(name())),
            (Store::Bytes, Operand::Number(_) | Operand::Names(_)) => match named_later {
                true => Err(NotComparable::Neither(name())),
                false => Err(NotComparable::Texts(name())),
            },
            (Store::Buckets | Store::Pairs | Store::Stack, _) => {
                Err(NotComparable::Neither(name()))
            }
        }
    }

    fn matches(&self, batch: &Batch, row: usize) -> bool {
        self.matches_value(batch.value(self.column, row))
    }

    fn matches_value(&self, value: Value<'_>) -> bool {
        let equal = |is_equal| match is_equal {
            true => Ordering::Equal,
            // These constants are compared only for equality.
            false => Ordering::Less,
        };
        let value = match (self.read, value) {
            (Read::Joined, Value::Bytes(bytes, cut)) => {
                let parts = bytes.strip_suffix(&[0]).unwrap_or(bytes).iter();
                let joined: Vec<u8> = parts
                    .map(|byte| if *byte == 0 { b' ' } else { *byte })
                    .collect();
                return self.holds(Value::Bytes(&joined, cut), equal);
            }
            (Read::Names(names), Value::Unsigned(number)) => match &self.with {
                Operand::Names(wanted) => {
                    return self.operator.holds(equal(names.has(number, wanted)));
                }
                Operand::Number(_)
                | Operand::Bytes(_)
                | Operand::Pattern(_)
                | Operand::Network(_) => value,
            },
            (Read::Stored | Read::Joined | Read::Names(_), value) => value,
        };
        self.holds(value, equal)
    }

    fn holds(&self, value: Value<'_>, equal: impl Fn(bool) -> Ordering) -> bool {
        let order = match (value, &self.with) {
            (Value::Unsigned(value), Operand::Number(with)) => i128::from(value).cmp(with),
            (Value::Signed(value), Operand::Number(with)) => i128::from(value).cmp(with),
            (Value::Bytes(value, _), Operand::Bytes(with)) => value.cmp(with),
            (Value::Bytes(value, _), Operand::Pattern(with)) => equal(with.matches(value)),
            (Value::Bytes(value, _), Operand::Network(with)) => equal(with.contains(value)),
            _ => {
                debug_assert!(
                    false,
                    "a filter is for rows of the columns it was made with"
                );
                return false;
            }
        };
        self.operator.holds(order)
    }
}

impl Operator {
    /// Returns whether the operator is true for this order of value and constant.
    const fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }

    /// Returns whether the operator compares by order, and not only for equality.
    const fn is_of_order(self) -> bool {
        match self {
            Self::Equal | Self::NotEqual => false,
            Self::Less | Self::AtMost | Self::Greater | Self::AtLeast => true,
        }
    }

    /// Returns the negated operator.
    const fn negated(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::AtLeast,
            Self::AtLeast => Self::Less,
            Self::AtMost => Self::Greater,
            Self::Greater => Self::AtMost,
        }
    }
}

impl Filter {
    /// Parses a condition for rows with these columns: labels first, then the dataset's ([`Dataset::labelled`]).
    ///
    /// # Errors
    /// The mistake and its position.
    pub fn parse(text: &str, columns: &[Column]) -> Result<Self, Mistake> {
        typed::filter(&text::read(text)?, columns).map_err(Fault::mistake)
    }

    /// Parses a condition for the datasets of a trace: one filter for each, in order. A dataset without one of the columns has `None`: all its
    /// rows are delivered. Labels are columns of every dataset.
    ///
    /// # Errors
    /// If the condition is wrong, or does not fit any dataset.
    pub fn of_datasets(text: &str, datasets: &[Dataset]) -> Result<Vec<Option<Self>>, Mistake> {
        let node = text::read(text)?;
        let mut filters = Vec::new();
        let mut missing = None;
        for dataset in datasets {
            filters.push(match typed::filter(&node, &dataset.labelled()) {
                Ok(filter) => Some(filter),
                Err(Fault::Missing(mistake)) => {
                    missing.get_or_insert(mistake);
                    None
                }
                Err(Fault::Wrong(mistake)) => return Err(mistake),
            });
        }
        match missing.filter(|_| filters.iter().all(Option::is_none)) {
            Some(mistake) => Err(mistake),
            None => Ok(filters),
        }
    }

    /// Splits the filter into two parts, which both must match. The first one is for decoded rows: its columns are those of the dataset. The second
    /// one needs names or labels: its columns are unchanged, with `labels` columns of labels before the others.
    pub fn by_time(self, labels: usize) -> (Option<Self>, Option<Self>) {
        let mut parts = Vec::new();
        self.flatten(&mut parts);
        let (late, mut early): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| part.is_late(labels));
        (early.iter_mut()).for_each(|part| part.each(&mut |one| one.column -= labels));
        (all_of(early), all_of(late))
    }

    /// Returns the filter for rows that have only some of the labels: the others are empty.
    #[must_use]
    pub fn with_labels(self, has: [bool; LABELS.len()]) -> Self {
        match self {
            Self::All(parts) => Self::All(
                parts
                    .into_iter()
                    .map(|part| part.with_labels(has))
                    .collect(),
            ),
            Self::Any(parts) => Self::Any(
                parts
                    .into_iter()
                    .map(|part| part.with_labels(has))
                    .collect(),
            ),
            Self::Not(part) => Self::Not(Box::new(part.with_labels(has))),
            Self::Compare(mut comparison) => {
                let before = &has[..comparison.column.min(has.len())];
                let absent = before.iter().filter(|has| !**has).count();
                match has.get(comparison.column) {
                    Some(false) => match comparison.matches_value(Value::Bytes(b"", false)) {
                        true => Self::All(Vec::new()),
                        false => Self::Any(Vec::new()),
                    },
                    Some(true) | None => {
                        comparison.column -= absent;
                        Self::Compare(comparison)
                    }
                }
            }
        }
    }

    /// Returns whether it needs names or labels.
    fn is_late(&self, labels: usize) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(|part| part.is_late(labels)),
            Self::Not(part) => part.is_late(labels),
            Self::Compare(comparison) => comparison.named_later || comparison.column < labels,
        }
    }

    fn each(&mut self, with: &mut impl FnMut(&mut Comparison)) {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter_mut().for_each(|part| part.each(with))
            }
            Self::Not(part) => part.each(with),
            Self::Compare(comparison) => with(comparison),
        }
    }

    /// Returns the indices of a batch's rows: those that match, and the others.
    pub fn sorted(&self, batch: &Batch) -> (Vec<u32>, Vec<u32>) {
        (0..batch.rows() as u32).partition(|row| self.matches(batch, *row as usize))
    }

    /// Returns whether a row matches. Its columns are those with which the filter was created, before they are named.
    ///
    /// # Panics
    /// If the batch does not have the row or has too few columns: a bug of the caller.
    pub fn matches(&self, batch: &Batch, row: usize) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(batch, row)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(batch, row)),
            Self::Not(part) => !part.matches(batch, row),
            Self::Compare(comparison) => comparison.matches(batch, row),
        }
    }

    /// Returns the filter as instructions for the slot [`crate::Slot::Row`]; `None` if the kernel side cannot test all of it.
    pub fn instructions(&self, columns: &[Column]) -> Option<Vec<Instruction>> {
        let Split { kernel, user } = self.clone().split(columns);
        kernel.filter(|_| user.is_none())
    }

    /// Splits the filter into the part that the kernel side can test, and the rest.
    pub fn split(self, columns: &[Column]) -> Split {
        let mut parts = Vec::new();
        self.flatten(&mut parts);
        compile::split(parts, columns)
    }

    /// Collects the parts of the filter, which all must match.
    fn flatten(self, into: &mut Vec<Self>) {
        match self {
            Self::All(parts) => parts.into_iter().for_each(|part| part.flatten(into)),
            part => into.push(part),
        }
    }
}

/// Returns the conjunction of filters; `None` without filters.
fn all_of(mut parts: Vec<Filter>) -> Option<Filter> {
    match parts.len() {
        0 | 1 => parts.pop(),
        _ => Some(Filter::All(parts)),
    }
}
