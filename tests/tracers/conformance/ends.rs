//! The end of a trace: its target is killed, a bound is reached, or `tracejob` is killed.

use super::{Checked, Expects, Suite, ended, skipped};
use std::collections::BTreeSet;
use tests::{amount, deadline, held_by, in_kernel, until};

/// Units of the workload.
const SOME: u64 = 4;

pub(crate) fn a_target_that_is_killed_ends_the_trace_with_all_its_events(suite: &Suite) -> Checked {
    let entry = suite.entry;
    let some = entry.step(SOME);
    // The signal arrives in the second step, or in the pause after it.
    let steps = format!("{some} , say half , {some} , pause-forever");
    let mut workload = entry.workload(&steps);
    let limited = entry.limited(&[&workload]);
    let trace = entry.trace().of_process(&workload).start();
    workload.go();
    workload.wait_for("half");
    entry.settle(&trace, SOME);
    workload.kill();
    let outcome = trace.finish();
    drop(limited);
    ended(&outcome, "target_gone");
    let least = match entry.expects {
        Expects::Events(_) | Expects::Count(_) => SOME,
        // The last reading may be older than the step.
        Expects::Gauge { .. } => 0,
    };
    entry.holds_between(&outcome, &entry.rows(&outcome.rows), least, 2 * SOME);
    entry.further_hold(&outcome, least * entry.unit, 2 * SOME * entry.unit);
    Ok(())
}

pub(crate) fn a_killed_tracejob_leaves_nothing_in_the_kernel_and_its_target_alone(
    suite: &Suite,
) -> Checked {
    let entry = suite.entry;
    let some = entry.step(SOME);
    let steps = format!("{some} , say traced , gate , {some}");
    let mut workload = entry.workload(&steps);
    let limited = entry.limited(&[&workload]);
    let trace = entry.trace().of_process(&workload).start();
    workload.go();
    workload.wait_for("traced");
    let held = held_by(trace.pid());
    let kinds: BTreeSet<&str> = held
        .iter()
        .filter_map(|one| one.split(' ').next())
        .collect();
    assert!(
        kinds.is_superset(&BTreeSet::from(["map", "prog"])),
        "{held:?}"
    );
    assert!(held.is_subset(&in_kernel()), "{held:?}");
    trace.kill();
    until("the kernel to forget it", || {
        in_kernel().is_disjoint(&held).then_some(())
    });
    // The target continues, and ends well.
    workload.finish();
    drop(limited);
    Ok(())
}

pub(crate) fn a_duration_ends_the_trace_and_leaves_its_target_alone(suite: &Suite) -> Checked {
    const NS: u64 = 300_000_000;
    let entry = suite.entry;
    let steps = format!("{} , until-eof", entry.step(SOME));
    let mut workload = entry.workload(&steps);
    let limited = entry.limited(&[&workload]);
    let trace = entry.trace().with(&["--duration", "300ms"]);
    let trace = trace.of_process(&workload).start();
    workload.go();
    let outcome = trace.finish();
    workload.end();
    drop(limited);
    ended(&outcome, "duration");
    // Never early. A busy machine may be late, but not as late as a wrong unit would be.
    let elapsed = outcome.account().elapsed_ns;
    assert!(
        (NS..NS + deadline().as_nanos() as u64).contains(&elapsed),
        "{elapsed}"
    );
    // The trace may end before the step does.
    entry.holds_between(&outcome, &entry.rows(&outcome.rows), 0, SOME);
    entry.further_hold(&outcome, 0, SOME * entry.unit);
    Ok(())
}

pub(crate) fn a_limit_of_events_ends_the_trace(suite: &Suite) -> Checked {
    let entry = suite.entry;
    let mut workload = entry.workload(&format!("{} , say done , until-eof", entry.step(SOME)));
    let limited = entry.limited(&[&workload]);
    let trace = entry.trace().of_process(&workload);
    let outcome = match entry.expects {
        Expects::Events(_) => {
            let trace = trace.with(&["--max-events", "2"]).start();
            // All events are in the ring buffer before the first is read. The process lives on: its end would be a reason to end too.
            trace.while_stopped(|| {
                workload.go();
                workload.wait_for("done");
            });
            let outcome = trace.finish();
            workload.end();
            let account = outcome.complete();
            // The limit is the first dataset's.
            assert_eq!(outcome.rows.len(), 2);
            assert_eq!(account.produced, account.delivered + account.beyond_limit);
            // The last late event may arrive after the end of the trace.
            let truth = entry.truth_of_all(SOME * entry.unit).unwrap();
            let is_exact = entry.only.is_empty() && !entry.late;
            assert!(account.produced == truth || !is_exact, "{}", account.raw);
            let all = SOME * entry.unit;
            entry.further_hold(&outcome, all, all);
            outcome
        }
        Expects::Count(_) => {
            // The next reading of the table ends the trace, with all events until then.
            let trace = trace.with(&["--max-events", "1"]).start();
            workload.go();
            let outcome = trace.finish();
            workload.end();
            assert!(outcome.complete().delivered >= 1);
            outcome
        }
        Expects::Gauge { .. } => {
            return skipped("a gauge shows a state, and counts no events");
        }
    };
    drop(limited);
    ended(&outcome, "max_events");
    assert!(amount(entry.tracer, &outcome.rows.iter().collect::<Vec<_>>()) > 0);
    Ok(())
}
