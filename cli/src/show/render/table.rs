//! Tables of rows: line by line for events, redrawn in place for the state of a map.

use super::{
    Output, Status, Wall,
    grid::{Cells, Palette, Widths},
    human,
    layout::{Extent, Head, View, layout},
    rates::{Rates, average_rates},
    status::{painted, status_line},
};
use crate::show::{
    screen::{Line, Screen, Size, size},
    sink::Sink,
    view::RowView,
};
use engine::Account;
use rows::escape::width;
use std::{
    io::{self, Write},
    time::Duration,
};
use tracers::{Batch, Column};

/// Minimum number of rows between two headers. A header is printed again when its columns have moved.
const ROWS_PER_HEADER: usize = 10;

/// Table of rows.
#[derive(Debug)]
pub(crate) struct Table {
    /// All columns of the rows.
    columns: Vec<Column>,
    /// View of the rows.
    view: RowView,
    /// Columns that are shown.
    shown: Vec<Column>,
    /// Tables of further datasets, shown at the end.
    further: Vec<Further>,
    wide: bool,
    palette: Palette,
    to: Paper,
    heads: Vec<Head>,
    cells: Cells,
    widths: Widths,
    /// Number of rows since the header; `None` before the first header.
    since_header: Option<usize>,
    rates: Rates,
    status: Line,
    top: Vec<Line>,
    /// Content of the redrawn lines, and the size of the terminal.
    last: Option<(Batch, Wall, Vec<f64>, Size)>,
}

/// Table of a further dataset.
#[derive(Debug)]
struct Further {
    dataset: usize,
    name: String,
    columns: Vec<Column>,
    view: RowView,
}

/// Medium of a table.
#[derive(Debug)]
enum Paper {
    /// A pipe or a file: lines have any length, nothing is redrawn.
    Plain(Sink),
    /// A terminal; `live` if no command writes to it.
    Terminal { screen: Screen<Sink>, live: bool },
}

impl Table {
    /// Creates a table for a pipe or a file.
    pub(crate) fn plain(columns: &[Column], view: &RowView, wide: bool, to: Sink) -> Self {
        Self::new(columns, view, wide, Palette::default(), Paper::Plain(to))
    }

    /// Creates a table for a terminal; `live` if no command writes to it.
    pub(crate) fn terminal(
        columns: &[Column],
        view: &RowView,
        wide: bool,
        palette: Palette,
        to: Sink,
        live: bool,
    ) -> Self {
        let screen = Screen::new(to);
        Self::new(
            columns,
            view,
            wide,
            palette,
            Paper::Terminal { screen, live },
        )
    }

