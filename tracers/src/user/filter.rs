//! Filters: which rows a reader wants, by the values of their columns.
//!
//! What the kernel side can test, it tests before a row is sent (`compile`). The rest is tested on decoded rows, with the same outcome.

mod compile;
#[cfg(test)]
mod tests;

use crate::{Batch, Column, Instruction, Naming, Store, Value};
use core::cmp::Ordering;
use std::{borrow::Cow, boxed::Box, vec::Vec};

/// Which rows to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Rows that match all of these.
    All(Vec<Self>),
    /// Rows that match at least one of these.
    Any(Vec<Self>),
    /// Rows that do not match this one.
    Not(Box<Self>),
    /// Rows with such a value.
    Compare(Comparison),
}

/// A column's value, compared with a constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    column: usize,
    operator: Operator,
    with: Operand,
}

/// How to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// Less; of texts, before it by bytes.
    Less,
    /// Not greater.
    AtMost,
    /// Greater; of texts, behind it by bytes.
    Greater,
    /// Not less.
    AtLeast,
}

/// What a value is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A number, for every column of numbers: it may be one that the column cannot have.
    Number(i128),
    /// Bytes as they are stored: a text, a path, 16 bytes of an address.
    Bytes(Vec<u8>),
}

/// Why a comparison is not possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotComparable {
    /// There are not as many columns.
    NoColumn(usize),
    /// The column of this name has numbers.
    Numbers(Cow<'static, str>),
    /// The column of this name has texts.
    Texts(Cow<'static, str>),
    /// The values of the column of this name have no order and no single form: histograms, stacks, and what gets its name after reading.
    Neither(Cow<'static, str>),
}

impl core::fmt::Display for NotComparable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoColumn(column) => write!(f, "there is no column {column}"),
            Self::Numbers(name) => write!(f, "{name} is a number: compare it with a number"),
            Self::Texts(name) => write!(f, "{name} is a text: compare it with a text"),
            Self::Neither(name) => write!(f, "{name} cannot be compared"),
        }
    }
}

impl std::error::Error for NotComparable {}

/// A filter in two parts: a row is kept where both match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// What the kernel side tests, for the slot [`crate::Slot::Row`]; `None` where it can test nothing of the filter.
    pub kernel: Option<Vec<Instruction>>,
    /// What is tested after reading; `None` where nothing is left to test.
    pub user: Option<Filter>,
}

impl Comparison {
    /// Compares the column at this place.
    ///
    /// # Errors
    /// Where its values cannot be compared with that.
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
        match of.kind.naming() {
            Naming::None => {}
            // Numbers before they have their names, of which some must not be told: where the kernel lies in memory.
            Naming::UserStack | Naming::KernelStack | Naming::KernelSymbol | Naming::KernelEnum => {
                return Err(NotComparable::Neither(name()));
            }
        }
        match (of.kind.store(), &with) {
            (Store::Unsigned | Store::Signed, Operand::Number(_))
            | (Store::Bytes, Operand::Bytes(_)) => Ok(Self {
                column,
                operator,
                with,
            }),
            (Store::Unsigned | Store::Signed, Operand::Bytes(_)) => {
                Err(NotComparable::Numbers(name()))
            }
            (Store::Bytes, Operand::Number(_)) => Err(NotComparable::Texts(name())),
            (Store::Buckets | Store::Pairs | Store::Stack, _) => {
                Err(NotComparable::Neither(name()))
            }
        }
    }

    fn matches(&self, batch: &Batch, row: usize) -> bool {
        let order = match (batch.value(self.column, row), &self.with) {
            (Value::Unsigned(value), Operand::Number(with)) => i128::from(value).cmp(with),
            (Value::Signed(value), Operand::Number(with)) => i128::from(value).cmp(with),
            (Value::Bytes(value, _), Operand::Bytes(with)) => value.cmp(with),
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
    /// Whether it holds where the value lies so to what it is compared with.
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

    /// Holds exactly where this one does not.
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
    /// Whether a row matches. It is one of the columns that the filter was made with, before what has names gets them.
    ///
    /// # Panics
    /// Where the batch has no such row or too few columns: a bug of the caller.
    pub fn matches(&self, batch: &Batch, row: usize) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(batch, row)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(batch, row)),
            Self::Not(part) => !part.matches(batch, row),
            Self::Compare(comparison) => comparison.matches(batch, row),
        }
    }

    /// All of it as instructions for the slot [`crate::Slot::Row`]; `None` where the kernel side cannot test all of it.
    pub fn instructions(&self, columns: &[Column]) -> Option<Vec<Instruction>> {
        let Split { kernel, user } = self.clone().split(columns);
        kernel.filter(|_| user.is_none())
    }

    /// Leaves to the kernel side what it can test.
    pub fn split(self, columns: &[Column]) -> Split {
        let mut parts = Vec::new();
        self.flatten(&mut parts);
        compile::split(parts, columns)
    }

    /// Its parts, all of which have to match.
    fn flatten(self, into: &mut Vec<Self>) {
        match self {
            Self::All(parts) => parts.into_iter().for_each(|part| part.flatten(into)),
            part => into.push(part),
        }
    }
}
