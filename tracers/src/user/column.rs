//! What a column is: everything that renderers, merging and documentation go by.

use std::borrow::Cow;

/// One column of a tracer's rows.
#[derive(Clone, Debug)]
pub struct Column {
    /// The key in JSON, the heading in a table.
    pub name: Cow<'static, str>,
    /// What it is: the field's doc comment.
    pub about: Cow<'static, str>,
    /// How its values are stored and shown.
    pub kind: Kind,
    /// How rows with equal keys merge.
    pub role: Role,
    /// Left out of the ordinary table.
    pub wide: bool,
}

impl Column {
    /// A column of a kind that its field's type has yet to say.
    #[doc(hidden)]
    pub const fn of(name: &'static str, about: &'static str, role: Role, wide: bool) -> Self {
        Self {
            name: Cow::Borrowed(name),
            about: Cow::Borrowed(about),
            kind: Kind::Unsigned,
            role,
            wide,
        }
    }

    pub(crate) const fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Whether it says of a target what its caller said: it is not the tracer's own.
    pub fn is_label(&self) -> bool {
        LABELS.iter().any(|label| label.name == self.name)
    }

    /// The unit, which the name's suffix says.
    pub fn unit(&self) -> Unit {
        if let Kind::Log2 { unit } = self.kind {
            return unit;
        }
        match self.name.rsplit_once('_').map(|(_, suffix)| suffix) {
            Some("ns") => Unit::Nanoseconds,
            Some("bytes") => Unit::Bytes,
            Some("pages") => Unit::Pages,
            Some("pct") => Unit::Percent,
            _ => Unit::None,
        }
    }
}

/// What a column's values are.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A number from 0.
    Unsigned,
    /// A number.
    Signed,
    /// 0, 1 or, where it is not known, more; shown as no, yes or nothing.
    Bool,
    /// CLOCK_BOOTTIME in ns, shown as the wall clock's time.
    Time,
    /// Bytes that are mostly text, not always UTF-8.
    Text,
    /// A path: text that is cut on the left where room is short.
    Path,
    /// A program's arguments: byte strings, each ended by a zero byte.
    Args,
    /// 16 bytes; IPv4 is mapped into IPv6.
    Ip,
    /// A number of [`crate::Syscall`], shown by name.
    Syscall,
    /// A system call's result; a negative one is an errno, shown by name.
    Outcome,
    /// Permission bits, shown in octal.
    Octal,
    /// Bits, shown by the names that the function gives.
    Flags(fn(u64) -> std::string::String),
    /// Return addresses in user space, innermost first.
    UserStack,
    /// Return addresses in the kernel, innermost first.
    KernelStack,
    /// Counts by power of two: item n counts values of 2^n to 2^(n+1) - 1; item 0 also those of 0.
    Log2 {
        /// Of the values that were counted.
        unit: Unit,
    },
    /// Pairs of an errno and how often it occurred; errno 0 stands for all others.
    Errors,
}

/// The columns that labels of targets become, before all others.
pub static LABELS: [Column; 4] = [
    label("node", "The node, as the caller named it."),
    label("namespace", "The namespace of the pod."),
    label("pod", "The pod."),
    label("container", "The container in the pod."),
];

const fn label(name: &'static str, about: &'static str) -> Column {
    Column::of(name, about, Role::Key, false).kind(Kind::Text)
}

impl Kind {
    /// One word for it, as `describe` and the schema say it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unsigned | Self::Signed => "number",
            Self::Bool => "yes/no",
            Self::Time => "time",
            Self::Text => "text",
            Self::Path => "path",
            Self::Args => "arguments",
            Self::Ip => "address",
            Self::Syscall => "system call",
            Self::Outcome => "result",
            Self::Octal => "mode",
            Self::Flags(_) => "flags",
            Self::UserStack | Self::KernelStack => "stack",
            Self::Log2 { .. } => "histogram",
            Self::Errors => "errors",
        }
    }

    /// Whether its values are the frames of a stack.
    pub const fn is_stack(self) -> bool {
        matches!(self, Self::UserStack | Self::KernelStack)
    }
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// An identity or a plain number.
    None,
    /// Time.
    Nanoseconds,
    /// Size.
    Bytes,
    /// Pages of memory, of the machine's page size.
    Pages,
    /// Hundredths.
    Percent,
}

impl Unit {
    /// One word for it; empty for [`Unit::None`].
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Nanoseconds => "ns",
            Self::Bytes => "bytes",
            Self::Pages => "pages",
            Self::Percent => "percent",
        }
    }
}

/// How a column takes part when rows with equal keys merge, over CPUs, intervals and nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An event's own value: such rows do not merge.
    None,
    /// Part of a row's identity.
    Key,
    /// Added up, and one per event: the account is kept by it.
    Count,
    /// Added up.
    Sum,
    /// The largest stays.
    Max,
    /// The smallest stays.
    Min,
    /// The newest stays.
    Last,
    /// Added up bucket by bucket, or error by error.
    Histogram,
}

impl Role {
    /// One word for it; empty for [`Role::None`].
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Key => "key",
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Max => "max",
            Self::Min => "min",
            Self::Last => "last",
            Self::Histogram => "histogram",
        }
    }
}
