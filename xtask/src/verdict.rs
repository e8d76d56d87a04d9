//! The result of a run of test programs: passed, failed and skipped tests with reasons, and their durations.
//!
//! It is read from the output of Rust's test programs between markers, complete or as far as it has come.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Marks the start of a program's output; `PROGRAM` follows.
pub(crate) const BEGIN: &str = "@@tracejob-begin";
/// Ends a program's output; `PROGRAM STATUS` follows.
pub(crate) const END: &str = "@@tracejob-end";
/// Begins the second run of a failed test; `TEST` follows.
pub(crate) const AGAIN: &str = "@@tracejob-again-begin";
/// Ends the second run of a test; `TEST STATUS` follows.
pub(crate) const AGAIN_END: &str = "@@tracejob-again-end";
/// Ends all output; the status follows.
pub(crate) const FINISHED: &str = "@@tracejob-finished";
/// Printed by a program that runs failed tests again by itself; `TEST: first failure` follows.
const RAN_AGAIN: &str = "RAN AGAIN ";
/// Maximum number of failed tests of one program that are repeated. If more fail, a busy machine is not the reason.
pub(crate) const RETRIES: usize = 3;
/// Makes a test program print how long each test took.
pub(crate) const REPORT_TIME: [&str; 3] = ["-Z", "unstable-options", "--report-time"];
/// Allows that unstable option: libtest checks that the variable exists, rustc that it names the compiled crate.
pub(crate) const UNSTABLE: (&str, &str) = ("RUSTC_BOOTSTRAP", "no_crate");

/// A test that could not run here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Skip {
    /// Its name.
    pub(crate) test: String,
    /// Its own reason.
    pub(crate) reason: String,
}

/// The verdict of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Number of tests that passed, the second run of a test included.
    pub(crate) passed: usize,
    /// Tests that failed.
    pub(crate) failed: Vec<String>,
    /// Descriptions of programs that failed as a whole, with the running test.
    died: Vec<String>,
    /// Tests that failed once and passed when they ran again by themselves.
    pub(crate) second: Vec<String>,
    /// Tests that ran a second time, whatever came of it.
    pub(crate) ran_again: BTreeSet<String>,
    /// Tests that could not run.
    pub(crate) skipped: BTreeSet<Skip>,
    /// Duration of each test, if the program reports it.
    pub(crate) times: BTreeMap<String, Duration>,
    /// The running test, if the output ends within one.
    pub(crate) running: Option<String>,
    /// The status behind the end marker; without it the run was cut off.
    pub(crate) finished: Option<i32>,
    /// Place and message of the first panic of each test.
    panics: BTreeMap<String, String>,
}

impl Verdict {
    /// Returns whether tests passed and none failed.
    pub(crate) fn is_good(&self) -> bool {
        self.passed > 0 && self.failures().is_empty()
    }

    /// Returns a line for each failure: tests with their first panic, and programs that died.
    pub(crate) fn failures(&self) -> Vec<String> {
        let tests = self.failed.iter().map(|test| self.failure(test));
        tests.chain(self.died.iter().cloned()).collect()
    }

    /// Returns a failed test with its first panic, in one line.
    fn failure(&self, test: &str) -> String {
        match self.panics.get(test) {
            Some(why) => format!("{test}: {why}"),
            None => test.to_owned(),
        }
    }

    /// `12 passed (1 on its second run), 3 skipped`.
    pub(crate) fn counts(&self) -> String {
        let mut text = format!("{} passed", self.passed);
        if !self.second.is_empty() {
            text += &format!(" ({} on its second run)", self.second.len());
        }
        if !self.skipped.is_empty() {
            text += &format!(", {} skipped", self.skipped.len());
        }
        text
    }

    /// A line for each test that was skipped, and for each that passed on its second run only.
    pub(crate) fn notes(&self) -> Vec<String> {
        let skipped = self.skipped.iter();
        let skipped = skipped.map(|skip| format!("skipped {}: {}", skip.test, skip.reason));
        let second = self.second.iter();
        let second =
            second.map(|test| format!("passed on its second run only: {}", self.failure(test)));
        skipped.chain(second).collect()
    }
}

/// Reads the output so far.
pub(crate) fn read(output: &str) -> Verdict {
    let mut reader = Reader::default();
    for line in output.lines().map(str::trim_end) {
        reader.line(line);
    }
    let Reader {
        mut verdict, ended, ..
    } = reader;
    let failed = &verdict.failed;
    verdict.second.retain(|test| !failed.contains(test));
    // `TEST (PART): REASON` is a part of a test that ran.
    let tests = verdict.skipped.iter();
    let tests = tests.filter(|skip| !skip.test.ends_with(')')).count();
    verdict.passed = ended.saturating_sub(tests);
    verdict
}

/// Longest part of a panic's message that is kept; all of it is in the log.
const MESSAGE_MAX: usize = 400;

