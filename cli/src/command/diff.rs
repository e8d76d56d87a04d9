//! `diff`: the difference of two profiles, as shares of each profile's total.

mod command;
mod profile;

pub(crate) use command::command;

use crate::{
    limits::{FOLDED_BYTES, PICTURE_BYTES},
    show::{
        output::{Format, OutputArg},
        render::{Stacks, draw_difference, escaped, plural, quantity},
        screen,
        sink::Sink,
    },
    usage::Usage,
};
use anyhow::{Context as _, Result, bail, ensure};
use profile::{Kind, Profile, Programs, shown};
use std::{
    fmt::Write as _,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};
use tracers::{Unit, escape::cut_right};

/// Output formats.
const FORMATS: [Format; 3] = [Format::Table, Format::Folded, Format::Flamegraph];
/// Default number of functions in the table.
const TOP: usize = 20;
/// Unit of shares in folded lines and pictures: a millionth of the total.
const WHOLE: u128 = 1_000_000;
/// Smallest change of a frame's own share that is drawn in full colour, in millionths. Without it a difference by chance would look as
/// alarming as a large one.
const FULL_COLOUR: u128 = WHOLE / 100;
/// Columns of the table before the function's name.
const NUMBERS: usize = 48;

/// Arguments of `diff`.
#[derive(Debug)]
pub(crate) struct Diff {
    /// Profile to compare with.
    pub(crate) before: PathBuf,
    /// Profile to explain.
    pub(crate) after: PathBuf,
    /// Output format and file; `None` for a table.
    pub(crate) output: Option<OutputArg>,
    /// Number of functions in the table; `None` for the default.
    pub(crate) top: Option<usize>,
    /// Name of the sample type; `None` for the default of both profiles.
    pub(crate) sample: Option<String>,
}

/// Prints the difference of two profiles.
pub(crate) fn diff(args: &Diff) -> Result<()> {
    let format = args.output.as_ref().map_or(Format::Table, |arg| arg.format);
    if args.top.is_some() && format != Format::Table {
        return Err(Usage("--top is an option of the table".to_owned()).into());
    }
    let paths = [&args.before, &args.after].map(PathBuf::as_path);
    let [before, after] = read(paths)?;
    let names = paths.map(name);
    let difference = Difference::of([&before, &after], &names, args.sample.as_deref())?;
    let mut to = match args.output.as_ref().and_then(|arg| arg.file.as_ref()) {
        Some(path) => Sink::create(path)?,
        None => Sink::stdout()?,
    };
    let room = to.is_terminal().then(|| screen::size().columns);
    let mut out = BufWriter::new(&mut to);
    match format {
        Format::Flamegraph => difference.draw(&mut out)?,
        Format::Folded => difference.fold(&mut out)?,
        Format::Table | Format::Wide | Format::Json | Format::Csv | Format::Pprof => {
            let table = difference.table(args.top.unwrap_or(TOP), room);
            out.write_all(table.as_bytes())?;
        }
    }
    out.flush()?;
    drop(out);
    Ok(to.finish()?)
}

/// Reads both files.
fn read(paths: [&Path; 2]) -> Result<[Profile; 2]> {
    let one = |path: &Path| {
        profile::read(path)
            .with_context(|| format!("cannot read {}", shown(&path.to_string_lossy())))
    };
    let ((before, first), (after, second)) = (one(paths[0])?, one(paths[1])?);
    ensure!(
        first != second,
        "{} and {} are the same file; diff compares two profiles",
        shown(&paths[0].to_string_lossy()),
        shown(&paths[1].to_string_lossy())
    );
    Ok([before, after])
}

/// Returns the name of a file without its folder.
fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    escaped(name.as_encoded_bytes())
}

