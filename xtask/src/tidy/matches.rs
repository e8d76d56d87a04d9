//! Matches on the catalogue's own enums: each names every variant, so that a new one is a compile error wherever it matters.

use super::{Finding, SourceFile};

/// The enums. Another enum of the same name is held to the same.
const ENUMS: [&str; 7] = ["Kind", "At", "Source", "Role", "Class", "OptKind", "Store"];

/// Folders whose subject is one of these enums, each with the file beside it.
const ALLOWED: [&str; 10] = [
    "tracers/src/kind",
    "tracers/src/point",
    "tracers/src/source",
    "tracers/src/class",
    "tracers/src/option",
    "tracers/src/user/option",
    "engine/src/point",
    "engine/src/source",
    "engine/src/stage",
    // Its tests have such matches as text.
    "xtask/src",
];

/// A `match` that is being read.
#[derive(Default)]
struct Match {
    /// Braces that are open around its arms.
    depth: usize,
    /// Whether a pattern names a variant of one of the enums.
    is_of_ours: bool,
    /// Lines with an arm for everything else.
    others: Vec<usize>,
    /// Whether the text at the depth of the arms is an arm's expression and not a pattern.
    in_expression: bool,
}

pub(super) fn variants_are_named(files: &[SourceFile]) -> Vec<Finding> {
    let is_allowed = |path: &str| {
        ALLOWED.iter().any(|allowed| {
            let rest = path.strip_prefix(allowed);
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    };
    let mut findings = Vec::new();
    for SourceFile { path, text } in files {
        if path.ends_with(".rs") && !is_allowed(path) {
            let lines = in_text(text).into_iter();
            findings.extend(lines.map(|line| {
                let what = "`_ =>` hides variants that are added later: name each variant";
                Finding::new(path, line, what)
            }));
        }
    }
    findings
}

/// Lines of a file where a match on one of the enums has an arm for everything else.
fn in_text(text: &str) -> Vec<usize> {
    let (mut depth, mut open, mut found) = (0_usize, Vec::<Match>::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        let line = code(line);
        if let Some(inner) = open.last_mut().filter(|inner| inner.depth == depth) {
            inner.read(&line, at + 1);
        }
        let opens_match = has_word(&line, "match") && line.trim_end().ends_with('{');
        for letter in line.chars() {
            match letter {
                '{' => depth += 1,
                '}' => {
                    depth = depth.saturating_sub(1);
                    if open.last().is_some_and(|inner| inner.depth > depth) {
                        let ended = open.pop().unwrap_or_default();
                        if ended.is_of_ours {
                            found.extend(ended.others);
                        }
                    }
                }
                _ => {}
            }
        }
        if opens_match {
            open.push(Match {
                depth,
                ..Match::default()
            });
        }
    }
    found.sort_unstable();
    found
}

impl Match {
    /// Reads a line that begins at the depth of the arms.
    fn read(&mut self, line: &str, number: usize) {
        let line = line.trim();
        let pattern = match line.split_once("=>") {
            Some((pattern, _)) => pattern,
            // A pattern that goes on, or an expression.
            None => line,
        };
        if !self.in_expression {
            self.is_of_ours |= ENUMS.iter().any(|name| names(pattern, name));
            if pattern.trim() == "_" && line.contains("=>") {
                self.others.push(number);
            }
        }
        if line.contains("=>") {
            self.in_expression = true;
        }
        // An arm ends with a comma or a brace; one that opens a brace ends at that depth again.
        if line.ends_with([',', '}', '{']) {
            self.in_expression = false;
        }
    }
}

/// Whether a pattern has a variant of this enum.
fn names(pattern: &str, name: &str) -> bool {
    pattern.match_indices(name).any(|(at, _)| {
        let before = pattern[..at].chars().next_back();
        let is_whole = !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
        is_whole && pattern[at + name.len()..].starts_with("::")
    })
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .any(|other| other == word)
}

/// A line without its comment and without what its texts and letters hold.
fn code(line: &str) -> String {
    let line = ["'{'", "'}'", "'\"'", "b'{'", "b'}'"]
        .iter()
        .fold(line.to_owned(), |line, letter| line.replace(letter, "' '"));
    let (mut out, mut is_text, mut letters) = (String::new(), false, line.chars().peekable());
    while let Some(letter) = letters.next() {
        match (is_text, letter) {
            (true, '\\') => {
                letters.next();
            }
            (true, '"') | (false, '"') => is_text = !is_text,
            (true, _) => {}
            (false, '/') if letters.peek() == Some(&'/') => break,
            (false, letter) => out.push(letter),
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{super::tree, *};

    const TEXT: &str = "\
fn one(kind: Kind) -> u8 {
    match kind {
        Kind::Text
        | Kind::Path => 1,
        // A comment with `_ =>` and {.
        _ => 2,
    }
}
fn two(word: &str) -> Role {
    match word {
        \"{\" => Role::Count,
        _ => Role::None,
    }
}
fn three(kind: ErrorKind, role: Role) -> u8 {
    match kind {
        ErrorKind::NotFound => match role {
            Role::Key => 0,
            Role::Sum => {
                1
            }
            _ => 2,
        },
        _ => 3,
    }
}
fn four(source: Option<&Source>) -> u8 {
    match source {
        Some(Source::Ring) if true => 1,
        Some(_) => 2,
        _ => 3,
    }
}
";

    #[test]
    fn an_arm_for_all_other_variants_is_found_and_those_of_other_matches_are_not() {
        assert_eq!(in_text(TEXT), [6, 22, 31]);
    }

    #[test]
    fn folders_of_the_enums_themselves_are_left_out() {
        let files = tree(&[
            ("engine/src/run.rs", TEXT),
            ("engine/src/point.rs", TEXT),
            ("engine/src/point/cgroup.rs", TEXT),
            ("engine/src/points.rs", TEXT),
            ("docs/x.md", TEXT),
        ]);
        let found = variants_are_named(&files);
        let mut paths: Vec<_> = found.iter().map(|finding| finding.path.as_str()).collect();
        paths.dedup();
        assert_eq!(paths, ["engine/src/run.rs", "engine/src/points.rs"]);
    }
}
