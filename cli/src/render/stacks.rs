//! Rows with a stack as folded stacks and flame graphs, whatever it is that they count.

use super::{Output, Wall, human::count};
use crate::sink::Sink;
use agent::Account;
use inferno::flamegraph::{
    self, Options, Palette,
    color::{BackgroundColor, MultiPalette},
};
use rows::escape::escape;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};
use tracers::{Batch, Column, Kind, Role, Unit, Value};

/// Whether rows of these columns have a stack.
pub(crate) fn has_stacks(columns: &[Column]) -> bool {
    columns.iter().any(|column| column.kind.is_stack())
}

/// Stacks, from the root, each with what was counted there.
#[derive(Debug)]
pub(super) struct Fold {
    columns: Vec<Column>,
    lines: BTreeMap<String, u64>,
}

impl Fold {
    pub(super) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            lines: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, batch: &Batch) {
        let weight = weight(&self.columns).map(|(column, _)| column);
        let mut line = String::new();
        for row in 0..batch.rows() {
            let n = match weight.map(|column| batch.value(column, row)) {
                Some(Value::Unsigned(n)) => n,
                _ => 1,
            };
            line.clear();
            fold(&self.columns, batch, row, &mut line);
            match self.lines.get_mut(&line) {
                Some(sum) => *sum = sum.saturating_add(n),
                None => drop(self.lines.insert(line.clone(), n)),
            }
        }
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let some = self.lines.iter().filter(|(_, count)| **count > 0);
        some.map(|(stack, count)| format!("{stack} {count}"))
    }

    /// `1,204 faults in 37 stacks`
    fn summary(&self, noun: &str) -> String {
        let total = self.lines.values().copied().fold(0u64, u64::saturating_add);
        let stacks = super::human::plural(self.lines.len() as u64, "stack");
        format!("{} {noun} in {stacks}", count(total))
    }
}

/// The column that gives a stack its weight, and what it counts. Bytes and times say more than how often.
fn weight(columns: &[Column]) -> Option<(usize, String)> {
    let find = |role| columns.iter().position(|column| column.role == role);
    let at = find(Role::Sum).or_else(|| find(Role::Count))?;
    let name = match columns[at].unit() {
        Unit::Nanoseconds => "ns",
        Unit::Bytes => "bytes",
        _ => columns[at].name,
    };
    Some((at, name.to_owned()))
}

fn noun(columns: &[Column]) -> String {
    weight(columns).map_or_else(|| "events".to_owned(), |(_, noun)| noun)
}

/// The program's name, its frames from the root, then the kernel's, each of these marked `_[k]`.
fn fold(columns: &[Column], batch: &Batch, row: usize, line: &mut String) {
    if let Some(name) = columns
        .iter()
        .position(|column| matches!(column.kind, Kind::Text) && !column.is_label())
        && let Value::Bytes(bytes, _) = batch.value(name, row)
    {
        push(bytes, line);
    }
    let mut found = false;
    for wanted in [false, true] {
        let stacks = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.kind.is_stack());
        for (at, column) in stacks {
            let kernel = matches!(column.kind, Kind::KernelStack);
            if kernel != wanted {
                continue;
            }
            let suffix = if kernel { "_[k]" } else { "" };
            match batch.value(at, row) {
                Value::Frames(ids) => {
                    for frame in ids
                        .iter()
                        .rev()
                        .filter_map(|id| batch.frames.get(*id as usize))
                    {
                        push(frame.name.as_bytes(), line);
                        line.push_str(suffix);
                        found = true;
                    }
                }
                // A stack that nobody has symbolised.
                Value::Unsigned(n) if n != 0 => {
                    push(format!("[{n:#x}]").as_bytes(), line);
                    line.push_str(suffix);
                    found = true;
                }
                _ => {}
            }
        }
    }
    if !found {
        push(b"[no stack]", line);
    }
}

/// Appends a frame. A semicolon would make two of it.
fn push(name: &[u8], line: &mut String) {
    if !line.is_empty() {
        line.push(';');
    }
    let start = line.len();
    escape(name, line);
    if line[start..].contains(';') {
        let clean = line[start..].replace(';', ":");
        line.truncate(start);
        line.push_str(&clean);
    }
    if line.len() == start {
        line.push_str("[unknown]");
    }
}

/// Folded stacks, one per line with its weight: what flame graph tools read.
#[derive(Debug)]
pub(crate) struct Folded {
    to: Sink,
    fold: Fold,
}

impl Folded {
    /// Of rows with these columns.
    pub(crate) fn new(columns: &[Column], to: Sink) -> Self {
        Self {
            to,
            fold: Fold::new(columns),
        }
    }
}

impl Output for Folded {
    fn rows(&mut self, batch: &Batch, _: Wall) -> io::Result<()> {
        self.fold.add(batch);
        Ok(())
    }

