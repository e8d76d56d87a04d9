//! A tracer without its type, as the agent, the command line and the generators handle it.

use crate::{
    Class, Column, Dataset, Family, Opt, Params, Plan, Point, Source, Spec, Tracer, dataset,
};
use core::marker::PhantomData;
use std::{collections::BTreeMap, string::String, vec::Vec};

/// A tracer without its type.
pub trait Erased: Sync {
    /// Its name: that of its module, its object and its test.
    fn name(&self) -> &'static str;
    /// What the rows of its first dataset are; the first paragraph is one sentence.
    fn about(&self) -> &'static str;
    /// What it reveals or changes.
    fn class(&self) -> Class;
    /// The observed part of the system.
    fn family(&self) -> Family;
    /// Sets of points, best first; each set alone is enough. Those of a trace are in its plan.
    fn points(&self) -> Vec<Vec<Point>>;
    /// Whether a point may be reached where a program of it is at work: by that work itself, or by an interrupt.
    fn nests(&self) -> bool;
    /// Its options.
    fn options(&self) -> &'static [Opt];
    /// Its datasets. The first has its own name.
    fn datasets(&self) -> Vec<Dataset>;
    /// The columns of its first dataset.
    fn columns(&self) -> Vec<Column>;
    /// How the rows of its first dataset leave the kernel.
    fn source(&self) -> Source;
    /// What it costs, in a few words.
    fn cost(&self) -> &'static str;
    /// What comes after `tracejob run NAME`, one string per example.
    fn examples(&self) -> &'static [&'static str];
    /// What one trace with these options needs of the kernel, and the datasets that it produces.
    fn plan(&self, spec: &Spec) -> Plan;
}

/// What makes a typed tracer an [`Erased`] one.
pub struct Handle<T> {
    name: &'static str,
    tracer: PhantomData<fn() -> T>,
}

impl<T> Handle<T> {
    /// `name` is the tracer's module.
    pub const fn new(name: &'static str) -> Self
    where
        T: Tracer,
    {
        const { dataset::check(T::SOURCE, T::ALSO) }
        Self {
            name,
            tracer: PhantomData,
        }
    }
}

impl<T: Tracer> Erased for Handle<T> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn about(&self) -> &'static str {
        T::ABOUT
    }
    fn class(&self) -> Class {
        T::CLASS
    }
    fn family(&self) -> Family {
        T::FAMILY
    }
    fn points(&self) -> Vec<Vec<Point>> {
        points_with::<T>(|_| false)
    }
    fn nests(&self) -> bool {
        T::NESTS
    }
    fn options(&self) -> &'static [Opt] {
        <T::Params as Params>::OPTIONS
    }
    fn datasets(&self) -> Vec<Dataset> {
        let first = Dataset::of::<T>(self.name);
        let further = T::ALSO.iter().map(|one| (one.make)(one.name));
        core::iter::once(first).chain(further).collect()
    }
    fn columns(&self) -> Vec<Column> {
        let mut out = Vec::new();
        T::columns(&mut out);
        out
    }
    fn source(&self) -> Source {
        T::SOURCE
    }
    fn cost(&self) -> &'static str {
        T::COST
    }
    fn examples(&self) -> &'static [&'static str] {
        T::EXAMPLES
    }
    fn plan(&self, spec: &Spec) -> Plan {
        let globals = spec.globals();
        let is_on = |option| {
            let value = globals.iter().find(|(global, _)| *global == option);
            value.is_some_and(|(_, bytes)| bytes.iter().any(|byte| *byte != 0))
        };
        Plan {
            tracer: self.name,
            datasets: self.datasets(),
            points: points_with::<T>(is_on),
            nests: T::NESTS,
            globals,
            slots: BTreeMap::new(),
        }
    }
}

/// Returns the sets of points, of which those of options only where the option is on. Sets that are equal then are one.
fn points_with<T: Tracer>(is_on: impl Fn(&'static str) -> bool) -> Vec<Vec<Point>> {
    let mut sets: Vec<Vec<Point>> = Vec::new();
    for set in T::POINTS {
        let points = set.iter().filter(|point| point.option.is_none_or(&is_on));
        let points: Vec<Point> = points.cloned().collect();
        if !sets.contains(&points) {
            sets.push(points);
        }
    }
    sets
}

/// Returns the tracer of this name, in snake case or camel case.
pub fn find(name: &str) -> Option<&'static dyn Erased> {
    crate::ALL
        .iter()
        .copied()
        .find(|tracer| tracer.name() == name || camel(tracer.name()) == name)
}

/// Returns the first tracer of events, for tests of the engine around them: other tracers have tables.
///
/// # Panics
/// If the catalogue has none.
#[doc(hidden)]
pub fn of_events() -> &'static dyn Erased {
    let mut all = crate::ALL.iter().copied();
    all.find(|tracer| tracer.source() == crate::Source::Ring)
        .expect("the catalogue has tracers of events")
}

/// Returns the name among `names` that is most similar to `name`, if any is similar enough.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = |candidate: &str| candidate.len().div_ceil(3);
    names
        // The difference of the lengths is the least distance: a long word is compared with no name.
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= most(candidate))
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= most(candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `tcp_connect` as a TraceJob writes it.
pub fn camel(snake: &str) -> String {
    let mut out = String::new();
    for (index, word) in snake.split('_').enumerate() {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if index > 0 => out.extend(first.to_uppercase()),
            Some(first) => out.push(first),
            None => {}
        }
        out.push_str(letters.as_str());
    }
    out
}

/// Levenshtein distance by bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn each_dataset_has_a_name_of_its_own_and_the_first_the_tracers() {
        for tracer in crate::ALL {
            let datasets = tracer.datasets();
            assert_eq!(datasets[0].name, tracer.name());
            let names: BTreeSet<&str> = datasets.iter().map(|one| one.name).collect();
            assert_eq!(names.len(), datasets.len(), "{names:?}");
            for name in names {
                let is_snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                assert!(!name.is_empty() && name.chars().all(is_snake), "{name}");
            }
        }
    }
}
