//! The properties of every kind.

pub(super) use super::plain;
pub(super) use crate::{
    Column, Frame, Kind, Unit, Value, Wall,
    user::{escape, human, json},
};
pub(super) use std::{string::String, vec::Vec};

/// A kind of column. No part has a default: what a new kind forgets is an error of the compiler.
pub(crate) trait Form: Copy {
    /// Its name on the wire. It never changes its meaning.
    const NAME: &'static str;
    /// The word that `describe` and the documentation have for it.
    const WORD: &'static str;
    /// Who chooses the text of its values.
    const TRUST: Trust;
    /// What gives its values names after they have been read.
    const NAMING: Naming;
    /// How tables lay it out.
    const LOOK: Look;
    /// The column that follows it in CSV.
    const BESIDE: Beside;
    /// A value, and its forms in a column that is called `x`.
    #[cfg(test)]
    const SAMPLE: Sample;

    /// How values are stored when they leave the kernel.
    fn store(self) -> Store;
    /// How conditions write and compare its values.
    fn compared(self) -> Compared;
    /// The form in which clients of every version can show it.
    fn basic(self) -> Option<Basic>;
    /// What its values are of, beyond the word; mostly nothing.
    fn of(self) -> &'static str;
    /// The kind as a schema from elsewhere names it, which says no more than a unit; `None` where schemas do not name it.
    fn sent(unit: Unit) -> Option<Self>;
    /// Appends a value as a table shows it: on one line, escaped.
    fn text(self, value: Value<'_>, shown: Shown<'_>, out: &mut String) -> Tone;
    /// Appends a value as JSON.
    fn json(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>);
    /// Appends a value as a field of CSV.
    fn csv(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>);
}

/// What values are shown with, besides themselves.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Their column.
    pub column: &'a Column,
    /// The frames that stacks refer to.
    pub frames: &'a [Frame],
    /// For times.
    pub wall: Wall,
}

/// Who chooses the text of a kind's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The kernel or TraceJob: the text is one of a known set, or a number.
    Kernel,
    /// A traced program, or nobody knows. Such text never gets into an object of Kubernetes, a metric's label or a log's template.
    Program,
}

/// The work in user space that gives values their names, where the kernel side has only numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// None: the values are as they are shown.
    None,
    /// Frames of user space, by the files of the row's process.
    UserStack,
    /// Frames of the kernel, by its symbols.
    KernelStack,
    /// A symbol of the kernel.
    KernelSymbol,
    /// A constant of an enum of the kernel, by its types.
    KernelEnum,
}

/// How values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Numbers from 0.
    Unsigned,
    /// Numbers.
    Signed,
    /// Byte strings.
    Bytes,
    /// Lists of counts, one for each power of two.
    Buckets,
    /// Lists of names by number, each followed by its count.
    Pairs,
    /// Hashes of stacks, until frames replace them.
    Stack,
}

/// The forms that every version of the API has had. No kind is added here: a new kind chooses one of them, and older clients show that.
#[allow(missing_docs, reason = "the kinds of the same names say what they are")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basic {
    Unsigned,
    Signed,
    Bool,
    Time,
    Text,
    Path,
    Args,
    Ip,
    Syscall,
    Outcome,
    Octal,
    Flags,
    Stack,
    Log2,
    Errors,
}

impl Basic {
    /// The kind of the same name.
    pub fn kind(self, unit: Unit) -> Kind {
        match self {
            Self::Unsigned => Kind::Unsigned,
            Self::Signed => Kind::Signed,
            Self::Bool => Kind::Bool,
            Self::Time => Kind::Time,
            // Flags come by their names.
            Self::Text | Self::Flags => Kind::Text,
            Self::Path => Kind::Path,
            Self::Args => Kind::Args,
            Self::Ip => Kind::Ip,
            Self::Syscall => Kind::Syscall,
            Self::Outcome => Kind::Outcome,
            Self::Octal => Kind::Octal,
            Self::Stack => Kind::UserStack,
            Self::Log2 => Kind::Log2 { unit },
            Self::Errors => Kind::Errors,
        }
    }

    /// How values are stored when they come over the wire.
    pub const fn store(self) -> Store {
        match self {
            Self::Unsigned | Self::Bool | Self::Time | Self::Octal => Store::Unsigned,
            Self::Signed | Self::Outcome => Store::Signed,
            Self::Text | Self::Path | Self::Args | Self::Ip | Self::Syscall | Self::Flags => {
                Store::Bytes
            }
            Self::Log2 => Store::Buckets,
            Self::Errors => Store::Pairs,
            Self::Stack => Store::Stack,
        }
    }
}

/// A function that calls another one with every number that has a name, and with that name.
pub type EachName = fn(&mut dyn FnMut(i64, &str));

/// Calls a function with each name of a number's bits. It allocates only for bits without a name: filters call it for each row.
pub type BitNames = fn(u64, &mut dyn FnMut(&str));

/// How conditions write and compare the values of a kind.
#[derive(Clone, Copy, Debug)]
pub enum Compared {
    /// As numbers, with the unit of their column.
    Number,
    /// As `yes` and `no`.
    Boolean,
    /// As text, of which there are patterns.
    Text,
    /// As text, whose parts have a space between them.
    Arguments,
    /// As addresses and networks.
    Address,
    /// As numbers that have names.
    Named(EachName),
    /// As numbers that are written in a way of their own: how, and what reads that.
    Written(&'static str, fn(&str) -> Option<u64>),
    /// As names of bits, of which a value has several.
    Names(BitNames),
    /// As the names that come into the place of numbers after reading.
    Later,
    /// Not at all, for this reason.
    Never(&'static str),
}

/// How a table lays out a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns of the terminal that its cells usually take, so that a stream of rows starts out aligned.
    pub width: usize,
    /// What is cut where room is short.
    pub cut: Cut,
    /// Whether a quantity is flush right.
    pub right: bool,
}

/// What of a text is cut where room is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing: a number that is cut is another number.
    Never,
    /// Its end.
    Right,
    /// Its beginning: the end of a path says most.
    Left,
}

/// The column that follows another one in CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// None.
    Nothing,
    /// `NAME_error`: the error that a number stands for.
    Error,
    /// `NAME_cut`: whether the kernel had more.
    Cut,
}

/// How a cell stands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Not at all.
    #[default]
    Plain,
    /// Something failed.
    Bad,
}

/// A value, and its forms in a column that is called `x`.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) value: Value<'static>,
    pub(crate) text: &'static str,
    pub(crate) json: &'static str,
    pub(crate) csv: &'static str,
}
