//! Tests that the security page names for its claims.

use super::{Finding, SourceFile};

/// The page.
const PAGE: &str = "docs/security.md";

/// Each `file.rs::name` in it is a function of that file.
pub(super) fn claims_have_their_tests(files: &[SourceFile]) -> Vec<Finding> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        return vec![Finding::new(PAGE, 0, "is not there")];
    };
    let mut findings = Vec::new();
    for (at, line) in page.text.lines().enumerate() {
        // Every second piece lies between backquotes.
        let named = line.split('`').skip(1).step_by(2);
        for (path, name) in named.filter_map(|text| text.split_once("::")) {
            if !path.ends_with(".rs") {
                continue;
            }
            let is_there = files
                .iter()
                .any(|file| file.path == path && file.text.contains(&format!("fn {name}(")));
            if !is_there {
                findings.push(Finding::new(
                    PAGE,
                    at + 1,
                    format!("there is no test {path}::{name}: name the test that covers this claim, or state that none does"),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{super::tree, *};

    #[test]
    fn a_test_that_is_not_there_is_found() {
        let files = tree(&[
            ("a/b.rs", "#[test]\nfn one_thing() {}\n"),
            (
                "docs/security.md",
                "1. Held: `a/b.rs::one_thing`, `a::b`.\n2. Not: `a/b.rs::one`, `a/c.rs::one_thing`.\n",
            ),
        ]);
        let found = claims_have_their_tests(&files);
        let lines: Vec<usize> = found.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 2]);
        assert_eq!(claims_have_their_tests(&[]).len(), 1);
    }
}
