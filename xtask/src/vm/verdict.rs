//! What a run of tests said: how many passed, which failed, which were skipped and why.
//!
//! It reads the output of Rust's test programs, as init (or cargo) prints it, whole or up to where it is now.

use std::collections::BTreeSet;

/// Begins one program's output: `SUITE PROGRAM` follows.
pub(crate) const BEGIN: &str = "@@tracejob-begin";
/// Ends it: `SUITE PROGRAM STATUS` follows.
pub(crate) const END: &str = "@@tracejob-end";
/// Ends all: the status follows.
pub(crate) const FINISHED: &str = "@@tracejob-finished";

/// A test that could not run here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Skip {
    /// The suite that it was in, or nothing.
    pub(crate) suite: String,
    /// Its name.
    pub(crate) test: String,
    /// Why, as the test said.
    pub(crate) reason: String,
}

/// The count of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Tests that ran and were right.
    pub(crate) passed: usize,
    /// Tests that were wrong, as `SUITE: TEST`.
    pub(crate) failed: Vec<String>,
    /// Tests that could not run.
    pub(crate) skipped: BTreeSet<Skip>,
    /// The test that runs now, if the output ends in one.
    pub(crate) running: Option<String>,
    /// The status after the end marker: without it the run was cut off.
    pub(crate) finished: Option<i32>,
}

/// Reads the output so far.
pub(crate) fn read(output: &str) -> Verdict {
    let mut verdict = Verdict::default();
    let mut suite = String::new();
    let mut passed = 0_usize;
    let mut failed_before = 0;
    for line in output.lines().map(str::trim_end) {
        let at_marker = |marker: &str| line.find(marker).map(|at| line[at + marker.len()..].trim());
        if let Some(rest) = at_marker(BEGIN) {
            suite = rest
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned();
            failed_before = verdict.failed.len();
            verdict.running = rest.split_whitespace().nth(1).map(str::to_owned);
            continue;
        }
        if let Some(rest) = at_marker(END) {
            // A program that dies without a summary fails as a whole, in the test that it was at.
            let status = rest.rsplit(' ').next().unwrap_or_default();
            if status != "0" && verdict.failed.len() == failed_before {
                let program = rest.split_whitespace().nth(1).unwrap_or_default();
                let at = verdict
                    .running
                    .as_ref()
                    .map(|test| format!(" in {test}"))
                    .unwrap_or_default();
                verdict.failed.push(named(
                    &suite,
                    &format!("{program} ended with status {status}{at}"),
                ));
            }
            verdict.running = None;
            continue;
        }
        if let Some(rest) = at_marker(FINISHED) {
            verdict.finished = rest.parse().ok();
            continue;
        }
        if let Some(skip) = skip(line, &suite) {
            verdict.skipped.insert(skip);
        }
        if let Some((test, rest)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ..."))
        {
            verdict.running = Some(test.to_owned());
            passed += usize::from(ended(&mut verdict, &suite, rest.trim()));
        } else if verdict.running.is_some() {
            // The test printed past libtest's capture, so that its end stands alone.
            passed += usize::from(ended(&mut verdict, &suite, line));
        }
    }
    verdict.passed = passed.saturating_sub(verdict.skipped.len());
    verdict
}

/// Takes the end of the running test; whether it passed.
fn ended(verdict: &mut Verdict, suite: &str, word: &str) -> bool {
    let Some(test) = verdict.running.clone() else {
        return false;
    };
    match word {
        "ok" => verdict.running = None,
        "FAILED" => {
            verdict.failed.push(named(suite, &test));
            verdict.running = None;
        }
        ignored if ignored == "ignored" || ignored.starts_with("ignored, ") => {
            verdict.skipped.insert(Skip {
                suite: suite.to_owned(),
                test,
                reason: word.to_owned(),
            });
            verdict.running = None;
            return true; // Counted as skipped below, like one that says so itself.
        }
        _ => {}
    }
    word == "ok"
}

fn skip(line: &str, suite: &str) -> Option<Skip> {
    let (test, reason) = line.split_once("SKIPPED ")?.1.split_once(": ")?;
    Some(Skip {
        suite: suite.to_owned(),
        test: test.to_owned(),
        reason: reason.to_owned(),
    })
}

fn named(suite: &str, test: &str) -> String {
    if suite.is_empty() {
        test.to_owned()
    } else {
        format!("{suite}: {test}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "kernel 6.1\n@@tracejob-begin root tracers\n\nrunning 4 tests\ntest open::it_happens ... ok\r\ntest open::it_fails ... FAILED\n\
        test exec::x ... some output\nok\ntest uprobe::y ... ok\n\nsuccesses:\n\n---- uprobe::y stdout ----\nSKIPPED uprobe::y: the kernel is older than 6.6\n\n\
        failures:\n    open::it_fails\n\ntest result: FAILED. 3 passed; 1 failed; 0 ignored\n\n@@tracejob-end root tracers 101\n";

    #[test]
    fn passed_failed_and_skipped_are_told_apart() {
        let verdict = read(OUTPUT);
        assert_eq!(verdict.passed, 2);
        assert_eq!(verdict.failed, ["root: open::it_fails"]);
        assert_eq!(
            verdict
                .skipped
                .iter()
                .map(|skip| skip.reason.as_str())
                .collect::<Vec<_>>(),
            ["the kernel is older than 6.6"]
        );
        assert_eq!(verdict.finished, None);
    }

    #[test]
    fn the_end_marker_carries_the_status() {
        assert_eq!(
            read(&format!("{OUTPUT}@@tracejob-finished 1\r\n")).finished,
            Some(1)
        );
        assert_eq!(read("@@tracejob-finished 0").finished, Some(0));
    }

    #[test]
    fn a_program_that_dies_fails_in_the_test_that_it_was_at() {
        let verdict = read(
            "@@tracejob-begin caps tracers\ntest a ... ok\ntest b ... \n@@tracejob-end caps tracers 139\n",
        );
        assert_eq!(verdict.failed, ["caps: tracers ended with status 139 in b"]);
        assert_eq!(verdict.passed, 1);
    }

    #[test]
    fn the_running_test_is_named() {
        assert_eq!(
            read("test a ... ok\ntest b ... ").running.as_deref(),
            Some("b")
        );
        assert_eq!(
            read("@@tracejob-begin root tracers\n").running.as_deref(),
            Some("tracers")
        );
    }

    #[test]
    fn an_ignored_test_is_skipped_with_its_reason() {
        let verdict = read("test a ... ignored, needs a cluster\ntest b ... ok\n");
        assert_eq!((verdict.passed, verdict.skipped.len()), (1, 1));
    }
}
