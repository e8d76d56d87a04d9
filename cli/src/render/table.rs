//! Rows as a table: growing line by line for events, redrawn in place for a map's state.

use super::{
    Output, Status, Wall,
    escape::{cut_right, width},
    grid::{Cells, Palette, Widths},
    human,
    layout::{Head, View, layout},
};
use crate::{
    screen::{Line, Screen, Size, size},
    sink::Sink,
};
use agent::Account;
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    time::Duration,
};
use tracers::{Batch, Column, Role, Value};

/// A header is printed again when its columns have moved, but not more often than every so many rows.
const ROWS_PER_HEADER: usize = 10;

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    wide: bool,
    palette: Palette,
    to: Paper,
    heads: Vec<Head>,
    cells: Cells,
    widths: Widths,
    /// Rows since the header; `None` before the first.
    since_header: Option<usize>,
    rates: Rates,
    status: Line,
    top: Vec<Line>,
    /// What the lines at the top show, and at which size of the terminal.
    last: Option<(Batch, Wall, Vec<f64>, Size)>,
}

/// What a table is printed on.
#[derive(Debug)]
enum Paper {
    /// A pipe or a file: no limit to a line, nothing redrawn.
    Plain(Sink),
    /// A terminal; `live` where it is ours alone.
    Terminal { screen: Screen<Sink>, live: bool },
}

impl Table {
    /// For a pipe or a file.
    pub(crate) fn plain(columns: &[Column], wide: bool, to: Sink) -> Self {
        Self::new(columns, wide, Palette::default(), Paper::Plain(to))
    }

    /// For a terminal; `live` where no command writes to it as well.
    pub(crate) fn terminal(
        columns: &[Column],
        wide: bool,
        palette: Palette,
        to: Sink,
        live: bool,
    ) -> Self {
        let screen = Screen::new(to);
        Self::new(columns, wide, palette, Paper::Terminal { screen, live })
    }

    fn new(columns: &[Column], wide: bool, palette: Palette, to: Paper) -> Self {
        Self {
            columns: columns.to_vec(),
            wide,
            palette,
            to,
            heads: Vec::new(),
            cells: Cells::default(),
            widths: Widths::default(),
            since_header: None,
            rates: Rates::default(),
            status: Line::default(),
            top: Vec::new(),
            last: None,
        }
    }

    /// Columns of a line that stays. Whoever asks for everything gets it, and the terminal breaks the lines.
    fn room(&self) -> Option<usize> {
        match &self.to {
            Paper::Terminal { .. } if !self.wide => Some(size().columns),
            _ => None,
        }
    }

    fn live(&self) -> bool {
        matches!(self.to, Paper::Terminal { live: true, .. })
    }

    fn print(&mut self, text: &str) -> io::Result<()> {
        match &mut self.to {
            Paper::Plain(sink) => sink.write_all(text.as_bytes()),
            Paper::Terminal { screen, live } => {
                let region = [self.top.as_slice(), std::slice::from_ref(&self.status)].concat();
                screen.draw(text, if *live { &region } else { &[] }, size().columns)
            }
        }
    }

    /// The rows of a stream, with a header where one is due.
    fn stream(&mut self, batch: &Batch, wall: Wall, out: &mut String) {
        let view = View {
            columns: &self.columns,
            batch,
            rates: &[],
            wall,
        };
        if self.heads.is_empty() {
            self.heads = layout(view, self.wide);
        }
        self.cells.fill(&self.heads, view);
        let room = self.room();
        let widths = Widths::fit(&self.heads, &self.cells, &self.widths, room, true);
        let moved = widths != self.widths;
        self.widths = widths;
        let screenful = match &self.to {
            Paper::Plain(_) => usize::MAX,
            Paper::Terminal { .. } => size().rows.saturating_sub(3).max(ROWS_PER_HEADER),
        };
        for row in 0..self.cells.rows() {
            let due = match self.since_header {
                None => true,
                Some(since) if screenful < usize::MAX => {
                    since >= screenful || moved && since >= ROWS_PER_HEADER
                }
                Some(_) => false,
            };
            if due {
                self.widths.heading(&self.heads, self.palette, out);
                out.push('\n');
                self.since_header = Some(0);
            }
            self.widths
                .row(&self.heads, &self.cells, row, self.palette, out);
            out.push('\n');
            self.since_header = self.since_header.map(|since| since + 1);
        }
    }

