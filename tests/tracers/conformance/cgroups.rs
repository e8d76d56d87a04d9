//! Selection by cgroup. All checks share one run: a process in the selected cgroup, and one each in the cgroups below, above and beside it.

use super::{Checked, Limit, Suite};
use serde_json::{Value, json};
use tests::{Cgroup, Outcome, Tracing};

/// Units of each process.
const SELECTED: u64 = 1;
const BELOW: u64 = 2;
const NOT_SELECTED: u64 = 3;

/// The shared run.
pub(crate) struct Seen {
    outcome: Outcome,
    /// Ids of the selected cgroup and of the cgroup below it.
    ids: [u64; 2],
}

fn run(suite: &Suite) -> Seen {
    let entry = suite.entry;
    let (above, beside) = (Cgroup::new(), Cgroup::new());
    let selected = above.below("selected");
    let below = selected.below("below");
    let workload = |group: &Cgroup, times: u64| {
        let steps = format!("{} , say done , until-eof", entry.step(times));
        let workload = entry.workload(&steps);
        group.add(workload.pid());
        workload
    };
    let mut others = [&above, &beside].map(|group| workload(group, NOT_SELECTED));
    let mut ours = [(&selected, SELECTED), (&below, BELOW)].map(|(group, n)| workload(group, n));
    // The cgroups below share the limit. The processes run one after the other.
    let limits = entry.limit.map(|limit| {
        [&above, &beside].map(|group| {
            let limit = match limit {
                Limit::Memory(bytes) => group.limit_memory(bytes),
                Limit::CpuQuota { us, period } => group.limit_cpu(us, period),
            };
            for workload in others.iter().chain(&ours) {
                if let Some(limit) = &limit {
                    limit.add(workload.pid());
                }
            }
            limit
        })
    });
    let path = selected.path().as_os_str();
    let trace = entry.trace().with(&["--cgroup".as_ref(), path]).start();
    for workload in others.iter_mut().chain(&mut ours) {
        workload.go();
        workload.wait_for("done");
    }
    let end = || {
        for workload in others.iter_mut().chain(&mut ours) {
            workload.end();
        }
    };
    let (outcome, ()) = entry.finish(trace, SELECTED + BELOW, end, Tracing::stop);
    drop(limits);
    Seen {
        outcome,
        ids: [selected.id(), below.id()],
    }
}

impl Suite {
    fn cgroups(&self) -> &Seen {
        self.cgroups.get_or_init(|| run(self))
    }

    /// Checks the events of one of the two cgroups; of both together where the tracer does not distinguish them.
    fn cgroup(&self, at: usize) -> Checked {
        let seen = self.cgroups();
        let rows = self.entry.rows(&seen.outcome.rows).into_iter();
        let (rows, times): (Vec<&Value>, u64) = match self.entry.identity.cgroup {
            Some(column) => (
                rows.filter(|row| row[column] == json!(seen.ids[at]))
                    .collect(),
                [SELECTED, BELOW][at],
            ),
            None => (rows.collect(), SELECTED + BELOW),
        };
        self.entry.holds(&seen.outcome, &rows, times);
        Ok(())
    }
}

pub(crate) fn a_process_in_a_selected_cgroup_is_seen(suite: &Suite) -> Checked {
    suite.cgroup(0)
}

pub(crate) fn a_process_in_a_cgroup_below_a_selected_one_is_seen(suite: &Suite) -> Checked {
    suite.cgroup(1)
}

pub(crate) fn processes_in_the_cgroups_above_and_beside_are_not_seen(suite: &Suite) -> Checked {
    let (entry, seen) = (suite.entry, suite.cgroups());
    let rows = entry.rows(&seen.outcome.rows);
    entry.holds(&seen.outcome, &rows, SELECTED + BELOW);
    let all = (SELECTED + BELOW) * entry.unit;
    entry.further_hold(&seen.outcome, all, all);
    if let Some(column) = entry.identity.cgroup {
        let is_ours = |row: &Value| seen.ids.iter().any(|id| row[column] == json!(id));
        assert!(
            seen.outcome.rows.iter().all(is_ours),
            "{:?}",
            seen.outcome.rows
        );
    }
    Ok(())
}
