//! What a run of tests said: how many passed, which failed, which were skipped and why.
//!
//! It reads the output of Rust's test programs, as init (or cargo) prints it, whole or up to where it is now.

use std::collections::{BTreeMap, BTreeSet};

/// Begins one program's output: `SUITE PROGRAM` follows.
pub(crate) const BEGIN: &str = "@@tracejob-begin";
/// Ends it: `SUITE PROGRAM STATUS` follows.
pub(crate) const END: &str = "@@tracejob-end";
/// Begins another run of a test that failed: `SUITE TEST` follows.
pub(crate) const AGAIN: &str = "@@tracejob-again-begin";
/// Ends it: `SUITE TEST STATUS` follows.
pub(crate) const AGAIN_END: &str = "@@tracejob-again-end";
/// Said by a program that runs its tests again by itself: `TEST: what was wrong the first time` follows.
const RAN_AGAIN: &str = "RAN AGAIN ";
/// How many tests of a program may run again: where more fail, it was not the machine.
pub(crate) const TRIES: usize = 3;
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
    /// Tests that were wrong and then, by themselves, right.
    pub(crate) second: Vec<String>,
    /// What a test that panicked said, and where, by `SUITE: TEST`.
    panics: BTreeMap<String, String>,
    /// Tests that could not run.
    pub(crate) skipped: BTreeSet<Skip>,
    /// The test that runs now, if the output ends in one.
    pub(crate) running: Option<String>,
    /// The status after the end marker: without it the run was cut off.
    pub(crate) finished: Option<i32>,
}

impl Verdict {
    /// A failed test with what it said, in one line; the first time, where it failed twice.
    pub(crate) fn told(&self, failed: &str) -> String {
        match self.panics.get(failed) {
            Some(why) => format!("{failed}: {why}"),
            None => failed.to_owned(),
        }
    }
}

/// Reads the output so far.
pub(crate) fn read(output: &str) -> Verdict {
    let mut reader = Reader::default();
    for line in output.lines().map(str::trim_end) {
        reader.line(line);
    }
    let Reader {
        mut verdict,
        passed,
        ..
    } = reader;
    verdict.passed = passed.saturating_sub(verdict.skipped.len());
    verdict
}

/// Longest part of a panic's message that is kept; all of it is in the log.
const MESSAGE_MAX: usize = 400;