    /// A whole table: its header, then its rows.
    fn whole(&mut self, batch: &Batch, wall: Wall, rates: &[f64], room: Option<usize>) -> String {
        let view = View {
            columns: &self.columns,
            batch,
            rates,
            wall,
        };
        self.heads = layout(view, self.wide);
        self.cells.fill(&self.heads, view);
        self.widths = Widths::fit(&self.heads, &self.cells, &self.widths, room, false);
        let mut out = String::new();
        self.widths.heading(&self.heads, self.palette, &mut out);
        out.push('\n');
        for row in 0..self.cells.rows() {
            self.widths
                .row(&self.heads, &self.cells, row, self.palette, &mut out);
            out.push('\n');
        }
        out
    }

    /// As much of a map's state as the terminal has room for, above the status.
    fn fill_top(&mut self, batch: &Batch, wall: Wall, rates: &[f64], size: Size) {
        let text = self.whole(batch, wall, rates, Some(size.columns));
        let lines = text.lines().count();
        let all = lines < size.rows;
        let shown = if all {
            lines
        } else {
            size.rows.saturating_sub(2).max(1)
        };
        self.top = text.lines().take(shown).map(painted).collect();
        if !all {
            let more = format!(
                "… and {} more",
                human::plural((lines - shown) as u64, "row")
            );
            let mut line = Line {
                width: width(&more),
                ..Line::default()
            };
            self.palette
                .paint(Palette::DIM, &mut line.text, |out| out.push_str(&more));
            self.top.push(line);
        }
    }
}

impl Output for Table {
    fn rows(&mut self, batch: &Batch, wall: Wall) -> io::Result<()> {
        let mut out = String::new();
        self.stream(batch, wall, &mut out);
        self.print(&out)
    }

    fn table(&mut self, batch: &Batch, wall: Wall, elapsed: Duration) -> io::Result<()> {
        if !self.live() {
            return Ok(());
        }
        let rates = self.rates.since_last(&self.columns, batch, elapsed);
        self.fill_top(batch, wall, &rates, size());
        self.last = Some((batch.clone(), wall, rates, size()));
        self.print("")
    }

    fn status(&mut self, status: &Status) -> io::Result<()> {
        if !self.live() {
            return Ok(());
        }
        let size = size();
        let resized = self.last.as_ref().is_some_and(|(.., drawn)| *drawn != size);
        if resized && let Some((batch, wall, rates, _)) = self.last.take() {
            self.fill_top(&batch, wall, &rates, size);
            self.last = Some((batch, wall, rates, size));
        }
        let line = status_line(status, self.widths.hidden(), size.columns, self.palette);
        if line == self.status && !resized {
            return Ok(());
        }
        self.status = line;
        self.print("")
    }

    fn end(
        &mut self,
        table: Option<&Batch>,
        wall: Wall,
        account: &Account,
    ) -> io::Result<Option<String>> {
        let text = match table {
            Some(table) => {
                let rates = average_rates(&self.columns, table, account.elapsed);
                self.whole(table, wall, &rates, self.room())
            }
            // A stream without rows still says what it would have shown.
            None if self.since_header.is_none() => {
                let nothing = Batch::new(&self.columns);
                self.whole(&nothing, wall, &[], self.room())
            }
            None => String::new(),
        };
        match &mut self.to {
            Paper::Plain(sink) => {
                sink.write_all(text.as_bytes())?;
                let written = sink
                    .path()
                    .map(|path| format!("{} written", path.display()));
                sink.finish()?;
                Ok(written)
            }
            Paper::Terminal { screen, .. } => {
                screen.draw(&text, &[], size().columns)?;
                Ok(None)
            }
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if let Paper::Terminal { screen, .. } = &mut self.to {
            // An error ends the trace before its time; the terminal may be gone.
            let _ = screen.clear(size().columns);
        }
    }
}

/// A line that is there already, with its colours.
fn painted(line: &str) -> Line {
    let mut width_ = 0;
    let mut rest = line;
    while let Some(at) = rest.find('\x1b') {
        width_ += width(&rest[..at]);
        // Ours all end in `m`; targets' text has none.
        rest = rest[at..].split_once('m').map_or("", |(_, after)| after);
    }
    Line {
        text: line.to_owned(),
        width: width_ + width(rest),
    }
}

/// The line at the bottom: right-hand, so that it is told apart from rows.
fn status_line(status: &Status, hidden: usize, columns: usize, palette: Palette) -> Line {
    let Status {
        tracer,
        elapsed,
        left,
        rows,
        lost,
    } = status;
    let time = match left {
        Some(left) => format!("{} left", seconds(left.as_secs_f64().ceil() as u64)),
        None => format!("{}, until Ctrl-C", seconds(elapsed.as_secs())),
    };
    let mut said = format!("{tracer}  {time}  {}", human::plural(*rows, "row"));
    if hidden > 0 {
        said.push_str(&format!(
            "  {} hidden",
            human::plural(hidden as u64, "column")
        ));
    }
    let lost_said = format!("  {} lost", human::count(*lost));
    // Three columns stay free: the cursor must not sit on the next line, not even after a terminal has shown `^C`.
    let room = columns.saturating_sub(3);
    let taken = width(&said) + width(&lost_said);
    let mut line = Line::default();
    if taken > room {
        let mut text = String::new();
        cut_right(&(said + &lost_said), room, &mut text);
        line.width = width(&text);
        palette.paint(Palette::DIM, &mut line.text, |out| out.push_str(&text));
        return line;
    }
    line.text.extend(std::iter::repeat_n(' ', room - taken));
    palette.paint(Palette::DIM, &mut line.text, |out| out.push_str(&said));
    let style = if *lost > 0 {
        Palette::RED
    } else {
        Palette::DIM
    };
    palette.paint(style, &mut line.text, |out| out.push_str(&lost_said));
    line.width = room;
    line
}

fn seconds(s: u64) -> String {
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
    }
}

