//! `diff`: the difference of two profiles, as shares of each profile's total.

mod profile;

use crate::{
    show::{
        output::{Format, OutputArg},
        render::draw_difference,
        sink::Sink,
    },
    usage::Usage,
};
use anyhow::{Context as _, Result};
use profile::Stacks;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::{BufWriter, Write as _},
    path::PathBuf,
};

/// Arguments of `diff`.
#[derive(Debug)]
pub(crate) struct Diff {
    /// Profile to compare with.
    pub(crate) before: PathBuf,
    /// Profile to explain.
    pub(crate) after: PathBuf,
    /// Output format and file; `None` for a table.
    pub(crate) output: Option<OutputArg>,
    /// Number of functions in the table.
    pub(crate) top: usize,
    /// Name of the sample type; `None` for the profile's default.
    pub(crate) sample: Option<String>,
}

/// Prints the difference of two profiles.
pub(crate) fn diff(args: &Diff) -> Result<()> {
    let format = args.output.as_ref().map_or(Format::Table, |arg| arg.format);
    if !matches!(format, Format::Table | Format::Folded | Format::Flamegraph) {
        let message = "diff has the outputs table, folded and flamegraph=FILE";
        return Err(Usage(message.to_owned()).into());
    }
    let sample = args.sample.as_deref();
    let before = profile::read(&args.before, sample)?;
    let after = profile::read(&args.after, sample)?;
    let difference = Difference::of(&before, &after);
    let mut to = match args.output.as_ref().and_then(|arg| arg.file.as_ref()) {
        Some(path) => Sink::create(path)?,
        None => Sink::stdout()?,
    };
    let mut out = BufWriter::new(&mut to);
    if format == Format::Flamegraph {
        let title = format!("{} → {}", args.before.display(), args.after.display());
        draw_difference(&title, &difference.lines(), difference.scale, &mut out)
            .context("cannot draw the flame graph")?;
    } else if format == Format::Folded {
        for line in difference.lines() {
            writeln!(out, "{line}")?;
        }
    } else {
        out.write_all(difference.table(args.top).as_bytes())?;
    }
    out.flush()?;
    drop(out);
    Ok(to.finish()?)
}

/// Largest total weight of a picture: the colours and places of frames are computed in 64 bits.
const MOST_WEIGHT: f64 = (1_u64 << 50) as f64;

/// Stacks with their weights in two profiles.
struct Difference<'a> {
    stacks: BTreeMap<&'a str, [f64; 2]>,
    totals: [f64; 2],
    /// Factor of weights in lines.
    scale: f64,
}

/// Shares of a function in two profiles.
#[derive(Clone, Copy, Default)]
struct Shares {
    own: [f64; 2],
    total: [f64; 2],
}

impl<'a> Difference<'a> {
    fn of(before: &'a Stacks, after: &'a Stacks) -> Self {
        let mut stacks: BTreeMap<&str, [f64; 2]> = BTreeMap::new();
        let mut totals = [0.0; 2];
        for (at, one) in [before, after].into_iter().enumerate() {
            for (stack, weight) in one {
                stacks.entry(stack).or_default()[at] += weight;
                totals[at] += weight;
            }
        }
        let scale = (MOST_WEIGHT / totals[1]).min(1.0);
        Self {
            stacks,
            totals,
            scale,
        }
    }

    /// Returns folded lines with two weights. The first is normalised to the total of the second profile.
    fn lines(&self) -> Vec<String> {
        let normal = self.totals[1] / self.totals[0];
        let line = |(stack, [before, after]): (&&str, &[f64; 2])| {
            let before = (before * normal * self.scale).round() as u64;
            let after = (after * self.scale).round() as u64;
            format!("{stack} {before} {after}")
        };
        self.stacks.iter().map(line).collect()
    }

    /// Returns the shares of each function in percent. A recursive function counts once per stack.
    fn functions(&self) -> BTreeMap<&'a str, Shares> {
        let mut all: BTreeMap<&str, Shares> = BTreeMap::new();
        for (stack, weights) in &self.stacks {
            let leaf = stack.rsplit(';').next().unwrap_or(stack);
            let names: BTreeSet<&str> = stack.split(';').collect();
            for (at, total) in self.totals.iter().enumerate() {
                let share = 100.0 * weights[at] / total;
                all.entry(leaf).or_default().own[at] += share;
                for name in &names {
                    all.entry(name).or_default().total[at] += share;
                }
            }
        }
        all
    }

    fn table(&self, top: usize) -> String {
        let mut all: Vec<(&str, Shares)> = self.functions().into_iter().collect();
        let change = |[before, after]: [f64; 2]| after - before;
        let size = |shares: &Shares| (change(shares.own).abs(), change(shares.total).abs());
        all.sort_by(|(_, a), (_, b)| {
            let ((own_a, total_a), (own_b, total_b)) = (size(a), size(b));
            own_b.total_cmp(&own_a).then(total_b.total_cmp(&total_a))
        });
        let mut out = String::from("  SELF%   AFTER  CHANGE  TOTAL%   AFTER  CHANGE  FUNCTION\n");
        for (name, Shares { own, total }) in all.into_iter().take(top) {
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "{:7.2} {:7.2} {:+7.2} {:7.2} {:7.2} {:+7.2}  {name}",
                own[0],
                own[1],
                change(own),
                total[0],
                total[1],
                change(total)
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stacks(lines: &[(&str, f64)]) -> Stacks {
        { lines.iter() }
            .map(|(stack, weight)| ((*stack).to_owned(), *weight))
            .collect()
    }

    #[test]
    fn a_longer_run_with_the_same_shares_has_no_change_and_a_growth_comes_first() {
        let before = stacks(&[("p;main;a", 50.0), ("p;main;b_[k]", 50.0)]);
        let longer = stacks(&[("p;main;a", 500.0), ("p;main;b_[k]", 500.0)]);
        let same = Difference::of(&before, &longer);
        assert_eq!(same.lines(), ["p;main;a 500 500", "p;main;b_[k] 500 500"]);
        let after = stacks(&[("p;main;a", 20.0), ("p;main;b_[k]", 180.0)]);
        let grown = Difference::of(&before, &after);
        let shares = grown.functions()["b_[k]"];
        assert_eq!(shares.own, [50.0, 90.0]);
        assert_eq!(grown.functions()["main"].total, [100.0, 100.0]);
        assert_eq!(grown.table(10).lines().count(), 5);
    }

    #[test]
    fn growth_is_red_and_shrinking_is_blue() {
        let before = stacks(&[("p;a", 50.0), ("p;b", 50.0)]);
        let after = stacks(&[("p;a", 20.0), ("p;b", 80.0)]);
        let difference = Difference::of(&before, &after);
        let mut svg = Vec::new();
        draw_difference("x", &difference.lines(), difference.scale, &mut svg).unwrap();
        let svg = String::from_utf8(svg).unwrap();
        let red = svg.contains("rgb(255,100,100)");
        let blue = svg.contains("rgb(100,100,255)");
        assert!(red && blue, "{svg}");
    }
}
