//! Conditions: rows of which one is true are kept, and the account has the others.

use super::{Checked, Expects, Suite};
use tests::{Outcome, Tracing};

/// Units of the workload.
const SOME: u64 = 3;

/// A trace with a condition of which all rows of the step are to be kept, or none.
fn outcome(suite: &Suite, condition: &str, kept: bool) -> Outcome {
    let entry = suite.entry;
    let steps = format!("{} , say done , until-eof", entry.step(SOME));
    let mut workload = entry.workload(&steps);
    let limited = entry.limited(&[&workload]);
    let trace = entry.trace().with(&["--where", condition]);
    let trace = trace.of_process(&workload).start();
    workload.go();
    workload.wait_for("done");
    // Rows that are removed cannot be waited for.
    let awaited = if kept { SOME } else { 0 };
    let (outcome, _) = entry.finish(trace, awaited, || workload.end(), Tracing::finish);
    drop(limited);
    outcome
}

/// Checks that no row was kept, and that the account has all events as removed.
fn none_is_kept(suite: &Suite, outcome: &Outcome) {
    let entry = suite.entry;
    assert!(outcome.rows.is_empty(), "{outcome:?}");
    let account = outcome.complete();
    let (filtered, missed) = (account.filtered, account.missed_runs);
    match entry.expects {
        // Late events may come after the trace has ended.
        Expects::Events(_) if entry.late => {}
        Expects::Events(_) | Expects::Count(_) => {
            let truth = entry.least(entry.truth(SOME).unwrap());
            assert!(filtered + missed >= truth, "{}", account.raw);
        }
        Expects::Gauge { .. } => assert!(filtered > 0, "{}", account.raw),
    }
}

pub(crate) fn a_condition_keeps_the_rows_of_which_it_is_true_and_counts_the_others(
    suite: &Suite,
) -> Checked {
    let entry = suite.entry;
    // Labels are columns of every dataset, and empty here.
    let all = outcome(suite, "node == ''", true);
    entry.holds(&all, &entry.rows(&all.rows), SOME);
    assert_eq!(all.complete().filtered, 0);
    let none = outcome(suite, "node == elsewhere", false);
    none_is_kept(suite, &none);
    assert!(none.further.is_empty(), "{none:?}");
    assert_eq!(none.complete().delivered, 0);
    // A column of its own is compared in the kernel, as rows are decoded, or in the table.
    if let Some(column) = entry.identity.process {
        let own = outcome(
            suite,
            &format!("{column} > 1 && !({column} in (0, 1))"),
            true,
        );
        entry.holds(&own, &entry.rows(&own.rows), SOME);
        none_is_kept(suite, &outcome(suite, &format!("{column} == 1"), false));
    }
    Ok(())
}