#[derive(Default)]
struct Reader {
    verdict: Verdict,
    /// Number of tests that ended with `ok`, including skipped tests.
    ended: usize,
    /// Number of failures before the program that is being read.
    failed_before: usize,
    /// The test whose panic message is being read.
    panicking: Option<String>,
    /// Inside the second run of a test, of which only the status counts.
    again: bool,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let after = |marker: &str| line.find(marker).map(|at| line[at + marker.len()..].trim());
        if let Some(program) = after(BEGIN) {
            self.failed_before = self.verdict.failed.len();
            self.verdict.running = Some(program.to_owned());
        } else if let Some(rest) = after(END) {
            self.program_ended(rest);
        } else if let Some(rest) = after(AGAIN_END) {
            self.ran_again(rest);
        } else if let Some(test) = after(AGAIN) {
            self.again = true;
            self.verdict.running = Some(test.to_owned());
        } else if let Some(rest) = after(FINISHED) {
            self.verdict.finished = rest.parse().ok();
        } else if !self.again {
            self.verdict.skipped.extend(skip(line));
            if let Some((test, why)) = after(RAN_AGAIN).and_then(|rest| rest.split_once(": ")) {
                self.verdict.panics.insert(test.to_owned(), why.to_owned());
                self.verdict.second.push(test.to_owned());
                self.verdict.ran_again.insert(test.to_owned());
            }
            self.panic(line);
            self.test(line);
        }
    }

    fn test(&mut self, line: &str) {
        // A test that prints past libtest's capture has its end on a line of its own.
        let end = match line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ..."))
        {
            Some((test, end)) => {
                // Some programs align all ends.
                self.verdict.running = Some(test.trim_end().to_owned());
                end.trim()
            }
            None => line,
        };
        let (end, time) = timed(end);
        let is_ignored = end == "ignored" || end.starts_with("ignored, ");
        if !is_ignored && end != "ok" && end != "FAILED" {
            return;
        }
        let Some(test) = self.verdict.running.take() else {
            return;
        };
        if let Some(time) = time {
            self.verdict.times.insert(test.clone(), time);
        }
        if end == "FAILED" {
            self.verdict.failed.push(test);
            return;
        }
        self.ended += 1;
        if is_ignored {
            self.verdict.skipped.insert(Skip {
                test,
                reason: end.to_owned(),
            });
        }
    }

    /// `thread 'TEST' (12) panicked at FILE:LINE:COLUMN:`, and the message on the lines below it.
    fn panic(&mut self, line: &str) {
        let panicked = line
            .split_once("thread '")
            .and_then(|(_, rest)| rest.split_once('\''));
        if let Some((test, at)) =
            panicked.and_then(|(test, rest)| Some((test, rest.split_once("panicked at ")?.1)))
        {
            // The first panic is the cause of the later ones.
            self.panicking = (!self.verdict.panics.contains_key(test)).then(|| test.to_owned());
            self.verdict
                .panics
                .entry(test.to_owned())
                .or_insert_with(|| at.trim_end_matches(':').to_owned());
            return;
        }
        let Some(name) = &self.panicking else { return };
        let is_over = ["note: ", "stack backtrace:", "test ", "----"]
            .iter()
            .any(|start| line.starts_with(start));
        if is_over || line.is_empty() || timed(line).0 == "FAILED" {
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
        let Some((test, status)) = rest.rsplit_once(' ') else {
            return;
        };
        self.verdict.ran_again.insert(test.to_owned());
        let failed = &mut self.verdict.failed;
        if let (Some(at), "0") = (failed.iter().position(|one| one == test), status) {
            self.verdict.second.push(failed.remove(at));
            self.ended += 1;
        }
    }

    fn program_ended(&mut self, rest: &str) {
        // A program that dies without a summary fails as a whole, in the test that it was at.
        let (program, status) = rest.rsplit_once(' ').unwrap_or((rest, ""));
        let running = self.verdict.running.take();
        // Exit statuses that report failed tests: libtest's, and those of this project's programs.
        let failed = self.verdict.failed.len() > self.failed_before;
        let is_told = status == "0" || failed && matches!(status, "101" | "1");
        if !is_told {
            let at = running
                .map(|test| format!(" in {test}"))
                .unwrap_or_default();
            self.verdict
                .died
                .push(format!("{program} ended with status {status}{at}"));
        }
    }
}

/// The end of a test without the time behind it: `ok <1.234s>`.
fn timed(end: &str) -> (&str, Option<Duration>) {
    let time = end.split_once(" <").and_then(|(word, rest)| {
        let seconds: f64 = rest.strip_suffix("s>")?.parse().ok()?;
        Some((word, Duration::try_from_secs_f64(seconds).ok()?))
    });
    match time {
        Some((word, time)) => (word, Some(time)),
        None => (end, None),
    }
}

