//! Cells into lines: every line has the same width on the screen, and none is longer than the room there is.

use super::layout::{Head, View};
use rows::escape::{cut_left, cut_right, width};
use tracers::{Cut, Tone};

/// Blanks between two columns.
const GAP: usize = 2;
/// A column of text is not cut below this, nor a heading.
const LEAST: usize = 8;
/// The last column of text, often a path, says most, and is not cut below this.
const LEAST_LAST: usize = 24;

/// Colours, or none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Palette {
    /// Whether to colour.
    pub(crate) on: bool,
}

impl Palette {
    /// For headings.
    pub(crate) const BOLD: &'static str = "\x1b[1m";
    /// For what is about the trace and not of it.
    pub(crate) const DIM: &'static str = "\x1b[2m";
    /// For failures and losses.
    pub(crate) const RED: &'static str = "\x1b[31m";
    const RESET: &'static str = "\x1b[0m";

    /// Appends what `write` writes, in a style.
    pub(crate) fn paint(self, style: &str, out: &mut String, write: impl FnOnce(&mut String)) {
        if !self.on {
            return write(out);
        }
        out.push_str(style);
        write(out);
        out.push_str(Self::RESET);
    }
}

/// The cells of some rows, before they are aligned.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    text: String,
    cells: Vec<Cell>,
    columns: usize,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    end: u32,
    width: u32,
    tone: Tone,
}

impl Cells {
    /// Takes the place of what was there before.
    pub(crate) fn fill(&mut self, heads: &[Head], view: View<'_>) {
        self.text.clear();
        self.cells.clear();
        self.columns = heads.len();
        for row in 0..view.batch.rows() {
            for head in heads {
                let start = self.text.len();
                let tone = head.cell(view, row, &mut self.text);
                let cell = &self.text[start..];
                let width = width(cell) as u32;
                self.cells.push(Cell {
                    end: self.text.len() as u32,
                    width,
                    tone,
                });
            }
        }
    }

    /// How many rows.
    pub(crate) fn rows(&self) -> usize {
        self.cells.len().checked_div(self.columns).unwrap_or(0)
    }

    /// The widest cell of a column.
    fn widest(&self, column: usize) -> usize {
        let cells = self.cells.iter().skip(column).step_by(self.columns.max(1));
        cells.map(|cell| cell.width as usize).max().unwrap_or(0)
    }

    fn cell(&self, row: usize, column: usize) -> (&str, usize, Tone) {
        let at = row * self.columns + column;
        let start = at
            .checked_sub(1)
            .map_or(0, |before| self.cells[before].end as usize);
        let Cell { end, width, tone } = self.cells[at];
        (&self.text[start..end as usize], width as usize, tone)
    }
}

/// How wide each column is; `None` for one that found no room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Widths {
    columns: Vec<Option<usize>>,
    room: Option<usize>,
}

impl Widths {
    /// Wide enough for these cells and, where there is room, for the usual ones and for those of before.
    pub(crate) fn fit(
        heads: &[Head],
        cells: &Cells,
        before: &Widths,
        room: Option<usize>,
        usual: bool,
    ) -> Self {
        let natural: Vec<usize> = heads
            .iter()
            .enumerate()
            .map(|(at, head)| {
                let had = match before.room == room && before.columns.len() == heads.len() {
                    true => before.columns.get(at).copied().flatten().unwrap_or(0),
                    false => 0,
                };
                cells.widest(at).max(had).max(width(&head.text))
            })
            .collect();
        let generous: Vec<usize> = match usual {
            true => natural
                .iter()
                .zip(heads)
                .map(|(width, head)| (*width).max(head.usual))
                .collect(),
            false => natural.clone(),
        };
        let Some(limit) = room else {
            return Self {
                columns: generous.into_iter().map(Some).collect(),
                room,
            };
        };
        if total(&generous) <= limit {
            return Self {
                columns: generous.into_iter().map(Some).collect(),
                room,
            };
        }
        let columns = squeeze(heads, cells, natural, limit);
        Self { columns, room }
    }

    /// Columns that found no room.
    pub(crate) fn hidden(&self) -> usize {
        self.columns.iter().filter(|width| width.is_none()).count()
    }

    /// Appends the headings.
    pub(crate) fn heading(&self, heads: &[Head], palette: Palette, out: &mut String) {
        let texts = heads
            .iter()
            .map(|head| (head.text.as_str(), width(&head.text), Tone::Plain));
        palette.paint(Palette::BOLD, out, |out| {
            self.line(heads, texts, Palette::default(), out)
        });
    }

