//! Folded stacks in memory: each name is kept once, because a target chooses its length and the number of its stacks.

use rows::escape::escape;
use std::{
    borrow::Cow,
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    io::{self, Write},
    rc::Rc,
};

/// Memory to draw a frame, in bytes, without its name.
const DRAWN_FRAME_BYTES: usize = 64;

/// Stacks from the root, each with `N` weights.
#[derive(Debug, Default)]
pub(crate) struct Stacks<const N: usize> {
    names: Names,
    stacks: HashMap<Box<[u32]>, [u64; N]>,
}

/// Interned names of frames.
#[derive(Debug, Default)]
struct Names {
    names: Vec<Rc<str>>,
    numbers: HashMap<Rc<str>, u32>,
}

impl Names {
    /// Appends a stack's names.
    fn write(&self, stack: &[u32], line: &mut String) {
        for (at, number) in stack.iter().enumerate() {
            if at > 0 {
                line.push(';');
            }
            line.push_str(&self.names[*number as usize]);
        }
    }

    /// Returns the length of a stack's names in bytes.
    fn len(&self, stack: &[u32]) -> usize {
        let names = stack.iter();
        names
            .map(|number| self.names[*number as usize].len() + 1)
            .sum()
    }

    /// Compares two stacks by their lines.
    fn compare(&self, a: &[u32], b: &[u32]) -> Ordering {
        let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        self.bytes(&a[same..]).cmp(self.bytes(&b[same..]))
    }

    fn bytes<'a>(&'a self, stack: &'a [u32]) -> impl Iterator<Item = u8> + 'a {
        stack.iter().enumerate().flat_map(|(at, number)| {
            let before = if at > 0 { ";" } else { "" };
            let name = &self.names[*number as usize];
            before.bytes().chain(name.bytes())
        })
    }
}

impl<const N: usize> Stacks<N> {
    /// Returns the number of a name. Kernel frames get a mark.
    pub(crate) fn number(&mut self, name: &[u8], kernel: bool) -> u32 {
        let name = frame_text(name, kernel);
        if let Some(known) = self.names.numbers.get(name.as_str()) {
            return *known;
        }
        let (number, name) = (self.names.names.len() as u32, Rc::from(name));
        self.names.names.push(Rc::clone(&name));
        self.names.numbers.insert(name, number);
        number
    }

    /// Adds weights to those of a stack.
    pub(crate) fn add(&mut self, stack: &[u32], weights: [u64; N]) {
        match self.stacks.get_mut(stack) {
            Some(sums) => {
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum = sum.saturating_add(weight);
                }
            }
            None => drop(self.stacks.insert(stack.into(), weights)),
        }
    }

    /// Returns the name with a number.
    pub(crate) fn name(&self, number: u32) -> &str {
        &self.names.names[number as usize]
    }

    /// Returns the number of names.
    pub(crate) fn names(&self) -> usize {
        self.names.names.len()
    }

    /// Returns the number of stacks.
    pub(crate) fn len(&self) -> usize {
        self.stacks.len()
    }

    /// Returns the stacks with a weight, in any order.
    pub(crate) fn weighted(&self) -> impl Iterator<Item = (&[u32], [u64; N])> {
        let some = { self.stacks.iter() }.filter(|(_, weights)| weights.iter().any(|n| *n > 0));
        some.map(|(stack, weights)| (&**stack, *weights))
    }

    /// Returns the stacks with a weight, in the order of their lines.
    fn sorted(&self) -> Vec<(&[u32], [u64; N])> {
        let mut all: Vec<_> = self.weighted().collect();
        all.sort_by(|(a, _), (b, _)| self.names.compare(a, b));
        all
    }

    /// Replaces the weights of each stack, in the order of their lines.
    pub(crate) fn reweigh(&mut self, mut with: impl FnMut([u64; N]) -> [u64; N]) {
        let of = |(stack, weights): (&[u32], _)| (stack.into(), with(weights));
        self.stacks = self.sorted().into_iter().map(of).collect();
    }

    /// Returns the size of all lines in bytes, without their weights.
    pub(crate) fn text_bytes(&self) -> u64 {
        let lengths = self.weighted().map(|(stack, _)| self.names.len(stack));
        lengths.map(|length| length as u64).sum()
    }

    /// Writes a line for each stack, in the order of the lines.
    pub(crate) fn write(&self, mut to: impl Write) -> io::Result<()> {
        let mut line = String::new();
        for (stack, weights) in self.sorted() {
            line.clear();
            self.names.write(stack, &mut line);
            push_weights(&mut line, weights);
            writeln!(to, "{line}")?;
        }
        to.flush()
    }

    /// Returns lines for a picture of about `most` bytes, and the number of omitted stacks. The smallest stacks of a program become one line.
    pub(crate) fn picture(&self, most: usize) -> (Vec<String>, u64) {
        let size = |weights: &[u64; N]| weights.iter().copied().max();
        let mut all: Vec<(&[u32], [u64; N])> = self.weighted().collect();
        all.sort_by(|(a, n), (b, m)| size(m).cmp(&size(n)).then_with(|| self.names.compare(a, b)));
        let (mut bytes, mut left_out) = (0, 0);
        let mut rest: BTreeMap<&str, [u64; N]> = BTreeMap::new();
        let mut lines = Vec::new();
        let line = |stack: &str, weights: [u64; N]| {
            let mut line = one_number(stack).into_owned();
            push_weights(&mut line, weights);
            line
        };
        let mut text = String::new();
        for (stack, weights) in all {
            bytes += self.names.len(stack) + stack.len() * DRAWN_FRAME_BYTES;
            if bytes <= most {
                text.clear();
                self.names.write(stack, &mut text);
                lines.push(line(&text, weights));
            } else {
                left_out += 1;
                let sums = rest.entry(self.name(stack[0])).or_insert([0; N]);
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum = sum.saturating_add(weight);
                }
            }
        }
        let rest = rest.into_iter();
        lines.extend(rest.map(|(root, sums)| line(&format!("{root};[smaller stacks]"), sums)));
        (lines, left_out)
    }
}

fn push_weights<const N: usize>(line: &mut String, weights: [u64; N]) {
    for weight in weights {
        line.push(' ');
        line.push_str(&weight.to_string());
    }
}

/// Escapes a name: a semicolon would split the frame.
fn frame_text(name: &[u8], kernel: bool) -> String {
    let mut text = String::new();
    escape(name, &mut text);
    if text.contains(';') {
        text = text.replace(';', ":");
    }
    if text.is_empty() {
        text.push_str("[unknown]");
    }
    if kernel {
        text.push_str("_[k]");
    }
    text
}

/// Returns a stack as inferno reads it. Inferno removes blanks at its start after it sorted the lines, and refuses them as unsorted then. It
/// takes a number at its end for the first of two weights, as differential graphs have them.
pub(super) fn one_number(stack: &str) -> Cow<'_, str> {
    let rest = stack.trim_start();
    if rest.len() < stack.len() {
        return format!("\\x20{}", one_number(rest)).into();
    }
    match stack.rsplit_once(' ') {
        Some((name, last)) if last.starts_with(|first: char| first.is_ascii_digit()) => {
            // It looks the same, and is no blank to inferno.
            format!("{name}\u{a0}{last}").into()
        }
        _ => stack.into(),
    }
}