/// Selects the sample type, for both profiles.
///
/// # Errors
/// If there is no such type in both: the error lists those of each profile.
fn choose<'a>(
    profiles: [&'a Profile; 2],
    names: &[String; 2],
    wanted: Option<&str>,
) -> Result<Kind<'a>> {
    let [before, after] = profiles;
    let common = |kind: &Kind<'_>| before.kinds().any(|one| one == *kind);
    let list = || {
        let one = |(profile, name): (&Profile, &String)| {
            let kinds = profile.kinds();
            let kinds = kinds.map(|kind| format!("{} ({})", shown(kind.name), shown(kind.unit)));
            format!("{name} has {}", kinds.collect::<Vec<_>>().join(", "))
        };
        let lists = profiles.into_iter().zip(names).map(one);
        lists.collect::<Vec<_>>().join("; ")
    };
    if let Some(wanted) = wanted {
        let found = after
            .kinds()
            .filter(common)
            .find(|kind| kind.name == wanted);
        let refused = || {
            Usage(format!(
                "the profiles have no common sample type {wanted:?}: {}",
                list()
            ))
        };
        return Ok(found.ok_or_else(refused)?);
    }
    let mut shared = after.kinds().filter(common);
    match (before.default_kind(), after.default_kind()) {
        (Some(first), Some(second)) if first == second => Ok(second),
        _ => match (shared.next(), shared.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => {
                let text = format!(
                    "the profiles have different default sample types; select one with --sample: {}",
                    list()
                );
                Err(Usage(text).into())
            }
            (None, _) => bail!("the profiles have no common sample type: {}", list()),
        },
    }
}

/// Stacks with their weights in two profiles.
struct Difference<'a> {
    stacks: Stacks<2>,
    totals: [u128; 2],
    kind: Kind<'a>,
    programs: Programs,
    /// Names of the files.
    names: &'a [String; 2],
}

/// Shares of a function in two profiles, in percent.
#[derive(Clone, Copy, Default)]
struct Shares {
    own: [f64; 2],
    total: [f64; 2],
}

