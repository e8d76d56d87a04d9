//! Columns of a table: those of the tracer, and derived columns (rate, average, percentile).

use super::{
    human, parts,
    spark::{Axis, percentile_heading},
};
use rows::Wall;
use tracers::{
    Batch, Beside, Column, Cut, Kind, Naming, Role, Shown, Store, Tone, Trust, Unit, Value,
    percentile,
};

/// A column of a table.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Heading.
    pub(crate) text: String,
    /// Source of the cells.
    source: Cells,
    /// Whether cells are right-aligned.
    pub(crate) right: bool,
    /// Side where a long cell is truncated.
    pub(crate) cut: Cut,
    /// Behaviour if the terminal is too narrow.
    pub(crate) room: Room,
    /// Usual width of its cells, so that a stream of rows starts aligned.
    pub(crate) usual: usize,
    /// Order of hiding if the terminal is too narrow.
    pub(crate) leaves: Leaves,
}

/// Behaviour of a column if the terminal is too narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Keeps its width; cells are never truncated.
    Keeps,
    /// Truncated after the columns that give way.
    Cut,
    /// Gives way first: kernel names, whose first letters are sufficient.
    Gives,
    /// Takes the width that others give: paths, arguments and stacks.
    Takes,
}

/// Order in which columns are hidden if the terminal is too narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leaves {
    /// First: the time of an event.
    First,
    /// Early: columns with [`Column::spare`].
    Early,
    /// Last.
    Last,
}

/// Selection of the columns of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Default columns and derived columns.
    Usual,
    /// All columns and derived columns.
    Wide,
    /// Exactly the columns of the view, in its order.
    Exact,
}

/// Source of a column's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cells {
    /// A column of the tracer.
    Of(usize),
    /// Rate of this counter per second.
    Rate,
    /// Average: a sum divided by a count.
    Average { sum: usize, count: usize },
    /// 99th percentile of a histogram.
    Percentile {
        histogram: usize,
        max: Option<usize>,
    },
    /// Parts of a whole: as a bar, by the names of the largest, and the command for the largest.
    Parts(parts::Form),
    /// Histogram as a line of bars.
    Spark { histogram: usize, axis: Axis },
}

/// Input of the cells of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// Columns of the tracer.
    pub(crate) columns: &'a [Column],
    /// Rows.
    pub(crate) batch: &'a Batch,
    /// Rate of each row per second; empty for a stream.
    pub(crate) rates: &'a [f64],
    /// Clock that converts times.
    pub(crate) wall: Wall,
}

/// Returns the columns of a table.
pub(crate) fn layout(view: View<'_>, extent: Extent) -> Vec<Head> {
    let columns = view.columns;
    if extent == Extent::Exact {
        let all = columns.iter().enumerate();
        return all
            .map(|(at, column)| Head::named(view, at, column))
            .collect();
    }
    let wide = extent == Extent::Wide;
    let find = |wanted: Role| columns.iter().position(|c| c.role == wanted);
    let alone = |f: fn(&Column) -> bool| columns.iter().filter(|c| f(c)).count() == 1;
    let (count, max) = (find(Role::Count), find(Role::Max));
    let histogram = columns.iter().position(is_histogram);
    let mut heads = Vec::new();
    // When something happened comes first, whatever the room: it is how rows are found in a log.
    let times = columns.iter().enumerate().filter(|(_, c)| is_moment(c));
    heads.extend(times.map(|(at, column)| Head::of(at, column)));
    let mut parts_due = !wide && columns.iter().filter(|c| c.part.is_some()).count() > 1;
    let mut percentile_due = histogram.filter(|_| count.is_some());
    for (at, column) in columns.iter().enumerate() {
        let percentile_of = |h: usize, max| {
            let text = percentile_heading(&columns[h], alone(is_histogram));
            Head::derived(text, Cells::Percentile { histogram: h, max })
        };
        if column.part.is_some() && std::mem::take(&mut parts_due) {
            heads.extend(parts::Form::ALL.map(Head::parts));
        }
        match column.role {
            _ if is_moment(column) => {}
            _ if column.wide && !wide && !tells_apart(view.batch, at, column) => {}
            Role::Count => {
                heads.push(Head {
                    // The count is more important.
                    leaves: Leaves::Early,
                    ..Head::derived(format!("{}/S", heading(column)), Cells::Rate)
                });
                heads.push(Head::of(at, column));
            }
            // An average by a count that is not shown would explain nothing.
            Role::Sum if is_time_sum(column) && count.is_some_and(|at| !columns[at].wide) => {
                let text = match alone(is_time_sum) {
                    true => "AVG".to_owned(),
                    false => format!("AVG_{}", heading(column)),
                };
                if wide {
                    heads.push(Head::of(at, column));
                }
                heads.extend(
                    count.map(|count| Head::derived(text, Cells::Average { sum: at, count })),
                );
            }
            _ if is_histogram(column) => {
                heads.extend(
                    percentile_due
                        .take_if(|due| *due == at)
                        .map(|h| percentile_of(h, max)),
                );
                heads.push(Head::spark(view, at, column));
            }
            Role::None
            | Role::Key
            | Role::Sum
            | Role::Max
            | Role::Min
            | Role::Last
            | Role::Gauge
            | Role::Histogram => {
                if column.role == Role::Max {
                    heads.extend(percentile_due.take().map(|h| percentile_of(h, max)));
                }
                heads.push(Head::of(at, column));
            }
        }
    }
    heads
}

