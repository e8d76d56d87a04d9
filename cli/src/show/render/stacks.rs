//! Folded stacks and flame graphs of rows with a stack.

use super::{Output, Wall, fold::Stacks, human::count};
use crate::{limits::PICTURE_BYTES, show::sink::Sink};
use engine::Account;
use inferno::flamegraph::{
    self, Options, Palette,
    color::{BackgroundColor, MultiPalette},
};
use std::{
    io::{self, BufWriter, Write},
    time::Duration,
};
use tracers::{Batch, Column, Kind, Role, Shown, Unit, Value};

/// Returns whether rows with these columns have a stack.
pub(crate) fn has_stacks(columns: &[Column]) -> bool {
    columns.iter().any(|column| column.kind.is_stack())
}

/// Returns the columns of stacks, from the root of a picture: what a program did, what the kernel did for it, and what is on top of both.
pub(super) fn from_root(columns: &[Column]) -> impl DoubleEndedIterator<Item = usize> {
    let order = [(false, false), (false, true), (true, true), (true, false)];
    order.into_iter().flat_map(move |(on_top, kernel)| {
        (0..columns.len()).filter(move |at| {
            let column = &columns[*at];
            column.kind.is_stack()
                && column.on_top == on_top
                && matches!(column.kind, Kind::KernelStack) == kernel
        })
    })
}

/// Folded stacks of rows.
#[derive(Debug)]
pub(super) struct Fold {
    columns: Vec<Column>,
    /// Places of the columns whose values are the first frames.
    root: Vec<usize>,
    /// Places of the columns with stacks, from the root.
    order: Vec<usize>,
    stacks: Stacks<1>,
}

impl Fold {
    pub(super) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            root: Vec::new(),
            order: from_root(columns).collect(),
            stacks: Stacks::default(),
        }
    }

    pub(super) fn add(&mut self, batch: &Batch, wall: Wall) {
        let weight = weight(&self.columns).map(|(column, _)| column);
        // The numbers of this batch's frames, of programs and of the kernel, once they are known.
        let mut known = [false, true].map(|_| vec![None; batch.frames.len()]);
        let mut stack = Vec::new();
        for row in 0..batch.rows() {
            let n = match weight.map(|column| batch.value(column, row)) {
                Some(Value::Unsigned(n)) => n,
                // A gauge below zero: more was given back than was seen taken.
                Some(Value::Signed(n)) => n.max(0).cast_unsigned(),
                _ => 1,
            };
            stack.clear();
            for &at in &self.root {
                let name = root_text(&self.columns[at], at, batch, row, wall);
                stack.push(self.stacks.number(name.as_bytes(), false));
            }
            self.fold(batch, row, &mut known, &mut stack);
            self.stacks.add(&stack, [n]);
        }
    }

    /// Adds a row: the program's name unless it is there, its frames from the root, then kernel frames.
    fn fold(
        &mut self,
        batch: &Batch,
        row: usize,
        known: &mut [Vec<Option<u32>>; 2],
        stack: &mut Vec<u32>,
    ) {
        let (columns, names) = (&self.columns, &mut self.stacks);
        if let Some(name) = columns.iter().position(|column| {
            matches!(column.kind, Kind::Text) && !column.is_label() && !column.on_top
        }) && !self.root.contains(&name)
            && let Value::Bytes(bytes, _) = batch.value(name, row)
        {
            stack.push(names.number(bytes, false));
        }
        let named = stack.len();
        let mut is_on_top = false;
        for &at in &self.order {
            let (column, kernel) = (&columns[at], matches!(columns[at].kind, Kind::KernelStack));
            let mut number = |names: &mut Stacks<1>, id: usize| {
                let frame = batch.frames.get(id)?;
                let number = || names.number(frame.name.as_bytes(), kernel);
                Some(*known[usize::from(kernel)][id].get_or_insert_with(number))
            };
            let before = stack.len();
            match batch.value(at, row) {
                Value::Frames(ids) if column.on_top => {
                    let ids = ids.iter().map(|id| *id as usize);
                    stack.extend(ids.filter_map(|id| number(names, id)));
                }
                Value::Frames(ids) => {
                    let ids = ids.iter().rev().map(|id| *id as usize);
                    stack.extend(ids.filter_map(|id| number(names, id)));
                }
                // A stack without symbols.
                Value::Unsigned(n) if n != 0 => {
                    stack.push(names.number(format!("[{n:#x}]").as_bytes(), kernel));
                }
                _ => {}
            }
            if column.on_top && !is_on_top && stack.len() > before {
                is_on_top = true;
                stack.insert(before, names.number(b"--", false));
            }
        }
        if stack.len() == named {
            stack.push(names.number(b"[no stack]", false));
        }
        if is_on_top
            && let Some(name) = { columns.iter() }
                .position(|column| column.on_top && matches!(column.kind, Kind::Text))
            && let Value::Bytes(bytes, _) = batch.value(name, row)
        {
            stack.push(names.number(bytes, false));
        }
    }

    /// Returns a summary: `1,204 faults in 37 stacks`.
    fn summary(&self, noun: &str) -> String {
        let counts = self.stacks.weighted().map(|(_, [count])| count);
        let total = counts.fold(0, u64::saturating_add);
        let stacks = super::human::plural(self.stacks.len() as u64, "stack");
        format!("{} {noun} in {stacks}", count(total))
    }
}