impl<'a> Difference<'a> {
    fn of(
        profiles: [&'a Profile; 2],
        names: &'a [String; 2],
        sample: Option<&str>,
    ) -> Result<Self> {
        let kind = choose(profiles, names, sample)?;
        // A profile of another tool may have no names of programs: its stacks would have no counterpart.
        let programs = match profiles.iter().all(|one| one.has_programs()) {
            true => Programs::AreRoots,
            false => Programs::AreIgnored,
        };
        let (mut stacks, mut totals) = (Stacks::default(), [0; 2]);
        for (side, profile) in profiles.into_iter().enumerate() {
            let total = profile.fold(kind, programs, side, &mut stacks);
            totals[side] = total.with_context(|| format!("cannot compare {}", names[side]))?;
        }
        Ok(Self {
            stacks,
            totals,
            kind,
            programs,
            names,
        })
    }

    /// Replaces weights by shares in millionths. Shares are rounded so that every sum of neighbouring lines is off by at most one.
    fn into_shares(self) -> Stacks<2> {
        let mut stacks = self.stacks;
        let (mut sums, mut shares) = ([0; 2], [0; 2]);
        stacks.reweigh(|weights| {
            let mut own = [0; 2];
            for (side, weight) in weights.into_iter().enumerate() {
                sums[side] += u128::from(weight);
                let share = sums[side] * WHOLE / self.totals[side];
                own[side] = (share - shares[side]) as u64;
                shares[side] = share;
            }
            own
        });
        stacks
    }

    fn fold(self, out: &mut impl Write) -> Result<()> {
        let shares = self.into_shares();
        let most = FOLDED_BYTES >> 30;
        ensure!(
            shares.text_bytes() <= FOLDED_BYTES,
            "the folded stacks take more than {most} GiB; use -o flamegraph=FILE or a table"
        );
        Ok(shares.write(out)?)
    }

    fn draw(self, out: &mut impl Write) -> Result<()> {
        let title = format!(
            "{}: {} → {}",
            shown(self.kind.name),
            self.names[0],
            self.names[1]
        );
        let (mut lines, left_out) = self.into_shares().picture(PICTURE_BYTES);
        let mut subtitle =
            "red grew, blue shrank; widths are shares of the second profile".to_owned();
        if left_out > 0 {
            let stacks = plural(left_out, "smaller stack");
            subtitle.push_str(&format!("; {stacks} without frames"));
        }
        // Without a width it is not drawn; its change is the scale of colours.
        lines.push(format!("[scale] {FULL_COLOUR} 0"));
        draw_difference(&title, &subtitle, "ppm", &lines, out)
            .context("cannot draw the flame graph")
    }

    /// Returns the shares of each function by its number. A recursive function counts once per stack.
    fn functions(&self) -> Vec<Shares> {
        let mut all = vec![Shares::default(); self.stacks.names()];
        // Number of the last stack with this function.
        let mut last = vec![0; all.len()];
        let root = usize::from(self.programs == Programs::AreRoots);
        for (number, (stack, weights)) in self.stacks.weighted().enumerate() {
            let stack = &stack[root..];
            let share = |side: usize| 100.0 * weights[side] as f64 / self.totals[side] as f64;
            let shares = [share(0), share(1)];
            let add = |sums: &mut [f64; 2]| {
                for (sum, share) in sums.iter_mut().zip(shares) {
                    *sum += share;
                }
            };
            if let Some(leaf) = stack.last() {
                add(&mut all[*leaf as usize].own);
            }
            for frame in stack {
                let frame = *frame as usize;
                if last[frame] != number + 1 {
                    last[frame] = number + 1;
                    add(&mut all[frame].total);
                }
            }
        }
        all
    }

    /// Returns a table of the functions with the largest changes. `room` is the width of the terminal.
    fn table(&self, top: usize, room: Option<usize>) -> String {
        let change = |[before, after]: [f64; 2]| after - before;
        // The sum puts a function before its callers, which share its change.
        let size = |shares: &Shares| change(shares.own).abs() + change(shares.total).abs();
        let functions = self.functions().into_iter().enumerate();
        let mut all: Vec<(&str, Shares)> = functions
            .map(|(number, shares)| (self.stacks.name(number as u32), shares))
            .filter(|(_, shares)| size(shares) >= 0.005)
            .collect();
        all.sort_by(|(first, a), (second, b)| size(b).total_cmp(&size(a)).then(first.cmp(second)));
        let amount = |side: usize| {
            let total = u64::try_from(self.totals[side]).unwrap_or(u64::MAX);
            format!("{} in {}", in_unit(total, self.kind.unit), self.names[side])
        };
        let mut out = format!("{}: {}, {}\n", shown(self.kind.name), amount(0), amount(1));
        if all.is_empty() {
            out.push_str("No share of a function changed by 0.01 % or more.\n");
            return out;
        }
        out.push_str("\n OWN %                  TOTAL %\n");
        out.push_str("BEFORE  AFTER  CHANGE    BEFORE  AFTER  CHANGE  FUNCTION\n");
        let room = room.map_or(usize::MAX, |room| room.saturating_sub(NUMBERS).max(20));
        for (name, Shares { own, total }) in all.into_iter().take(top) {
            // Writing to a string cannot fail.
            let _ = write!(
                out,
                "{:6.2} {:6.2} {:+7.2}    {:6.2} {:6.2} {:+7.2}  ",
                own[0],
                own[1],
                change(own),
                total[0],
                total[1],
                change(total)
            );
            cut_right(name, room, &mut out);
            out.push('\n');
        }
        out
    }
}

/// Formats a number in a unit of pprof.
fn in_unit(value: u64, unit: &str) -> String {
    let unit = match unit {
        "nanoseconds" => Unit::Nanoseconds,
        "microseconds" => Unit::Microseconds,
        "bytes" => Unit::Bytes,
        _ => Unit::None,
    };
    let mut out = String::new();
    quantity(value, unit, &mut out);
    out
}

/// Reads a profile and renders its difference with itself in every format; for the fuzz target.
pub(crate) fn fuzz(data: &[u8]) {
    let Ok(profile) = Profile::parse(data) else {
        return;
    };
    let names = ["before", "after"].map(str::to_owned);
    let difference = || Difference::of([&profile, &profile], &names, None);
    let Ok(one) = difference() else {
        return;
    };
    let table = one.table(usize::MAX, None);
    assert!(table.lines().count() <= 2, "{table}");
    let mut lines = Vec::new();
    one.fold(&mut lines).expect("lines in memory");
    let lines = String::from_utf8(lines).expect("UTF-8");
    for line in lines.lines() {
        let mut words = line.rsplitn(3, ' ');
        let weights = [words.next(), words.next()];
        assert!(
            weights[0] == weights[1] && words.next().is_some(),
            "{line:?}"
        );
    }
    let mut svg = Vec::new();
    let drawn = difference().and_then(|one| one.draw(&mut svg));
    drawn.expect("a picture in memory");
}

#[cfg(test)]
mod tests;
