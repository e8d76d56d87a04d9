//! The page on limits: each bound with its value and its reason, as in the code.

use std::collections::BTreeSet;

use super::{Finding, SourceFile};

/// The page.
const PAGE: &str = "docs/limits.md";
/// Files that hold nothing but bounds have this name.
const FILE: &str = "/limits.rs";

/// The page has a row for each constant of the files of bounds, and none else.
pub(super) fn limits_have_their_rows(files: &[SourceFile]) -> Vec<Finding> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        return vec![Finding::new(PAGE, 0, "is not there")];
    };
    let of_bounds = |file: &&SourceFile| {
        let ours = file.path.contains("/src/") && !file.path.starts_with("xtask/");
        ours && file.path.ends_with(FILE)
    };
    let (mut wanted, mut findings) = (BTreeSet::new(), Vec::new());
    for file in files.iter().filter(of_bounds) {
        for bound in bounds(&file.text) {
            if bound.reason.is_empty() {
                let what = format!("{} has no reason: write a doc comment", bound.name);
                findings.push(Finding::new(&file.path, bound.line, what));
            }
            wanted.insert(bound.row(&file.path));
        }
    }
    let rows = page.text.lines().enumerate();
    let rows = rows.filter(|(_, line)| line.starts_with("| `"));
    for (at, row) in rows {
        if !wanted.remove(row) {
            findings.push(Finding::new(PAGE, at + 1, "no bound is so any more"));
        }
    }
    let missing = wanted
        .iter()
        .map(|row| Finding::new(PAGE, 0, format!("lacks {row}")));
    findings.extend(missing);
    findings
}

/// A bound: a constant, or a field of a constant struct.
struct Bound {
    line: usize,
    name: String,
    value: String,
    reason: String,
}

impl Bound {
    fn row(&self, path: &str) -> String {
        let Self {
            name,
            value,
            reason,
            ..
        } = self;
        format!("| `{name}` | {value} | {path} | {reason} |")
    }
}

/// Returns the bounds of a file, in its order.
fn bounds(text: &str) -> Vec<Bound> {
    let (mut found, mut comment, mut within) = (Vec::new(), Vec::new(), None::<String>);
    let lines: Vec<&str> = text.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim();
        let number = at + 1;
        at += 1;
        if let Some(words) = line.strip_prefix("///").or(line.strip_prefix("// ")) {
            comment.push(words.trim());
            continue;
        }
        let reason = std::mem::take(&mut comment).join(" ");
        let reason = reason.replace("[`", "`").replace("`]", "`");
        if within.is_some() && line == "};" {
            within = None;
            continue;
        }
        let (name, expression) = match &within {
            Some(of) => match line.split_once(": ") {
                Some((field, value)) => (
                    format!("{of}.{field}"),
                    value.trim_end_matches(',').to_owned(),
                ),
                None => continue,
            },
            None => {
                let Some((_, rest)) = line.split_once("const ") else {
                    continue;
                };
                // A value may begin on the next line.
                let mut whole = rest.to_owned();
                while !whole.ends_with([';', '{']) && at < lines.len() {
                    whole = format!("{whole} {}", lines[at].trim());
                    at += 1;
                }
                let Some(((name, _), (_, value))) =
                    whole.split_once(": ").zip(whole.split_once(" = "))
                else {
                    continue;
                };
                if value.ends_with('{') {
                    within = Some(name.to_owned());
                    continue;
                }
                (name.to_owned(), value.trim_end_matches(';').to_owned())
            }
        };
        found.push(Bound {
            line: number,
            value: readable(&name, &expression),
            name,
            reason,
        });
    }
    found
}

/// Returns a value in readable form; an expression of other bounds as in the code.
fn readable(name: &str, expression: &str) -> String {
    let duration = |unit: &str| {
        let rest = expression.strip_prefix(&format!("Duration::from_{unit}("))?;
        rest.strip_suffix(')').filter(|rest| is_number(rest))
    };
    if let Some(seconds) = duration("secs") {
        return format!("{seconds} s");
    }
    if let Some(milliseconds) = duration("millis") {
        return format!("{milliseconds} ms");
    }
    let shifted = expression
        .split_once(" << ")
        .filter(|(left, right)| is_number(left) && is_number(right));
    match shifted {
        Some((left, "10")) if name.contains("BYTES") => return format!("{left} KiB"),
        Some((left, "20")) if name.contains("BYTES") => return format!("{left} MiB"),
        Some((left, "30")) if name.contains("BYTES") => return format!("{left} GiB"),
        Some((left, right)) => {
            let value = left.parse::<u64>().ok().zip(right.parse::<u32>().ok());
            if let Some((left, right)) = value {
                return grouped(&(left << right).to_string());
            }
        }
        None => {}
    }
    match is_number(expression) {
        true => grouped(&expression.replace('_', "")),
        false => format!("`{expression}`"),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|letter| letter.is_ascii_digit() || letter == '_')
}

/// Digits in groups of three.
fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::tree, *};

    const CODE: &str = "\
//! Bounds.

use std::time::Duration;

/// Bytes of a request: as large as
/// [`NAMES`] of them.
pub(crate) const REQUEST_BYTES: usize = 1 << 20;
/// Names.
const NAMES: u32 = 1 << 12;
/// How long.
pub const TIMES: (Duration, Duration) =
    (Duration::from_secs(30), Duration::from_secs(20));
/// Of connections.
const PLACES: Limits = Limits {
    // Some of them.
    pending: 1024,
    // As long as that.
    time: Duration::from_millis(50),
};
const BARE: u64 = 7;
";

    #[test]
    fn a_bound_without_a_row_a_row_without_a_bound_and_a_bound_without_a_reason_are_found() {
        let page = "\
| `REQUEST_BYTES` | 1 MiB | a/src/limits.rs | Bytes of a request: as large as `NAMES` of them. |
| `NAMES` | 4,096 | a/src/limits.rs | Names. |
| `TIMES` | `(Duration::from_secs(30), Duration::from_secs(20))` | a/src/limits.rs | How long. |
| `PLACES.pending` | 1,024 | a/src/limits.rs | Some of them. |
| `PLACES.time` | 40 ms | a/src/limits.rs | As long as that. |
";
        let files = tree(&[("a/src/limits.rs", CODE), (PAGE, page)]);
        let found: Vec<(String, usize, String)> = limits_have_their_rows(&files)
            .into_iter()
            .map(|finding| (finding.path, finding.line, finding.what))
            .collect();
        let of = |path: &str, line: usize, what: &str| (path.to_owned(), line, what.to_owned());
        assert_eq!(
            found,
            [
                of(
                    "a/src/limits.rs",
                    20,
                    "BARE has no reason: write a doc comment"
                ),
                of(PAGE, 5, "no bound is so any more"),
                of(PAGE, 0, "lacks | `BARE` | 7 | a/src/limits.rs |  |"),
                of(
                    PAGE,
                    0,
                    "lacks | `PLACES.time` | 50 ms | a/src/limits.rs | As long as that. |"
                ),
            ]
        );
        assert_eq!(limits_have_their_rows(&[]).len(), 1);
    }
}