/// Returns the place of the column with the weight of a stack. Bytes and times are preferred to counts, which a sum may be too.
pub(super) fn weight_column(columns: &[Column]) -> Option<usize> {
    let find = |role| columns.iter().position(|column| column.role == role);
    let is_measure = |column: &Column| column.role == Role::Sum && column.unit() != Unit::None;
    { columns.iter().position(is_measure) }
        .or_else(|| find(Role::Gauge))
        .or_else(|| find(Role::Count))
        .or_else(|| find(Role::Sum))
}

/// Returns the column with the weight of a stack, and the noun of its unit.
fn weight(columns: &[Column]) -> Option<(usize, String)> {
    let at = weight_column(columns)?;
    let name = match columns[at].unit() {
        Unit::Nanoseconds => "ns",
        Unit::Microseconds => "us",
        Unit::Bytes => "bytes",
        Unit::None | Unit::Pages | Unit::Percent => &columns[at].name,
    };
    Some((at, name.to_owned()))
}

/// Returns the value of a column as the name of a frame.
pub(super) fn root_text(
    column: &Column,
    at: usize,
    batch: &Batch,
    row: usize,
    wall: Wall,
) -> String {
    let mut text = String::new();
    let shown = Shown {
        column,
        frames: &batch.frames,
        wall,
    };
    column.kind.text(batch.value(at, row), shown, &mut text);
    match text.is_empty() {
        true => format!("[no {}]", column.name),
        false => text,
    }
}

fn noun(columns: &[Column]) -> String {
    weight(columns).map_or_else(|| "events".to_owned(), |(_, noun)| noun)
}

/// Folded stacks, one per line with its weight: the input of flame graph tools.
#[derive(Debug)]
pub(crate) struct Folded {
    to: Sink,
    fold: Fold,
}

impl Folded {
    /// Creates an output of rows with these columns.
    pub(crate) fn new(columns: &[Column], to: Sink) -> Self {
        Self {
            to,
            fold: Fold::new(columns),
        }
    }

    /// Puts the values of the columns at these places below the root.
    pub(crate) fn with_root(mut self, root: &[usize]) -> Self {
        self.fold.root = root.to_vec();
        self
    }
}

impl Output for Folded {
    fn rows(&mut self, batch: &Batch, wall: Wall) -> io::Result<()> {
        self.fold.add(batch, wall);
        Ok(())
    }

    fn table(&mut self, _: &Batch, _: Wall, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, tables: &[&Batch], wall: Wall, _: &Account) -> io::Result<Option<String>> {
        tables.iter().for_each(|table| self.fold.add(table, wall));
        self.fold.stacks.write(BufWriter::new(&mut self.to))?;
        finish(&mut self.to, &self.fold)
    }
}

/// A flame graph: an SVG that a browser can zoom and search.
#[derive(Debug)]
pub(crate) struct Flamegraph {
    to: Sink,
    fold: Fold,
    title: String,
}

impl Flamegraph {
    /// Creates an output of rows with these columns.
    pub(crate) fn new(columns: &[Column], title: String, to: Sink) -> Self {
        Self {
            to,
            fold: Fold::new(columns),
            title,
        }
    }

    /// Puts the values of the columns at these places below the root.
    pub(crate) fn with_root(mut self, root: &[usize]) -> Self {
        self.fold.root = root.to_vec();
        self
    }
}

