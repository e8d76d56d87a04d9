//! Layout of cells in lines of equal width, none longer than the available width.

use super::layout::{Head, Leaves, Room, View};
use rows::escape::{cut_left, cut_right, width};
use tracers::{Cut, Tone};

/// Number of blanks between two columns.
const GAP: usize = 2;
/// Minimum width of a truncated text column or heading.
const LEAST: usize = 8;
/// Columns that take what others give have this room together before others stay whole: a path of 40 characters shows its last folders.
const SUBJECT: usize = 40;
/// Minimum width of each of these columns, and of the last text column.
const LEAST_SUBJECT: usize = 24;

/// Colours of the output, or none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Palette {
    /// Whether to use colours.
    pub(crate) on: bool,
}

impl Palette {
    /// Style of headings.
    pub(crate) const BOLD: &'static str = "\x1b[1m";
    /// Style of information about the trace.
    pub(crate) const DIM: &'static str = "\x1b[2m";
    /// Style of failures and losses.
    pub(crate) const RED: &'static str = "\x1b[31m";
    const RESET: &'static str = "\x1b[0m";

    /// Appends the output of `write`, in a style.
    pub(crate) fn paint(self, style: &str, out: &mut String, write: impl FnOnce(&mut String)) {
        if !self.on {
            return write(out);
        }
        out.push_str(style);
        write(out);
        out.push_str(Self::RESET);
    }
}

/// Cells of rows before alignment.
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
    /// Replaces all cells.
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

    /// Returns the number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.cells.len().checked_div(self.columns).unwrap_or(0)
    }

    /// Returns the width of the widest cell of a column.
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

/// Width of each column; `None` for a hidden column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Widths {
    columns: Vec<Option<usize>>,
    room: Option<usize>,
}

impl Widths {
    /// Fits the widths to these cells and, if there is room, to usual and previous cells.
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

    /// Returns the hidden columns.
    pub(crate) fn hidden<'a>(&'a self, heads: &'a [Head]) -> impl Iterator<Item = &'a Head> {
        let columns = heads.iter().zip(&self.columns);
        columns
            .filter(|(_, width)| width.is_none())
            .map(|(head, _)| head)
    }

    /// Returns whether the same columns are shown.
    pub(crate) fn shows_the_same(&self, other: &Self) -> bool {
        let shown =
            |widths: &Self| -> Vec<bool> { widths.columns.iter().map(Option::is_some).collect() };
        shown(self) == shown(other)
    }

