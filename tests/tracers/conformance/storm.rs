//! A storm: each event is in a row or counted as lost.

use super::{Checked, Expects, Suite, skipped};
use tests::amount;

pub(crate) fn a_storm_is_accounted_for_to_the_last_event(suite: &Suite) -> Checked {
    let entry = suite.entry;
    let mut workload = entry.workload(&entry.step_exactly(entry.storm));
    let _limited = entry.limited(&[&workload]);
    let trace = entry.trace().of_process(&workload);
    match entry.expects {
        Expects::Events(_) => {
            let trace = trace.with(&["--ring", "4KiB"]).start();
            trace.while_stopped(|| workload.finish());
            let outcome = trace.finish();
            let account = outcome.account();
            let truth = entry.truth_of_all(entry.storm).unwrap();
            // If the process causes other rows too, their number is unknown.
            let is_exact = entry.only.is_empty();
            assert!(account.produced >= truth, "{truth}: {}", account.raw);
            assert!(
                account.produced == truth || !is_exact,
                "{truth}: {}",
                account.raw
            );
            assert_eq!(account.delivered + account.lost.ring_full, account.produced);
            assert!(
                account.lost.ring_full > 0 && account.delivered > 0,
                "{}",
                account.raw
            );
            assert_eq!(outcome.status, Some(3));
            // Tables lose nothing by a ring that is full.
            entry.further_hold(&outcome, entry.storm, entry.storm);
            Ok(())
        }
        Expects::Count(each) => {
            let trace = trace.start();
            trace.while_stopped(|| workload.finish());
            let outcome = trace.finish();
            let account = outcome.complete();
            let seen = amount(entry.tracer, &entry.rows(&outcome.rows));
            let truth = entry.storm * each;
            assert!(
                seen + account.missed_runs >= entry.least(truth) && seen <= truth + entry.besides,
                "{seen} of {truth}: {}",
                account.raw
            );
            Ok(())
        }
        Expects::Gauge { .. } => skipped("a gauge shows a state, and counts no events"),
    }
}