impl Head {
    fn of(at: usize, column: &Column) -> Self {
        let number = match column.role {
            Role::Count | Role::Sum | Role::Max | Role::Min | Role::Gauge => true,
            Role::None | Role::Key | Role::Last | Role::Histogram => column.unit() != Unit::None,
        };
        let look = column.kind.look();
        let room = match look.cut {
            Cut::Never => Room::Keeps,
            Cut::Left | Cut::Right => match (column.kind.naming(), column.kind.trust()) {
                // Why something happened, and where in the code.
                (Naming::KernelEnum | Naming::UserStack | Naming::KernelStack, _) => Room::Takes,
                // Long texts: of these the kernel side may have cut some as well.
                _ if column.kind.beside() == Beside::Cut => Room::Takes,
                (Naming::None | Naming::KernelSymbol, Trust::Kernel) => Room::Gives,
                (Naming::None | Naming::KernelSymbol, Trust::Program) => Room::Cut,
            },
        };
        Self {
            text: heading(column),
            source: Cells::Of(at),
            right: number && look.right,
            cut: look.cut,
            usual: match column.unit() {
                Unit::Nanoseconds | Unit::Microseconds | Unit::Bytes if look.right => 7,
                _ => look.width,
            },
            room,
            leaves: match column.spare {
                _ if is_moment(column) => Leaves::First,
                true => Leaves::Early,
                false => Leaves::Last,
            },
        }
    }

    /// Returns a column that the user requested by name.
    fn named(view: View<'_>, at: usize, column: &Column) -> Self {
        let head = match is_histogram(column) {
            true => Self::spark(view, at, column),
            false => Self::of(at, column),
        };
        Self {
            leaves: Leaves::Last,
            ..head
        }
    }

    /// Returns the column of a histogram as bars.
    /// Returns the column's name, without the axis that the heading of a histogram shows.
    pub(crate) fn name(&self) -> String {
        let name = self.text.split_whitespace().next();
        name.unwrap_or_default().to_lowercase()
    }

    fn spark(view: View<'_>, at: usize, column: &Column) -> Self {
        let (name, unit) = (heading(column), column.unit());
        let axis = Axis::of(view.batch, at, unit, name.len());
        Self {
            text: axis.heading(&name, unit),
            usual: axis.width(),
            source: Cells::Spark {
                histogram: at,
                axis,
            },
            ..Self::of(at, column)
        }
    }

    /// Returns a column of all parts of a whole.
    fn parts(form: parts::Form) -> Self {
        Self {
            right: false,
            cut: Cut::Right,
            usual: form.width(),
            room: match form {
                parts::Form::Bar => Room::Keeps,
                parts::Form::Largest | parts::Form::Next => Room::Takes,
            },
            leaves: match form {
                parts::Form::Next => Leaves::Early,
                parts::Form::Bar | parts::Form::Largest => Leaves::Last,
            },
            ..Self::derived(form.heading().to_owned(), Cells::Parts(form))
        }
    }