#[derive(Default)]
struct Reader {
    verdict: Verdict,
    /// The suite that is being read.
    suite: String,
    /// Tests that ended with `ok`, also those that only said why they could not run.
    passed: usize,
    /// How many had failed before the program that is being read.
    failed_before: usize,
    /// The test whose panic's message is being read.
    panicking: Option<String>,
    /// In the second run of a test, whose lines tell nothing that its status does not.
    again: bool,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let after = |marker: &str| line.find(marker).map(|at| line[at + marker.len()..].trim());
        if let Some(rest) = after(BEGIN) {
            let (suite, program) = rest.split_once(' ').unwrap_or((rest, ""));
            suite.clone_into(&mut self.suite);
            self.failed_before = self.verdict.failed.len();
            self.verdict.running = Some(program.to_owned());
        } else if let Some(rest) = after(END) {
            self.program_ended(rest);
        } else if let Some(rest) = after(AGAIN_END) {
            self.ran_again(rest);
        } else if let Some(rest) = after(AGAIN) {
            self.again = true;
            self.verdict.running = rest.split_once(' ').map(|(_, test)| test.to_owned());
        } else if let Some(rest) = after(FINISHED) {
            self.verdict.finished = rest.parse().ok();
        } else if !self.again {
            self.verdict.skipped.extend(skip(line, &self.suite));
            if let Some((test, why)) = after(RAN_AGAIN).and_then(|rest| rest.split_once(": ")) {
                let name = named(&self.suite, test);
                self.verdict.panics.insert(name.clone(), why.to_owned());
                self.verdict.second.push(name);
            }
            self.panic(line);
            self.test(line);
        }
    }

    fn test(&mut self, line: &str) {
        // One that prints past libtest's capture has its end on a line of its own.
        let end = match line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ..."))
        {
            Some((test, end)) => {
                // Some put all ends below each other.
                self.verdict.running = Some(test.trim_end().to_owned());
                end.trim()
            }
            None => line,
        };
        let is_ignored = end == "ignored" || end.starts_with("ignored, ");
        if !is_ignored && end != "ok" && end != "FAILED" {
            return;
        }
        let Some(test) = self.verdict.running.take() else {
            return;
        };
        if end == "FAILED" {
            self.verdict.failed.push(named(&self.suite, &test));
            return;
        }
        self.passed += 1;
        if is_ignored {
            self.verdict.skipped.insert(Skip {
                suite: self.suite.clone(),
                test,
                reason: end.to_owned(),
            });
        }
    }

    /// `thread 'TEST' (12) panicked at FILE:LINE:COLUMN:`, and below it what it said.
    fn panic(&mut self, line: &str) {
        let panicked = line
            .split_once("thread '")
            .and_then(|(_, rest)| rest.split_once('\''));
        if let Some((test, at)) =
            panicked.and_then(|(test, rest)| Some((test, rest.split_once("panicked at ")?.1)))
        {
            let name = named(&self.suite, test);
            // The first panic is the reason; later ones come of it.
            self.panicking = (!self.verdict.panics.contains_key(&name)).then(|| name.clone());
            self.verdict
                .panics
                .entry(name)
                .or_insert_with(|| at.trim_end_matches(':').to_owned());
            return;
        }
        let Some(name) = &self.panicking else { return };
        let is_over = ["note: ", "stack backtrace:", "test ", "----"]
            .iter()
            .any(|start| line.starts_with(start));
        if is_over || line.is_empty() || line == "FAILED" {
            self.panicking = None;
            return;
        }
        if let Some(message) = self.verdict.panics.get_mut(name) {
            let left = MESSAGE_MAX.saturating_sub(message.len());
            message.push(' ');
            message.extend(line.trim().chars().take(left));
        }
    }

    fn ran_again(&mut self, rest: &str) {
        self.again = false;
        self.verdict.running = None;
        let Some((test, "0")) = rest.rsplit_once(' ') else {
            return;
        };
        let name = test.replacen(' ', ": ", 1);
        if let Some(at) = self.verdict.failed.iter().position(|one| *one == name) {
            self.verdict.second.push(self.verdict.failed.remove(at));
            self.passed += 1;
        }
    }

    fn program_ended(&mut self, rest: &str) {
        // One that dies without a summary fails as a whole, in the test that it was at.
        let status = rest.rsplit(' ').next().unwrap_or_default();
        let running = self.verdict.running.take();
        if status != "0" && self.verdict.failed.len() == self.failed_before {
            let program = rest.split_whitespace().nth(1).unwrap_or_default();
            let at = running
                .map(|test| format!(" in {test}"))
                .unwrap_or_default();
            self.verdict.failed.push(named(
                &self.suite,
                &format!("{program} ended with status {status}{at}"),
            ));
        }
    }
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
    fn a_failed_test_is_told_with_what_it_said() {
        let captured = "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n\nthread 'a::b' (12) panicked at tests/src/row.rs:54:5:\nflags is 1, and should be 2\nin {}\nnote: run with\n";
        assert_eq!(
            read(captured).told("a::b"),
            "a::b: tests/src/row.rs:54:5 flags is 1, and should be 2 in {}"
        );
        let open = "@@tracejob-begin caps t\ntest a::b ... \nthread 'a::b' (12) panicked at x.rs:1:1:\nno\nFAILED\n";
        let verdict = read(open);
        assert_eq!(verdict.failed, ["caps: a::b"]);
        assert_eq!(verdict.told("caps: a::b"), "caps: a::b: x.rs:1:1 no");
    }

    #[test]
    fn a_test_that_is_right_the_second_time_is_named_and_one_that_is_not_has_failed() {
        let first = "@@tracejob-begin caps t\ntest a ... FAILED\ntest b ... \nthread 'b' (1) panicked at x.rs:1:1:\nno\nFAILED\n@@tracejob-end caps t 101\n";
        let again = |test: &str, word: &str, status: u8| {
            format!(
                "{AGAIN} caps {test}\n\nrunning 1 test\ntest {test} ... {word}\n\n{AGAIN_END} caps {test} {status}\r\n"
            )
        };
        let output = format!(
            "{first}{}{}",
            again("a", "FAILED", 101),
            again("b", "ok", 0)
        );
        let verdict = read(&output);
        assert_eq!(
            (verdict.passed, verdict.failed.as_slice()),
            (1, ["caps: a".to_owned()].as_slice())
        );
        assert_eq!(verdict.second, ["caps: b"]);
        assert_eq!(verdict.told("caps: b"), "caps: b: x.rs:1:1 no");
        // One that hangs the second time is named.
        assert_eq!(
            read(&format!("{first}{AGAIN} caps a\n")).running.as_deref(),
            Some("a")
        );
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
