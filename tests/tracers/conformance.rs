//! The conformance suite: tests of the behaviour that all tracers share.
//!
//! A tracer's test file has an [`Entry`]: a step of a workload, the events that the step causes, and the columns that identify their process.
//! [`conforms!`] turns each check of the suite into a test of that tracer: `open::conformance::here::a_child_is_seen`.
//! A check that a tracer cannot pass prints SKIPPED with the reason, from the entry or from the check.

pub(crate) mod cgroups;
pub(crate) mod conditions;
pub(crate) mod ends;
mod entry;
pub(crate) mod forms;
pub(crate) mod processes;
pub(crate) mod storm;

pub(crate) use entry::{Entry, Expects, Identity, Limit, Producer};

use std::{process::Command, sync::OnceLock};
use tests::{Outcome, runs_here};

/// The checks of one tracer, with the runs that several checks share.
pub(crate) struct Suite {
    entry: &'static Entry,
    processes: OnceLock<processes::Seen>,
    cgroups: OnceLock<cgroups::Seen>,
    places: OnceLock<forms::Places>,
}

/// The reason why a check was skipped.
pub(crate) struct Skipped(String);

/// The result of a check that did not fail.
pub(crate) type Checked = Result<(), Skipped>;

/// A skipped check.
fn skipped(why: impl Into<String>) -> Checked {
    Err(Skipped(why.into()))
}

impl Suite {
    /// The suite of a tracer.
    pub(crate) const fn of(entry: &'static Entry) -> Self {
        Self {
            entry,
            processes: OnceLock::new(),
            cgroups: OnceLock::new(),
            places: OnceLock::new(),
        }
    }

    /// Runs a check. `path` is the module of the test, `check` the name of the test.
    pub(crate) fn run(&self, path: &str, name: &str, check: fn(&Self) -> Checked) {
        let test = format!("{path}::{name}");
        if !runs_here(self.entry.tracer, &test) {
            return;
        }
        let reason = self.entry.cannot.iter().find(|(check, _)| *check == name);
        let checked = match reason {
            Some((_, why)) => skipped(*why),
            None => check(self),
        };
        if let Err(Skipped(why)) = checked {
            let test = test.split_once("::").map_or(&*test, |(_, name)| name);
            println!("SKIPPED {test}: {why}");
        }
    }
}

/// Defines a test for each check, with the name of the check's function.
macro_rules! checks {
    ($suite:path: $($part:ident::{$($check:ident),* $(,)?})*) => { $($(
        #[test]
        fn $check() {
            let check = $crate::conformance::$part::$check;
            $suite.run(module_path!(), stringify!($check), check);
        }
    )*)* };
}
pub(crate) use checks;

/// Defines the tests of a tracer from its entry, in a module `here`: their subject is the same code on every kernel.
/// With `on_every_kernel`, which one tracer has, the test kernels run the checks of selection as well.
macro_rules! conforms {
    ($entry:ident) => {
        mod conformance {
            static SUITE: $crate::conformance::Suite =
                $crate::conformance::Suite::of(&super::$entry);
            mod here {
                $crate::conformance::selection_checks!(super::SUITE);
                $crate::conformance::other_checks!(super::SUITE);
            }
        }
    };
    ($entry:ident, on_every_kernel) => {
        mod conformance {
            static SUITE: $crate::conformance::Suite =
                $crate::conformance::Suite::of(&super::$entry);
            $crate::conformance::selection_checks!(self::SUITE);
            mod here {
                $crate::conformance::other_checks!(super::SUITE);
            }
        }
    };
}
pub(crate) use conforms;

/// The checks of selection.
macro_rules! selection_checks {
    ($suite:path) => {
        $crate::conformance::checks! { $suite:
            processes::{
                a_selected_process_is_seen,
                a_thread_is_seen_with_its_process,
                a_child_is_seen,
                a_process_in_a_pid_namespace_is_seen_by_its_number_on_the_host,
                another_process_is_not_seen,
            }
            cgroups::{
                a_process_in_a_selected_cgroup_is_seen,
                a_process_in_a_cgroup_below_a_selected_one_is_seen,
                processes_in_the_cgroups_above_and_beside_are_not_seen,
            }
        }
    };
}
pub(crate) use selection_checks;

/// All other checks.
macro_rules! other_checks {
    ($suite:path) => {
        $crate::conformance::checks! { $suite:
            storm::{
                a_storm_is_accounted_for_to_the_last_event,
            }
            ends::{
                a_target_that_is_killed_ends_the_trace_with_all_its_events,
                a_killed_tracejob_leaves_nothing_in_the_kernel_and_its_target_alone,
                a_duration_ends_the_trace_and_leaves_its_target_alone,
                a_limit_of_events_ends_the_trace,
            }
            conditions::{
                a_condition_keeps_the_rows_of_which_it_is_true_and_counts_the_others,
            }
            forms::{
                an_agent_gives_the_same_rows,
                table_and_csv_have_the_rows_of_json,
                rows_have_the_columns_that_are_described,
                help_shows_every_option_and_an_unknown_one_is_refused,
            }
        }
    };
}
pub(crate) use other_checks;

/// A tracer without an entry has no tests in a module `conformance`.
#[test]
fn every_tracer_has_an_entry() {
    let own = std::env::current_exe().unwrap();
    let output = Command::new(own).arg("--list").output().unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    let has_entry = |tracer: &str| {
        let module = format!("{tracer}::conformance::");
        listed.lines().any(|test| test.starts_with(&module))
    };
    let all = tests::all_tracers();
    assert!(!all.is_empty());
    let without: Vec<&String> = all.iter().filter(|tracer| !has_entry(tracer)).collect();
    assert!(
        without.is_empty(),
        "no `conforms!` in tests/tracers/NAME.rs of {without:?}; CONTRIBUTING.md shows one"
    );
}

/// Checks the reason for which a run ended.
fn ended(outcome: &Outcome, why: &str) {
    assert_eq!(outcome.account().ended, why, "{}", outcome.account().raw);
}
