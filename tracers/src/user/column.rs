//! What a column is: everything that renderers, merging and documentation go by.

use crate::{Form, Kind, Store, Width};
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
    /// Left out of a narrow table before values of other columns are cut.
    pub spare: bool,
    /// For a stack or a name that is drawn on top of the row's other stacks, from its innermost frame on: of the thread that ended a wait.
    pub on_top: bool,
    /// For a column that is one of the parts of a whole, all in the same unit: the command that shows more of this part, without
    /// `tracejob run`. Tables show the parts of a row together.
    pub part: Option<&'static str>,
    /// Where its values lie in rows as the kernel side writes them; `None` of a column that does not come from there, or from elsewhere.
    pub place: Option<Place>,
}

/// Where a value lies in the fixed part of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes before it.
    pub offset: usize,
    /// How it lies there.
    pub held: Held,
}

/// How a value lies in a row, where it can be compared there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A number as the machine has them, signed where the column's are.
    Number(Width),
    /// Its bytes, exactly as many.
    Bytes(usize),
    /// Text up to the first zero byte, or so many bytes of it.
    Text(usize),
    /// In another way: it is made of something else, or lies in the tail.
    Other,
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
            spare: false,
            on_top: false,
            part: None,
            place: None,
        }
    }

    /// Drawn on top of the row's other stacks.
    #[doc(hidden)]
    pub const fn on_top(mut self) -> Self {
        self.on_top = true;
        self
    }

    /// One of the parts of a whole, with the command that shows more of it.
    #[doc(hidden)]
    pub const fn part(mut self, command: &'static str) -> Self {
        self.part = Some(command);
        self
    }

    /// Left out of a narrow table.
    #[doc(hidden)]
    pub const fn spare(mut self) -> Self {
        self.spare = true;
        self
    }

    /// Of a field with so many bytes of the row before it.
    #[doc(hidden)]
    pub const fn at(mut self, offset: usize) -> Self {
        self.place = Some(Place {
            offset,
            held: Held::Other,
        });
        self
    }

    /// It lies in the row like this.
    pub(crate) fn held(mut self, held: Held) -> Self {
        self.place = self.place.map(|place| Place { held, ..place });
        self
    }

    /// Its field is a number of so many bytes, where its kind has numbers.
    pub(crate) fn number(self, bytes: usize) -> Self {
        let held = match self.kind.store() {
            Store::Unsigned | Store::Signed => Width::of(bytes).map_or(Held::Other, Held::Number),
            Store::Bytes | Store::Buckets | Store::Pairs | Store::Stack => Held::Other,
        };
        self.held(held)
    }

    /// Of this kind.
    #[doc(hidden)]
    pub const fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Whether it says of a target what its caller said: it is not the tracer's own.
    pub fn is_label(&self) -> bool {
        LABELS.iter().any(|label| label.name == self.name)
    }

    /// The name without its unit or `_count`: `latency` of `latency_ns`. Another column may have the same.
    pub fn short(&self) -> &str {
        const SUFFIXES: [&str; 6] = ["ns", "us", "bytes", "pages", "pct", "count"];
        match self.name.rsplit_once('_') {
            Some((short, suffix)) if SUFFIXES.contains(&suffix) => short,
            Some(_) | None => &self.name,
        }
    }

    /// The unit, which the name's suffix says.
    pub fn unit(&self) -> Unit {
        if let Kind::Log2 { unit } = self.kind {
            return unit;
        }
        match self.name.rsplit_once('_').map(|(_, suffix)| suffix) {
            Some("ns") => Unit::Nanoseconds,
            Some("us") => Unit::Microseconds,
            Some("bytes") => Unit::Bytes,
            Some("pages") => Unit::Pages,
            Some("pct") => Unit::Percent,
            _ => Unit::None,
        }
    }
}

/// Returns the place of a column by its name, or by its name without the unit if no other column has that.
pub fn column_named(columns: &[Column], name: &str) -> Option<usize> {
    let is_named = |column: &Column| column.name == name;
    columns.iter().position(is_named).or_else(|| {
        let mut short = { columns.iter().enumerate() }.filter(|(_, column)| column.short() == name);
        match (short.next(), short.next()) {
            (Some((at, _)), None) => Some(at),
            _ => None,
        }
    })
}

/// The columns that labels of targets become, before all others.
pub static LABELS: [Column; 4] = [
    label("node", "Name of the node, as given by the caller."),
    label("namespace", "Namespace of the pod."),
    label("pod", "Name of the pod."),
    label("container", "Name of the container in the pod."),
];

/// The same as columns of rows of this form: rows that are events have no keys.
pub fn labels(form: Form) -> impl Iterator<Item = Column> {
    LABELS.iter().map(move |label| match form {
        Form::Events => Column {
            role: Role::None,
            ..label.clone()
        },
        Form::Table => label.clone(),
    })
}

const fn label(name: &'static str, about: &'static str) -> Column {
    Column::of(name, about, Role::Key, false).kind(Kind::Text)
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// An identity or a plain number.
    None,
    /// Time.
    Nanoseconds,
    /// Time.
    Microseconds,
    /// Size.
    Bytes,
    /// Pages of memory, of the machine's page size.
    Pages,
    /// Hundredths.
    Percent,
}

impl Unit {
    /// The unit of this word; [`Unit::None`] for every other.
    pub fn named(word: &str) -> Self {
        let all = [
            Self::Nanoseconds,
            Self::Microseconds,
            Self::Bytes,
            Self::Pages,
            Self::Percent,
        ];
        let mut all = all.into_iter();
        all.find(|unit| unit.word() == word).unwrap_or(Self::None)
    }

    /// One word for it; empty for [`Unit::None`].
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Nanoseconds => "ns",
            Self::Microseconds => "us",
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
    /// A current value, which goes up and down: of two states the newer one's stays, and within one state rows that become one add up.
    Gauge,
    /// Added up bucket by bucket, or error by error.
    Histogram,
}

/// The column by which rows are ordered, largest first: the count, else the first gauge, else the first sum. A count that tables leave out
/// comes last.
pub fn weight(columns: &[Column]) -> Option<usize> {
    let first = |role| columns.iter().position(|column| column.role == role);
    let count = first(Role::Count);
    { count.filter(|at| !columns[*at].wide) }
        .or_else(|| first(Role::Gauge))
        .or_else(|| first(Role::Sum))
        .or(count)
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
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}