    fn derived(text: String, source: Cells) -> Self {
        Self {
            text,
            source,
            right: true,
            cut: Cut::Never,
            usual: 6,
            room: Room::Keeps,
            leaves: Leaves::Last,
        }
    }

    /// Appends the cell of one row.
    pub(crate) fn cell(&self, view: View<'_>, row: usize, out: &mut String) -> Tone {
        let View {
            columns,
            batch,
            rates,
            wall,
        } = view;
        let number = |column: usize| match batch.value(column, row) {
            Value::Unsigned(n) => n,
            _ => 0,
        };
        match self.source {
            Cells::Of(at) => {
                let shown = Shown {
                    column: &columns[at],
                    frames: &batch.frames,
                    wall,
                };
                return columns[at].kind.text(batch.value(at, row), shown, out);
            }
            Cells::Rate => human::rate(rates.get(row).copied().unwrap_or(0.0), out),
            Cells::Average { sum, count } => {
                let average = number(sum).checked_div(number(count)).unwrap_or(0);
                human::quantity(average, columns[sum].unit(), out);
            }
            Cells::Percentile { histogram, max } => {
                if let Value::List(buckets) = batch.value(histogram, row) {
                    let bound = percentile(buckets, 99).unwrap_or(0);
                    let bound = max.map_or(bound, |max| bound.min(number(max)));
                    human::quantity(bound, columns[histogram].unit(), out);
                }
            }
            Cells::Parts(form) => form.cell(columns, batch, row, out),
            Cells::Spark { histogram, axis } => {
                if let Value::List(buckets) = batch.value(histogram, row) {
                    axis.line(buckets, out);
                }
            }
        }
        Tone::Plain
    }
}

/// Returns whether the default table has this column.
pub(crate) fn in_table(column: &Column) -> bool {
    !column.wide || is_moment(column)
}

/// Returns whether the column is the time of an event.
fn is_moment(column: &Column) -> bool {
    matches!(column.kind, Kind::Time) && column.role == Role::None
}

fn is_histogram(column: &Column) -> bool {
    column.kind.store() == Store::Buckets
}

fn is_time_sum(column: &Column) -> bool {
    column.role == Role::Sum && matches!(column.unit(), Unit::Nanoseconds | Unit::Microseconds)
}

/// Returns whether rows differ in a key column that is hidden by default.
fn tells_apart(batch: &Batch, at: usize, column: &Column) -> bool {
    column.role == Role::Key
        && (0..batch.rows()).any(|row| match batch.value(at, row) {
            Value::Unsigned(n) => n != 0,
            Value::Signed(n) => n != 0,
            Value::Bytes(bytes, _) => !bytes.is_empty(),
            Value::List(list) => !list.is_empty(),
            Value::Frames(ids) => !ids.is_empty(),
        })
}

/// Returns the name without its unit, which every cell contains.
fn heading(column: &Column) -> String {
    let name = match column.unit() {
        Unit::Nanoseconds | Unit::Microseconds | Unit::Bytes => column
            .name
            .rsplit_once('_')
            .map_or(&*column.name, |(name, unit)| {
                if matches!(unit, "ns" | "us" | "bytes") {
                    name
                } else {
                    &column.name
                }
            }),
        _ => &column.name,
    };
    name.to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::WALL, *};

    #[test]
    fn gauges_are_numbers_without_rate_and_average() {
        let column = |name: &'static str, kind, role| {
            let mut column = Column::of(name, "", role, false);
            column.kind = kind;
            column
        };
        let columns = [
            column("comm", Kind::Text, Role::Key),
            column("used_bytes", Kind::Unsigned, Role::Gauge),
            column("open", Kind::Unsigned, Role::Gauge),
        ];
        let batch = Batch::new(&columns);
        let view = View {
            columns: &columns,
            batch: &batch,
            rates: &[],
            wall: WALL,
        };
        let heads = layout(view, Extent::Wide);
        let shown: Vec<(&str, bool)> = heads.iter().map(|h| (&*h.text, h.right)).collect();
        assert_eq!(shown, [("COMM", false), ("USED", true), ("OPEN", true)]);
    }
}