    fn new(columns: &[Column], view: &RowView, wide: bool, palette: Palette, to: Paper) -> Self {
        Self {
            columns: columns.to_vec(),
            view: view.clone(),
            shown: view.columns(columns),
            further: Vec::new(),
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

    /// Adds a further dataset, whose table is shown at the end under its name.
    pub(crate) fn also(
        mut self,
        dataset: usize,
        name: &str,
        columns: &[Column],
        view: &RowView,
    ) -> Self {
        self.further.push(Further {
            dataset,
            name: name.to_owned(),
            columns: columns.to_vec(),
            view: view.clone(),
        });
        self
    }

    /// Returns the maximum width of a permanent line; `None` with `-o wide`, where the terminal wraps lines.
    fn room(&self) -> Option<usize> {
        match &self.to {
            Paper::Terminal { .. } if !self.wide => Some(size().columns),
            _ => None,
        }
    }

    /// Returns the selection of columns.
    fn extent(&self) -> Extent {
        match self.view.exact {
            true => Extent::Exact,
            false if self.wide => Extent::Wide,
            false => Extent::Usual,
        }
    }

    /// Returns a note with the hidden columns.
    fn hidden(&self) -> Option<String> {
        let hidden = self.widths.hidden(&self.heads);
        let names: Vec<String> = hidden.map(Head::name).collect();
        (!names.is_empty()).then(|| {
            format!(
                "Hidden columns: {}; use `-o wide` for all columns, or `--columns`.",
                names.join(", ")
            )
        })
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

    /// Appends rows of a stream, with a header if one is due.
    fn stream(&mut self, batch: &Batch, wall: Wall, out: &mut String) {
        let batch = self.view.apply(&self.columns, batch);
        let view = View {
            columns: &self.shown,
            batch: &batch,
            rates: &[],
            wall,
        };
        if self.heads.is_empty() {
            self.heads = layout(view, self.extent());
        }
        self.cells.fill(&self.heads, view);
        let room = self.room();
        let widths = Widths::fit(&self.heads, &self.cells, &self.widths, room, true);
        let moved = widths != self.widths;
        // A value under another column's heading would be taken for that column's.
        let same = widths.shows_the_same(&self.widths);
        self.widths = widths;
        let mut changed = !same && matches!(self.to, Paper::Terminal { .. });
        let screenful = match &self.to {
            Paper::Plain(_) => usize::MAX,
            Paper::Terminal { .. } => size().rows.saturating_sub(3).max(ROWS_PER_HEADER),
        };
        for row in 0..self.cells.rows() {
            let due = match self.since_header {
                _ if std::mem::take(&mut changed) => true,
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

    /// Appends a whole table: its header, then its rows.
    fn whole(&mut self, batch: &Batch, wall: Wall, rates: &[f64], room: Option<usize>) -> String {
        let rows = self.view.rows(&self.columns, batch).into_iter();
        let rates: Vec<f64> = { rows.filter_map(|row| rates.get(row as usize)) }
            .copied()
            .collect();
        let batch = self.view.apply(&self.columns, batch);
        let view = View {
            columns: &self.shown,
            batch: &batch,
            rates: &rates,
            wall,
        };
        self.heads = layout(view, self.extent());
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

    /// Appends the tables of further datasets, each under its name.
    fn whole_further(&mut self, tables: &[&Batch], wall: Wall, account: &Account) -> String {
        let mut text = String::new();
        for further in std::mem::take(&mut self.further) {
            let Some(table) = tables.iter().find(|one| one.dataset == further.dataset) else {
                continue;
            };
            text.push('\n');
            let (palette, name) = (self.palette, &further.name);
            palette.paint(Palette::BOLD, &mut text, |out| out.push_str(name));
            text.push_str(":\n");
            self.shown = further.view.columns(&further.columns);
            (self.columns, self.view) = (further.columns, further.view);
            self.widths = Widths::default();
            let rates = average_rates(&self.columns, table, account.elapsed);
            text.push_str(&self.whole(table, wall, &rates, self.room()));
        }
        text
    }

    /// Fills the lines above the status with the first rows of a map's state.
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
        // Those of further datasets are shown at the end.
        if !self.live() || self.further.iter().any(|one| one.dataset == batch.dataset) {
            return Ok(());
        }
        let rates = self.rates.since_last(&self.columns, batch, elapsed);
        self.fill_top(batch, wall, &rates, size());
        self.last = Some((batch.clone(), wall, rates, size()));
        self.print("")
    }

    fn is_live(&self) -> bool {
        self.live()
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
        let line = status_line(
            status,
            self.widths.hidden_count(),
            size.columns,
            self.palette,
        );
        if line == self.status && !resized {
            return Ok(());
        }
        self.status = line;
        self.print("")
    }

    fn end(
        &mut self,
        tables: &[&Batch],
        wall: Wall,
        account: &Account,
    ) -> io::Result<Option<String>> {
        let is_further = |table: &Batch| {
            let mut further = self.further.iter();
            further.any(|one| one.dataset == table.dataset)
        };
        let table = tables.iter().find(|table| !is_further(table));
        let mut text = match table {
            Some(table) => {
                let rates = average_rates(&self.columns, table, account.elapsed);
                self.whole(table, wall, &rates, self.room())
            }
            // A stream without rows still has a header.
            None if self.since_header.is_none() => {
                let nothing = Batch::new(&self.columns);
                self.whole(&nothing, wall, &[], self.room())
            }
            None => String::new(),
        };
        let hidden = self.hidden();
        text.push_str(&self.whole_further(tables, wall, account));
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
                Ok(hidden)
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

#[cfg(test)]
mod tests {
    use super::{super::fixture::*, *};
    use rows::escape::is_printable;

    fn plain(columns: &[Column], wide: bool, write: impl FnOnce(&mut Table)) -> String {
        let bytes = written(|sink| {
            let mut table = Table::plain(columns, &RowView::default(), wide, sink);
            write(&mut table);
        });
        String::from_utf8(bytes).unwrap()
    }

    /// Returns the lines of a table on a terminal with this many columns.
    fn fitted(columns: &[Column], batch: &Batch, wide: bool, room: usize) -> Vec<String> {
        let view = View {
            columns,
            batch,
            rates: &[],
            wall: WALL,
        };
        let extent = match wide {
            true => Extent::Wide,
            false => Extent::Usual,
        };
        let heads = layout(view, extent);
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
            table.end(&[], WALL, &account()).unwrap();
        });
        insta::assert_snapshot!(text);
        assert!(text.chars().all(|c| c == '\n' || is_printable(c)));
    }

    #[test]
    fn the_table_of_a_further_dataset_follows_under_its_name() {
        let bytes = written(|sink| {
            let table = Table::plain(&event_columns(), &RowView::default(), false, sink);
            let mut table = table.also(1, "counts", &count_columns(), &RowView::default());
            table.rows(&events(), WALL).unwrap();
            let mut last = counts(false, 1);
            last.dataset = 1;
            table.end(&[&last], WALL, &account()).unwrap();
        });
        let text = String::from_utf8(bytes).unwrap();
        let alone = |columns: &[Column], batches: (Option<Batch>, Option<Batch>)| {
            plain(columns, false, |table| {
                let (rows, last) = &batches;
                rows.iter().for_each(|rows| table.rows(rows, WALL).unwrap());
                let last: Vec<&Batch> = last.iter().collect();
                table.end(&last, WALL, &account()).unwrap();
            })
        };
        let first = alone(&event_columns(), (Some(events()), None));
        let further = alone(&count_columns(), (None, Some(counts(false, 1))));
        assert_eq!(text, format!("{first}\ncounts:\n{further}"));
    }

    #[test]
    fn a_hidden_histogram_is_named_without_its_axis() {
        let (columns, batch) = (count_columns(), counts(false, 1));
        let view = View {
            columns: &columns,
            batch: &batch,
            rates: &[],
            wall: WALL,
        };
        let heads = layout(view, Extent::Usual);
        let histogram = heads.iter().find(|head| head.text.contains(' ')).unwrap();
        assert!(histogram.text.starts_with("LATENCY "));
        assert_eq!(histogram.name(), "latency");
    }

    #[test]
    fn the_wide_table_has_every_column() {
        let text = plain(&count_columns(), true, |table| {
            table.end(&[&counts(false, 1)], WALL, &account()).unwrap();
        });
        insta::assert_snapshot!(text);
    }

    #[test]
    fn counts_have_rates_averages_percentiles_and_bars() {
        let text = plain(&count_columns(), false, |table| {
            table
                .table(&counts(false, 1), WALL, Duration::from_secs(1))
                .unwrap();
            table.end(&[&counts(false, 1)], WALL, &account()).unwrap();
        });
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_hidden_key_is_shown_if_it_distinguishes_rows() {
        let text = plain(&count_columns(), false, |table| {
            table.end(&[&counts(true, 1)], WALL, &account()).unwrap();
        });
        assert!(text.starts_with("CALL        PID   COMM "), "{text}");
    }

    #[test]
    fn stacks_are_read_from_the_inside() {
        let text = plain(&stack_columns(), false, |table| {
            table.end(&[&stacks()], WALL, &account()).unwrap();
        });
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_stream_without_rows_still_has_its_header() {
        let text = plain(&event_columns(), false, |table| {
            table.end(&[], WALL, &account()).unwrap();
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
    fn every_dataset_fits_a_terminal_with_what_a_person_looks_for() {
        for room in [80, 120] {
            let mut text = String::new();
            for dataset in tracers::ALL.iter().flat_map(|tracer| tracer.datasets()) {
                let lines = fitted(&dataset.columns, &usual_rows(&dataset.columns), false, room);
                assert!(lines.iter().all(|line| width(line) <= room), "{lines:#?}");
                text.push_str(&format!("{}:\n{}\n\n", dataset.name, lines.join("\n")));
            }
            insta::assert_snapshot!(format!("every_dataset_at_{room}"), text);
        }
    }

    #[test]
    fn in_a_narrow_terminal_the_path_and_who_stay() {
        insta::assert_snapshot!(fitted(&event_columns(), &events(), false, 80).join("\n"));
    }
}