impl Output for Flamegraph {
    fn rows(&mut self, batch: &Batch, wall: Wall) -> io::Result<()> {
        self.fold.add(batch, wall);
        Ok(())
    }

    fn table(&mut self, _: &Batch, _: Wall, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn end(
        &mut self,
        tables: &[&Batch],
        wall: Wall,
        account: &Account,
    ) -> io::Result<Option<String>> {
        tables.iter().for_each(|table| self.fold.add(table, wall));
        let (lines, left_out) = self.fold.stacks.picture(PICTURE_BYTES);
        let noun = noun(&self.fold.columns);
        let mut subtitle = self.fold.summary(&noun);
        if left_out > 0 {
            let stacks = super::human::plural(left_out, "smaller stack");
            subtitle.push_str(&format!("; {stacks} without frames"));
        }
        if account.lost.total() > 0 {
            let lost = count(account.lost.total());
            subtitle.push_str(&format!("; PARTIAL: {lost} lost"));
        }
        let mut svg = BufWriter::new(&mut self.to);
        match lines.is_empty() {
            true => empty(&self.title, &mut svg)?,
            false => draw(&self.title, &subtitle, &noun, &lines, &mut svg)?,
        }
        svg.flush()?;
        drop(svg);
        finish(&mut self.to, &self.fold)
    }
}

fn draw(
    title: &str,
    subtitle: &str,
    noun: &str,
    lines: &[String],
    svg: impl Write,
) -> io::Result<()> {
    let mut options = options(title, subtitle, noun);
    // Of inferno's palettes this one colours the kernel's frames (`_[k]`) and those of C++ and Rust (`::`), and leaves
    // all other names alone; that for Java makes every capital letter green.
    options.colors = Palette::Multi(MultiPalette::Perl);
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), svg)
}

/// Draws lines with two weights, shares of two profiles: frames that grew are red, frames that shrank are blue.
pub(crate) fn draw_difference(
    title: &str,
    subtitle: &str,
    noun: &str,
    lines: &[String],
    svg: impl Write,
) -> io::Result<()> {
    let mut options = options(title, subtitle, noun);
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), svg)
}

fn options<'a>(title: &str, subtitle: &str, noun: &str) -> Options<'a> {
    let mut options = Options::default();
    options.title = title.to_owned();
    options.subtitle = Some(subtitle.to_owned());
    options.count_name = noun.to_owned();
    options.name_type = "Function".to_owned();
    options.bgcolors = Some(BackgroundColor::Flat((0xff, 0xff, 0xff).into()));
    options.font_size = 12;
    // The same stacks give the same picture.
    options.hash = true;
    options.deterministic = true;
    options
}

/// Writes a picture without samples, which inferno refuses to draw.
fn empty(title: &str, svg: &mut impl Write) -> io::Result<()> {
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1200\" height=\"60\" font-family=\"monospace\" font-size=\"17\">\
         <text x=\"600\" y=\"36\" text-anchor=\"middle\">{title}: no samples</text></svg>",
        title = title.replace('&', "&amp;").replace('<', "&lt;"),
    )
}