    /// Returns the number of hidden columns.
    pub(crate) fn hidden_count(&self) -> usize {
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
                let plain = match head.room {
                    Room::Gives => without_prefix(text),
                    Room::Keeps | Room::Cut | Room::Takes => None,
                };
                let whole = plain.as_deref().unwrap_or(text);
                match head.cut {
                    Cut::Left => cut_left(whole, room, &mut short),
                    Cut::Right | Cut::Never => cut_right(whole, room, &mut short),
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

/// Removes the common prefix of names: `RDONLY|CLOEXEC` of `O_RDONLY|O_CLOEXEC`.
fn without_prefix(text: &str) -> Option<String> {
    let (first, _) = text.split_once('|')?;
    let prefix = &first[..=first.find('_')?];
    let names = text.split('|');
    let short = names.map(|name| match name.strip_prefix(prefix) {
        Some(rest) if !rest.is_empty() => rest,
        _ => name,
    });
    Some(short.collect::<Vec<_>>().join("|"))
}

/// Returns the minimum width of each column, if the columns that take room have this much together.
fn least(
    heads: &[Head],
    cells: &Cells,
    natural: &[usize],
    limit: usize,
    subject: usize,
) -> Vec<usize> {
    let takers = heads.iter().filter(|head| head.room == Room::Takes).count();
    let each = (subject / takers.max(1)).max(LEAST_SUBJECT);
    let last = heads.iter().rposition(|head| head.room != Room::Keeps);
    let of = |(at, head): (usize, &Head)| match head.room {
        Room::Keeps => cells.widest(at).max(width(&head.text).min(LEAST)),
        Room::Takes => natural[at].min(each).min(limit),
        Room::Cut | Room::Gives if takers == 0 && last == Some(at) => {
            natural[at].min(LEAST_SUBJECT).min(limit)
        }
        Room::Cut | Room::Gives => natural[at].min(LEAST),
    };
    heads.iter().enumerate().map(of).collect()
}

/// Less room than the cells would like: what the kernel names gives way first, then other texts, then headings; where that is not enough,
/// whole columns are left out, and the others get back what room that gives.
fn squeeze(heads: &[Head], cells: &Cells, natural: Vec<usize>, limit: usize) -> Vec<Option<usize>> {
    let mut there = vec![true; heads.len()];
    let fits = |least: &[usize], there: &[bool]| {
        let widths = least.iter().zip(there).filter(|(_, there)| **there);
        total(&widths.map(|(width, _)| *width).collect::<Vec<_>>()) <= limit
    };
    // What can be spared goes before what a person looks for is cut.
    let good = least(heads, cells, &natural, limit, SUBJECT);
    while !fits(&good, &there) {
        match spare(heads, &there) {
            Some(at) => there[at] = false,
            None => break,
        }
    }
    let least = least(heads, cells, &natural, limit, LEAST_SUBJECT);
    while !fits(&least, &there) {
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
    for (room, floor) in [
        (Room::Takes, &good),
        (Room::Gives, &least),
        (Room::Cut, &least),
        (Room::Takes, &least),
        (Room::Keeps, &least),
    ] {
        shrink(&mut widths, limit, |at| match heads[at].room == room {
            true => floor[at],
            false => usize::MAX,
        });
    }
    widths
}

/// Narrows columns until all fit, none below its minimum width. Each step narrows the widest columns to the next width.
fn shrink(widths: &mut [Option<usize>], limit: usize, least: impl Fn(usize) -> usize) {
    loop {
        let used = total(&widths.iter().flatten().copied().collect::<Vec<_>>());
        let excess = used.saturating_sub(limit);
        let above = |at: usize| widths[at].map_or(0, |width| width.saturating_sub(least(at)));
        let widest = (0..widths.len())
            .filter(|&at| above(at) > 0)
            .max_by_key(|&at| widths[at]);
        let Some(at) = widest.filter(|_| excess > 0) else {
            return;
        };
        let have = widths[at].unwrap_or(0);
        let next = (0..widths.len())
            .filter(|&other| above(other) > 0)
            .filter_map(|other| widths[other].filter(|width| *width < have))
            .max();
        let step = next
            .map_or(excess, |next| have - next)
            .min(excess)
            .clamp(1, above(at));
        widths[at] = Some(have - step);
    }
}

/// Returns the next column to hide, of those that can be spared: the time of an event, then the last one. One column always stays.
fn spare(heads: &[Head], there: &[bool]) -> Option<usize> {
    let left: Vec<usize> = (0..heads.len()).filter(|&at| there[at]).collect();
    let of = |leaves: Leaves| left.iter().rfind(move |&&at| heads[at].leaves == leaves);
    let found = of(Leaves::First).or_else(|| of(Leaves::Early));
    found.copied().filter(|_| left.len() > 1)
}

/// Returns the next column to hide, of all columns. The first column and the last text column are hidden last.
fn expendable(heads: &[Head], there: &[bool]) -> Option<usize> {
    let left: Vec<usize> = (0..heads.len()).filter(|&at| there[at]).collect();
    let (_, rest) = left.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let last_text = left.iter().rfind(|&&at| heads[at].room != Room::Keeps);
    let of = |room: Room| rest.iter().rfind(move |&&at| heads[at].room == room);
    spare(heads, there)
        .or_else(|| of(Room::Gives).filter(|at| Some(*at) != last_text).copied())
        .or_else(|| of(Room::Keeps).copied())
        .or_else(|| rest.iter().rfind(|&at| Some(at) != last_text).copied())
        .or(rest.last().copied())
}

fn blanks(count: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', count));
}
