//! Which columns a table has: those of the tracer, and what follows from their roles (rate, average, percentile).

use super::{
    human,
    spark::{Axis, percentile_heading},
};
use rows::Wall;
use tracers::{
    Batch, Beside, Column, Cut, Kind, Naming, Role, Shown, Store, Tone, Trust, Unit, Value,
    percentile,
};

/// One column of a table.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// What stands above it.
    pub(crate) text: String,
    /// Where its cells come from.
    source: Cells,
    /// Whether cells are flush right.
    pub(crate) right: bool,
    /// What is cut.
    pub(crate) cut: Cut,
    /// What it does where room is short.
    pub(crate) room: Room,
    /// Columns that its cells usually take, so that a stream of rows starts out aligned.
    pub(crate) usual: usize,
    /// When it is left out where room is short.
    pub(crate) leaves: Leaves,
}

/// What a column does where room is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// It keeps its width: its cells are never cut.
    Keeps,
    /// Its cells are cut after those that give way.
    Cut,
    /// It gives way first: names that the kernel chooses, whose first letters are enough.
    Gives,
    /// It takes what others give: paths, arguments and stacks.
    Takes,
}

/// When a column is left out where room is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leaves {
    /// Before all others: the time of an event.
    First,
    /// Before what a person looks for: [`Column::spare`].
    Early,
    /// Where nothing else helps.
    Last,
}

/// Which columns a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What matters most, with what follows from it.
    Usual,
    /// Everything, with what follows from it.
    Wide,
    /// Those of the view, in its order, and no others.
    Exact,
}

/// Where a table's cells come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cells {
    /// A tracer's own column.
    Of(usize),
    /// What this counter grew by, per second.
    Rate,
    /// The one divided by the other.
    Average { sum: usize, count: usize },
    /// What 99 of 100 do not exceed, and by no means the maximum.
    Percentile {
        histogram: usize,
        max: Option<usize>,
    },
    /// A line of bars.
    Spark { histogram: usize, axis: Axis },
}

/// What the cells of a batch are made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// The tracer's columns.
    pub(crate) columns: &'a [Column],
    /// The rows.
    pub(crate) batch: &'a Batch,
    /// Per row, what its count grew by per second; empty for a stream.
    pub(crate) rates: &'a [f64],
    /// For times.
    pub(crate) wall: Wall,
}

/// The columns of a table.
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
    let mut percentile_due = histogram.filter(|_| count.is_some());
    for (at, column) in columns.iter().enumerate() {
        let percentile_of = |h: usize, max| {
            let text = percentile_heading(&columns[h], alone(is_histogram));
            Head::derived(text, Cells::Percentile { histogram: h, max })
        };
        match column.role {
            _ if is_moment(column) => {}
            _ if column.wide && !wide && !tells_apart(view.batch, at, column) => {}
            Role::Count => {
                heads.push(Head {
                    // The count itself says more.
                    leaves: Leaves::Early,
                    ..Head::derived(format!("{}/S", heading(column)), Cells::Rate)
                });
                heads.push(Head::of(at, column));
            }
            Role::Sum if is_time_sum(column) && count.is_some() => {
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

    /// A column that is asked for by its name.
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

    /// A histogram as bars.
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
            Cells::Spark { histogram, axis } => {
                if let Value::List(buckets) = batch.value(histogram, row) {
                    axis.line(buckets, out);
                }
            }
        }
        Tone::Plain
    }
}

/// Whether the ordinary table has this column.
pub(crate) fn in_table(column: &Column) -> bool {
    !column.wide || is_moment(column)
}

/// Whether it says when an event happened.
fn is_moment(column: &Column) -> bool {
    matches!(column.kind, Kind::Time) && column.role == Role::None
}

fn is_histogram(column: &Column) -> bool {
    column.kind.store() == Store::Buckets
}

fn is_time_sum(column: &Column) -> bool {
    column.role == Role::Sum && matches!(column.unit(), Unit::Nanoseconds | Unit::Microseconds)
}

/// A key that is usually left out is shown where rows differ by it.
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

/// The name without its unit, which every cell carries.
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