fn finish(to: &mut Sink, fold: &Fold) -> io::Result<Option<String>> {
    let written = to
        .path()
        .map(|path| format!("{}: {}", path.display(), fold.summary(&noun(&fold.columns))));
    to.finish()?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{fixture::*, fold::one_number},
        *,
    };

    fn svg(table: Option<&Batch>) -> String {
        let bytes = written(|sink| {
            let mut graph =
                Flamegraph::new(&stack_columns(), "faults of <prog> & co".to_owned(), sink);
            let tables: Vec<&Batch> = table.into_iter().collect();
            graph.end(&tables, WALL, &account()).unwrap();
        });
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_goes_from_the_root_to_the_kernel_and_no_name_breaks_it() {
        let bytes = written(|sink| {
            let message = Folded::new(&stack_columns(), sink)
                .end(&[&stacks()], WALL, &account())
                .unwrap();
            assert!(message.unwrap().ends_with(": 1,204 faults in 4 stacks"));
        });
        insta::assert_snapshot!(String::from_utf8(bytes).unwrap(), @r"
        gone;[no stack] 1
        prog:x;main;evil\x1b<b>&\n 3
        prog;main;Vec<T>::push<a:b>;copy_to_user_[k] 240
        prog;main;memset 960
        ");
    }

    #[test]
    fn values_of_columns_are_frames_below_the_root_and_the_program_is_there_once() {
        let lines = |root: &[usize]| {
            let bytes = written(|sink| {
                let mut folded = Folded::new(&stack_columns(), sink).with_root(root);
                folded.end(&[&stacks()], WALL, &account()).unwrap();
            });
            let text = String::from_utf8(bytes).unwrap();
            let mut lines = text.lines().filter(|line| line.ends_with(" 960"));
            lines.next().unwrap().to_owned()
        };
        assert_eq!(lines(&[]), "prog;main;memset 960");
        assert_eq!(lines(&[0]), "4242;prog;main;memset 960");
        assert_eq!(lines(&[1, 0]), "prog;4242;main;memset 960");
    }

    #[test]
    fn a_flame_graph_is_one_file_that_can_be_zoomed_and_searched() {
        let svg = svg(Some(&stacks()));
        assert!(svg.contains("<script") && svg.contains("unzoom") && svg.contains("search"));
        assert!(
            svg.contains("1,204 faults in 4 stacks") && svg.contains("memset (960 faults, 79.73%)")
        );
        assert!(
            svg.contains("faults of &lt;prog&gt; &amp; co"),
            "the title is escaped"
        );
        assert!(
            !svg.contains("evil\u{1b}") && svg.contains("evil\\x1b&lt;b&gt;&amp;\\n"),
            "names are escaped twice"
        );
        assert!(
            !svg.contains("src=\"http") && !svg.contains("href=\"http"),
            "nothing is fetched"
        );
    }

    #[test]
    fn a_name_that_ends_in_a_number_is_no_weight() {
        for name in ["wasm function 7", "f 0.5", "g 12 13"] {
            let (options, mut svg) = (&mut Options::default(), Vec::new());
            let line = format!("{} 400", one_number(name));
            flamegraph::from_lines(options, [line.as_str()], &mut svg).unwrap();
            let svg = String::from_utf8(svg).unwrap().replace('\u{a0}', " ");
            assert!(
                svg.contains(&format!("{name} (400 samples, 100.00%)")),
                "{svg}"
            );
        }
        assert_eq!(one_number("main;push 7b"), "main;push\u{a0}7b");
        assert_eq!(one_number("main;operator new"), "main;operator new");
    }

    #[test]
    fn a_program_whose_name_begins_with_a_blank_is_drawn() {
        let mut fold = Fold::new(&stack_columns());
        for name in ["b", " b", "  c", "a"] {
            let number = fold.stacks.number(name.as_bytes(), false);
            fold.stacks.add(&[number], [1]);
        }
        let (lines, _) = fold.stacks.picture(usize::MAX);
        let mut svg = Vec::new();
        draw("title", "", "samples", &lines, &mut svg).unwrap();
        assert!(
            String::from_utf8(svg)
                .unwrap()
                .contains("\\x20b (1 samples, 25.00%)")
        );
    }

    #[test]
    fn a_flame_graph_draws_the_largest_stacks_that_have_room_and_counts_all() {
        let mut fold = Fold::new(&stack_columns());
        let names: Vec<String> = (0..100)
            .map(|n| format!("{n}{}", "x".repeat(500)))
            .collect();
        fold.add(&stacks_of(&names), WALL);
        fold.add(&stacks(), WALL);
        let (all, left_out) = fold.stacks.picture(usize::MAX);
        assert_eq!((all.len(), left_out), (104, 0));
        let most = 10_000;
        let (lines, left_out) = fold.stacks.picture(most);
        let bytes: usize = lines.iter().map(String::len).sum();
        assert!(bytes <= most, "{bytes}");
        assert!(left_out > 80 && lines.contains(&"prog;main;memset 960".to_owned()));
        let sum = |lines: &[String]| -> u64 {
            let counts = lines.iter().map(|line| line.rsplit_once(' ').unwrap().1);
            counts.map(|count| count.parse::<u64>().unwrap()).sum()
        };
        assert_eq!(sum(&lines), sum(&all));
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("prog;[smaller stacks] "))
        );
    }

    #[test]
    fn an_empty_flame_graph_has_a_text() {
        let svg = svg(None);
        assert!(
            svg.contains("no samples") && svg.contains("&lt;prog> &amp; co"),
            "{svg}"
        );
    }
}