    fn table(&mut self, _: &Batch, _: Wall, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, table: Option<&Batch>, _: Wall, _: &Account) -> io::Result<Option<String>> {
        table.into_iter().for_each(|table| self.fold.add(table));
        let mut out = String::new();
        for line in self.fold.lines() {
            out.push_str(&line);
            out.push('\n');
        }
        self.to.write_all(out.as_bytes())?;
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
    /// Of rows with these columns.
    pub(crate) fn new(columns: &[Column], title: String, to: Sink) -> Self {
        Self {
            to,
            fold: Fold::new(columns),
            title,
        }
    }
}

impl Output for Flamegraph {
    fn rows(&mut self, batch: &Batch, _: Wall) -> io::Result<()> {
        self.fold.add(batch);
        Ok(())
    }

    fn table(&mut self, _: &Batch, _: Wall, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn end(
        &mut self,
        table: Option<&Batch>,
        _: Wall,
        account: &Account,
    ) -> io::Result<Option<String>> {
        table.into_iter().for_each(|table| self.fold.add(table));
        let lines = self.fold.lines.iter().filter(|(_, count)| **count > 0);
        let lines = lines.map(|(stack, count)| format!("{} {count}", one_number(stack)));
        let lines: Vec<String> = lines.collect();
        let noun = noun(&self.fold.columns);
        let lost = account.lost.total();
        let subtitle = match lost {
            0 => self.fold.summary(&noun),
            lost => format!(
                "{}; PARTIAL: {} lost",
                self.fold.summary(&noun),
                count(lost)
            ),
        };
        let mut svg = Vec::new();
        match lines.is_empty() {
            true => empty(&self.title, &mut svg),
            false => draw(&self.title, &subtitle, &noun, &lines, &mut svg)?,
        }
        self.to.write_all(&svg)?;
        finish(&mut self.to, &self.fold)
    }
}

fn draw(
    title: &str,
    subtitle: &str,
    noun: &str,
    lines: &[String],
    svg: &mut Vec<u8>,
) -> io::Result<()> {
    let mut options = Options::default();
    options.title = title.to_owned();
    options.subtitle = Some(subtitle.to_owned());
    options.count_name = noun.to_owned();
    options.name_type = "Function".to_owned();
    // Of inferno's palettes this one colours the kernel's frames (`_[k]`) and those of C++ and Rust (`::`), and leaves
    // all other names alone; that for Java makes every capital letter green.
    options.colors = Palette::Multi(MultiPalette::Perl);
    options.bgcolors = Some(BackgroundColor::Flat((0xff, 0xff, 0xff).into()));
    options.font_size = 12;
    // The same stacks give the same picture.
    options.hash = true;
    options.deterministic = true;
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), svg)
}

/// A stack whose end inferno does not take for the first of two weights, as differential graphs have them: a name may end in a number.
fn one_number(stack: &str) -> Cow<'_, str> {
    match stack.rsplit_once(' ') {
        Some((name, last)) if last.starts_with(|first: char| first.is_ascii_digit()) => {
            // It looks the same, and is no blank to inferno.
            format!("{name}\u{a0}{last}").into()
        }
        _ => stack.into(),
    }
}

/// What inferno refuses to draw.
fn empty(title: &str, svg: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1200\" height=\"60\" font-family=\"monospace\" font-size=\"17\">\
         <text x=\"600\" y=\"36\" text-anchor=\"middle\">{title}: nothing was counted</text></svg>",
        title = title.replace('&', "&amp;").replace('<', "&lt;"),
    );
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
    use super::{super::fixture::*, *};

    fn svg(table: Option<&Batch>) -> String {
        let bytes = written(|sink| {
            let mut graph =
                Flamegraph::new(&stack_columns(), "faults of <prog> & co".to_owned(), sink);
            graph.end(table, WALL, &account()).unwrap();
        });
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_goes_from_the_root_to_the_kernel_and_no_name_breaks_it() {
        let bytes = written(|sink| {
            let said = Folded::new(&stack_columns(), sink)
                .end(Some(&stacks()), WALL, &account())
                .unwrap();
            assert!(said.unwrap().ends_with(": 1,204 faults in 4 stacks"));
        });
        insta::assert_snapshot!(String::from_utf8(bytes).unwrap(), @r"
        gone;[no stack] 1
        prog:x;main;evil\x1b<b>&\n 3
        prog;main;Vec<T>::push<a:b>;copy_to_user_[k] 240
        prog;main;memset 960
        ");
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
    fn a_flame_graph_of_nothing_says_so() {
        let svg = svg(None);
        assert!(
            svg.contains("nothing was counted") && svg.contains("&lt;prog> &amp; co"),
            "{svg}"
        );
    }
}
