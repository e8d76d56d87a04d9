//! `tidy`: checks the rules of CONTRIBUTING.md that no compiler checks.
//!
//! Each rule is a function over the files as text, so that its test is a small tree in memory.

mod claims;
mod layout;
mod limits;
mod matches;
mod names;
mod source;

use std::{fs, process::Command};

use anyhow::{Context, Result, bail};

pub(crate) use layout::camel;

use crate::{process, screen::print_line, workspace};

/// A file of the repository.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    /// Its text; a file that is none is left out.
    pub(crate) text: String,
}

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file.
    pub(crate) path: String,
    /// The line, from 1; 0 is the file as a whole.
    pub(crate) line: usize,
    /// The violation and its remedy.
    pub(crate) what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

/// A rule: its demand, its reason, and its check.
struct Rule {
    demands: &'static str,
    because: &'static str,
    check: fn(&[SourceFile]) -> Vec<Finding>,
}

/// All rules. The findings of each rule are printed below it.
const RULES: [Rule; 8] = [
    Rule {
        demands: "a tracer is named only in its own files",
        because: "behaviour follows from column kinds and sources; a name elsewhere is a special case that the next tracer lacks",
        check: names::tracers_outside_their_files,
    },
    Rule {
        demands: "the catalogue is sorted, and each entry has its program, its tests and its page",
        because: "grep is the index: one stem everywhere",
        check: layout::catalogue_is_whole,
    },
    Rule {
        demands: "files are foo.rs and foo/bar.rs, and are named by an idea",
        because: "mod.rs carries no information in an editor's tab, and neither do util, common, helper, manager and types",
        check: layout::file_names,
    },
    Rule {
        demands: "no package registry or mirror is named",
        because: "machines have their own configuration of registries, and many cannot reach others",
        check: source::registries,
    },
    Rule {
        demands: "every tracked Rust file opens with its job",
        because: "a newcomer reads the first line to know whether to read the second",
        check: source::openings,
    },
    Rule {
        demands: "every claim of docs/security.md names tests that are there",
        because: "a claim whose test was renamed or removed looks tested and is not",
        check: claims::claims_have_their_tests,
    },
    Rule {
        demands: "docs/limits.md has each bound of a file limits.rs, with its value and its reason",
        because: "who runs into a bound looks there for why it is",
        check: limits::limits_have_their_rows,
    },
    Rule {
        demands: "a match on a kind, point, source, role, class, type of option or map type names every variant",
        because: "the compiler reports each match that lacks a new variant",
        check: matches::variants_are_named,
    },
];

/// Number of lines from which a file is mentioned, because it should be split.
const LONG_FILE: usize = 600;

/// Checks the repository.
pub(crate) fn run() -> Result<()> {
    let files = files()?;
    let mut broken = 0;
    for rule in &RULES {
        let mut findings = (rule.check)(&files);
        findings.sort();
        findings.dedup();
        if findings.is_empty() {
            continue;
        }
        broken += 1;
        println!("{}, because {}:", rule.demands, rule.because);
        for Finding { path, line, what } in &findings {
            let place = if *line == 0 {
                path.clone()
            } else {
                format!("{path}:{line}")
            };
            println!("  {place}: {what}");
        }
    }
    for SourceFile { path, text } in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let lines = text.lines().count();
        if lines > LONG_FILE {
            print_line(
                "note",
                &format!("{path} has {lines} lines; above {LONG_FILE} it is split by idea"),
            );
        }
    }
    if broken > 0 {
        bail!("{broken} of tidy's {} rules are broken", RULES.len());
    }
    print_line(
        "tidy",
        &format!("{} rules hold for {} files", RULES.len(), files.len()),
    );
    Ok(())
}

/// Returns the files that git tracks or would track.
fn files() -> Result<Vec<SourceFile>> {
    let root = workspace::root();
    let mut command = Command::new("git");
    command.current_dir(&root).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ]);
    let list = process::output(&mut command).context("listing the repository's files")?;
    let mut files = Vec::new();
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        // Skips deleted files that are still in the index, and binary files.
        if let Ok(text) = fs::read_to_string(root.join(path)) {
            files.push(SourceFile {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(files)
}

#[cfg(test)]
fn tree(files: &[(&str, &str)]) -> Vec<SourceFile> {
    files
        .iter()
        .map(|(path, text)| SourceFile {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        })
        .collect()
}