/// The status alone, on standard error, where rows go elsewhere.
#[derive(Debug)]
pub(crate) struct StatusLine {
    screen: Screen<io::Stderr>,
    palette: Palette,
    line: Line,
}

impl StatusLine {
    /// Begins at the line where the cursor stands.
    pub(crate) fn new(palette: Palette) -> Self {
        Self {
            screen: Screen::new(io::stderr()),
            palette,
            line: Line::default(),
        }
    }
}

impl Output for StatusLine {
    fn rows(&mut self, _: &Batch, _: Wall) -> io::Result<()> {
        Ok(())
    }

    fn table(&mut self, _: &Batch, _: Wall, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn status(&mut self, status: &Status) -> io::Result<()> {
        let columns = size().columns;
        let line = status_line(status, 0, columns, self.palette);
        if line == self.line {
            return Ok(());
        }
        self.line = line;
        self.screen
            .draw("", std::slice::from_ref(&self.line), columns)
    }

    fn end(&mut self, _: Option<&Batch>, _: Wall, _: &Account) -> io::Result<Option<String>> {
        self.screen.clear(size().columns)?;
        Ok(None)
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        // An error ends the trace before its time; the terminal may be gone.
        let _ = self.screen.clear(size().columns);
    }
}

/// What each row's count grew by, from one state of a map to the next.
#[derive(Debug, Default)]
struct Rates {
    /// Counts of the state before, by a hash of the row's key: a collision would show a wrong rate, and nothing else.
    before: HashMap<u64, u64>,
    at: Duration,
}

impl Rates {
    fn since_last(&mut self, columns: &[Column], batch: &Batch, elapsed: Duration) -> Vec<f64> {
        let seconds = elapsed.saturating_sub(self.at).as_secs_f64();
        let now: Vec<(u64, u64)> = (0..batch.rows())
            .map(|row| (key(columns, batch, row), count(columns, batch, row)))
            .collect();
        let rate = |(key, count): &(u64, u64)| {
            let grown = count.saturating_sub(self.before.get(key).copied().unwrap_or(0));
            if seconds > 0.0 {
                grown as f64 / seconds
            } else {
                0.0
            }
        };
        let rates = now.iter().map(rate).collect();
        self.before = now.into_iter().collect();
        self.at = elapsed;
        rates
    }
}

/// Over the whole trace.
fn average_rates(columns: &[Column], batch: &Batch, elapsed: Duration) -> Vec<f64> {
    let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    (0..batch.rows())
        .map(|row| count(columns, batch, row) as f64 / seconds)
        .collect()
}

fn count(columns: &[Column], batch: &Batch, row: usize) -> u64 {
    let column = columns.iter().position(|column| column.role == Role::Count);
    match column.map(|column| batch.value(column, row)) {
        Some(Value::Unsigned(n)) => n,
        _ => 0,
    }
}

fn key(columns: &[Column], batch: &Batch, row: usize) -> u64 {
    let mut hash = DefaultHasher::new();
    for (at, column) in columns.iter().enumerate() {
        if column.role != Role::Key {
            continue;
        }
        match batch.value(at, row) {
            Value::Unsigned(n) => n.hash(&mut hash),
            Value::Signed(n) => n.hash(&mut hash),
            Value::Bytes(bytes, _) => bytes.hash(&mut hash),
            Value::List(list) => list.hash(&mut hash),
            // Numbers of frames are the batch's own.
            Value::Frames(ids) => {
                ids.len().hash(&mut hash);
                ids.iter()
                    .for_each(|id| batch.frames.get(*id as usize).hash(&mut hash));
            }
        }
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{escape::is_printable, fixture::*},
        *,
    };

    fn plain(columns: &[Column], wide: bool, write: impl FnOnce(&mut Table)) -> String {
        let bytes = written(|sink| {
            let mut table = Table::plain(columns, wide, sink);
            write(&mut table);
        });
        String::from_utf8(bytes).unwrap()
    }

    /// The lines of a table on a terminal of so many columns.
    fn fitted(columns: &[Column], batch: &Batch, wide: bool, room: usize) -> Vec<String> {
        let view = View {
            columns,
            batch,
            rates: &[],
            wall: WALL,
        };
        let heads = layout(view, wide);
        let mut cells = Cells::default();
        cells.fill(&heads, view);
        let widths = Widths::fit(&heads, &cells, &Widths::default(), Some(room), true);
        let mut head = String::new();
        widths.heading(&heads, Palette::default(), &mut head);
        let rows = (0..cells.rows()).map(|row| {
            let mut line = String::new();
            widths.row(&heads, &cells, row, Palette::default(), &mut line);
            line
        });
        std::iter::once(head).chain(rows).collect()
    }

    #[test]
    fn events_are_aligned_escaped_and_one_line_each() {
        let text = plain(&event_columns(), false, |table| {
            table.rows(&events(), WALL).unwrap();
            table.end(None, WALL, &account()).unwrap();
        });
        insta::assert_snapshot!(text);
        assert!(text.chars().all(|c| c == '\n' || is_printable(c)));
    }

    #[test]
    fn everything_is_there_when_asked_for() {
        let text = plain(&count_columns(), true, |table| {
            table
                .end(Some(&counts(false, 1)), WALL, &account())
                .unwrap();
        });
        insta::assert_snapshot!(text);
    }

    #[test]
    fn counts_have_rates_averages_percentiles_and_bars() {
        let text = plain(&count_columns(), false, |table| {
            table
                .table(&counts(false, 1), WALL, Duration::from_secs(1))
                .unwrap();
            table
                .end(Some(&counts(false, 1)), WALL, &account())
                .unwrap();
        });
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_key_that_is_usually_left_out_is_shown_where_it_tells_rows_apart() {
        let text = plain(&count_columns(), false, |table| {
            table.end(Some(&counts(true, 1)), WALL, &account()).unwrap();
        });
        assert!(text.starts_with("CALL        PID   COMM "), "{text}");
    }

    #[test]
    fn stacks_are_read_from_the_inside() {
        let text = plain(&stack_columns(), false, |table| {
            table.end(Some(&stacks()), WALL, &account()).unwrap();
        });
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_stream_without_rows_still_has_its_header() {
        let text = plain(&event_columns(), false, |table| {
            table.end(None, WALL, &account()).unwrap();
        });
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with("TIME  LATENCY  PID"), "{text}");
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_is_wide_and_columns_stand_under_their_headings() {
        let (events, counts, stacks) = (events(), counts(true, 1), stacks());
        let all: [(&[Column], &Batch); 3] = [
            (&event_columns(), &events),
            (&count_columns(), &counts),
            (&stack_columns(), &stacks),
        ];
        for (columns, batch) in all {
            for wide in [false, true] {
                for room in 1..260 {
                    let lines = fitted(columns, batch, wide, room);
                    for line in &lines {
                        assert!(width(line) <= room.max(20), "{room}: {line}");
                        assert!(line.chars().all(is_printable), "{line:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn in_a_narrow_terminal_the_path_and_who_stay() {
        insta::assert_snapshot!(fitted(&event_columns(), &events(), false, 80).join("\n"));
    }

    #[test]
    fn a_rate_is_what_came_since_the_last_time() {
        let mut rates = Rates::default();
        let columns = count_columns();
        let first = rates.since_last(&columns, &counts(false, 1), Duration::from_secs(1));
        assert_eq!(first[0], 412_070.0);
        let second = rates.since_last(&columns, &counts(false, 3), Duration::from_secs(3));
        assert_eq!(second, [412_070.0, 91_204.0, 0.0]);
    }

    #[test]
    fn the_status_fits_whatever_there_is_to_say() {
        let status = Status {
            tracer: "some_tracer",
            elapsed: Duration::from_secs(75),
            left: Some(Duration::from_millis(11_200)),
            rows: 1_204_511,
            lost: 17,
        };
        let line = |columns, hidden, on| status_line(&status, hidden, columns, Palette { on });
        assert_eq!(
            line(60, 0, false).text,
            "          some_tracer  12 s left  1,204,511 rows  17 lost"
        );
        assert!(
            line(80, 2, false)
                .text
                .ends_with("1,204,511 rows  2 columns hidden  17 lost")
        );
        for columns in 1..100 {
            for on in [false, true] {
                let line = line(columns, 0, on);
                assert!(line.width <= columns.saturating_sub(3));
                assert_eq!(painted(&line.text).width, line.width);
            }
        }
    }
}