fn skip(line: &str) -> Option<Skip> {
    let (test, reason) = line.split_once("SKIPPED ")?.1.split_once(": ")?;
    Some(Skip {
        test: test.to_owned(),
        reason: reason.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "kernel 6.1\n@@tracejob-begin tracers\n\nrunning 4 tests\ntest open::it_happens ... ok\r\ntest open::it_fails ... FAILED\n\
        test exec::x ... some output\nok\ntest uprobe::y ... ok\n\nsuccesses:\n\n---- uprobe::y stdout ----\nSKIPPED uprobe::y: the kernel is older than 6.6\n\n\
        failures:\n    open::it_fails\n\ntest result: FAILED. 3 passed; 1 failed; 0 ignored\n\n@@tracejob-end tracers 101\n";

    #[test]
    fn passed_failed_and_skipped_tests_are_counted_apart() {
        let verdict = read(OUTPUT);
        assert_eq!(verdict.passed, 2);
        assert_eq!(verdict.failed, ["open::it_fails"]);
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
            "@@tracejob-begin tracers\ntest a ... ok\ntest b ... \n@@tracejob-end tracers 139\n",
        );
        assert_eq!(verdict.failures(), ["tracers ended with status 139 in b"]);
        // It is no test, which could run again.
        assert!(verdict.failed.is_empty() && !verdict.is_good());
        assert_eq!(verdict.passed, 1);
    }

    #[test]
    fn a_program_that_dies_after_a_test_failed_fails_too() {
        let output = format!(
            "{BEGIN} tracers\ntest a ... FAILED\ntest b ... \n{END} tracers -11\n{AGAIN} a\n{AGAIN_END} a 0\n"
        );
        let verdict = read(&output);
        assert_eq!(verdict.second, ["a"]);
        assert_eq!(verdict.failures(), ["tracers ended with status -11 in b"]);
    }

    #[test]
    fn a_failed_test_comes_with_its_panic() {
        let captured = "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n\nthread 'a::b' (12) panicked at tests/src/row.rs:54:5:\nflags is 1, and should be 2\nin {}\nnote: run with\n";
        assert_eq!(
            read(captured).failure("a::b"),
            "a::b: tests/src/row.rs:54:5 flags is 1, and should be 2 in {}"
        );
        let open = "@@tracejob-begin t\ntest a::b ... \nthread 'a::b' (12) panicked at x.rs:1:1:\nno\nFAILED\n";
        let verdict = read(open);
        assert_eq!(verdict.failed, ["a::b"]);
        assert_eq!(verdict.failure("a::b"), "a::b: x.rs:1:1 no");
    }

    #[test]
    fn a_test_that_passes_on_its_second_run_is_named_and_one_that_does_not_has_failed() {
        let first = "@@tracejob-begin t\ntest a ... FAILED\ntest b ... \nthread 'b' (1) panicked at x.rs:1:1:\nno\nFAILED\n@@tracejob-end t 101\n";
        let again = |test: &str, word: &str, status: u8| {
            format!(
                "{AGAIN} {test}\n\nrunning 1 test\ntest {test} ... {word}\n\n{AGAIN_END} {test} {status}\r\n"
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
            (1, ["a".to_owned()].as_slice())
        );
        assert_eq!(verdict.second, ["b"]);
        assert_eq!(verdict.failure("b"), "b: x.rs:1:1 no");
        // A test that hangs the second time is named.
        assert_eq!(
            read(&format!("{first}{AGAIN} a\n")).running.as_deref(),
            Some("a")
        );
    }

    #[test]
    fn the_time_of_a_test_is_read() {
        let verdict = read("test a ... ok <0.250s>\ntest b ... \nFAILED <2.000s>\ntest c ... ok\n");
        assert_eq!(
            (verdict.passed, verdict.failed.as_slice()),
            (2, ["b".to_owned()].as_slice())
        );
        let times: Vec<_> = verdict
            .times
            .iter()
            .map(|(test, time)| (test.as_str(), time.as_millis()))
            .collect();
        assert_eq!(times, [("a", 250), ("b", 2000)]);
    }

    #[test]
    fn a_test_that_its_program_ran_again_by_itself_passes_or_fails_by_its_second_run() {
        let output =
            "RAN AGAIN a: x.rs:1 no\nRAN AGAIN b: x.rs:2 no\ntest a ... ok\ntest b ... FAILED\n";
        let verdict = read(output);
        assert_eq!(
            (verdict.second.as_slice(), verdict.failed.as_slice()),
            (["a".to_owned()].as_slice(), ["b".to_owned()].as_slice())
        );
        assert_eq!(verdict.ran_again.len(), 2);
    }

    #[test]
    fn the_running_test_is_named() {
        assert_eq!(
            read("test a ... ok\ntest b ... ").running.as_deref(),
            Some("b")
        );
        assert_eq!(
            read("@@tracejob-begin tracers\n").running.as_deref(),
            Some("tracers")
        );
    }

    #[test]
    fn an_ignored_test_is_skipped_with_its_reason() {
        let verdict = read("test a ... ignored, needs a cluster\ntest b ... ok\n");
        assert_eq!((verdict.passed, verdict.skipped.len()), (1, 1));
    }
}