    /// Appends one row.
    pub(crate) fn row(
        &self,
        heads: &[Head],
        cells: &Cells,
        row: usize,
        palette: Palette,
        out: &mut String,
    ) {
        let texts = (0..heads.len()).map(|column| cells.cell(row, column));
        self.line(heads, texts, palette, out);
    }

    fn line<'a>(
        &self,
        heads: &[Head],
        cells: impl Iterator<Item = (&'a str, usize, Tone)>,
        palette: Palette,
        out: &mut String,
    ) {
        let mut gap = 0;
        let mut short = String::new();
        for ((head, room), (mut text, mut taken, tone)) in
            heads.iter().zip(&self.columns).zip(cells)
        {
            let Some(room) = *room else { continue };
            // Without a limit a row of a stream may be wider than those before it, and is shown in full.
            if taken > room && self.room.is_some() {
                short.clear();
                match head.cut {
                    Cut::Left => cut_left(text, room, &mut short),
                    Cut::Right | Cut::Never => cut_right(text, room, &mut short),
                }
                (text, taken) = (&short, width(&short));
            }
            let blank = room.saturating_sub(taken);
            let (before, after) = if head.right { (blank, 0) } else { (0, blank) };
            blanks(gap + before, out);
            match tone {
                Tone::Plain => out.push_str(text),
                Tone::Bad => palette.paint(Palette::RED, out, |out| out.push_str(text)),
            }
            // The blanks behind the last column are left out.
            gap = GAP + after;
        }
    }
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// Less room than the cells would like: the widest texts give way, then headings; where that is not enough, whole
/// columns are left out, and the others get back what room that gives.
fn squeeze(heads: &[Head], cells: &Cells, natural: Vec<usize>, limit: usize) -> Vec<Option<usize>> {
    let last = heads.iter().rposition(|head| head.cut != Cut::Never);
    let least: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(at, head)| match head.cut {
            Cut::Never => cells.widest(at).max(width(&head.text).min(LEAST)),
            _ if last == Some(at) => natural[at].min(LEAST_LAST).min(limit),
            Cut::Left | Cut::Right => natural[at].min(LEAST),
        })
        .collect();
    let mut there = vec![true; heads.len()];
    loop {
        let of = |widths: &[usize]| -> Vec<usize> {
            widths
                .iter()
                .zip(&there)
                .filter(|(_, there)| **there)
                .map(|(width, _)| *width)
                .collect()
        };
        if total(&of(&least)) <= limit {
            break;
        }
        match expendable(heads, &there) {
            Some(at) => there[at] = false,
            None => break,
        }
    }
    let mut widths: Vec<Option<usize>> = natural
        .into_iter()
        .zip(&there)
        .map(|(width, there)| there.then_some(width))
        .collect();
    // Down to the next widest each time, so that all give way alike.
    loop {
        let used = total(&widths.iter().flatten().copied().collect::<Vec<_>>());
        let excess = used.saturating_sub(limit);
        let above = |at: usize| widths[at].map_or(0, |width| width.saturating_sub(least[at]));
        let widest = (0..heads.len())
            .filter(|&at| above(at) > 0)
            .max_by_key(|&at| (heads[at].cut != Cut::Never, widths[at]));
        let Some(at) = widest.filter(|_| excess > 0) else {
            return widths;
        };
        let have = widths[at].unwrap_or(0);
        let next = (0..heads.len())
            .filter(|&other| (heads[other].cut == Cut::Never) == (heads[at].cut == Cut::Never))
            .filter_map(|other| widths[other].filter(|width| *width < have))
            .max();
        let step = next
            .map_or(excess, |next| have - next)
            .min(excess)
            .clamp(1, above(at));
        widths[at] = Some(have - step);
    }
}

/// The column to leave out next. The first and the last text stay longest.
fn expendable(heads: &[Head], there: &[bool]) -> Option<usize> {
    let left: Vec<usize> = (0..heads.len()).filter(|&at| there[at]).collect();
    let (_, rest) = left.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let last_text = left.iter().rfind(|&&at| heads[at].cut != Cut::Never);
    let found = left
        .iter()
        .find(|&&at| heads[at].dispensable)
        .or_else(|| rest.iter().rfind(|&&at| heads[at].cut == Cut::Never))
        .or_else(|| rest.iter().rfind(|&at| Some(at) != last_text))
        .or(rest.last());
    found.copied()
}

fn blanks(count: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', count));
}
