//! Selection by process. All checks share one run: a selected process with a thread and a child, a selected process in a pid namespace
//! of its own, and a process that is not selected.

use super::{Checked, Entry, Producer, Suite, skipped};
use serde_json::{Value, json};
use tests::{Outcome, Report, Tracing};

/// Units of each actor. The numbers differ, so that a sum shows which actor is missing or counted twice.
const PROCESS: u64 = 1;
const THREAD: u64 = 2;
const CHILD: u64 = 3;
const IN_NAMESPACE: u64 = 4;
const BESIDE: u64 = 5;
const ALL: u64 = PROCESS + THREAD + CHILD + IN_NAMESPACE;

/// The shared run, and the actors of its workloads.
pub(crate) struct Seen {
    outcome: Outcome,
    actors: Vec<Actor>,
    beside: u32,
}

/// A process or a thread that runs the step.
struct Actor {
    pids: Vec<Value>,
    /// `None` where each event has a process of its own.
    tid: Option<Value>,
    times: u64,
}

/// Returns the processes that have the events of a step that the process `own` ran.
fn pids(entry: &Entry, own: &Value, report: &Report) -> Vec<Value> {
    match entry.producer {
        Producer::Own => vec![own.clone()],
        Producer::Noted(key) => report.all(key),
    }
}

fn run(entry: &Entry) -> Seen {
    let step = |times| entry.step(times);
    let mut selected = entry.workload(&format!(
        "{} , threads 1 {} , fork {} ; say done ; until-eof",
        step(PROCESS),
        step(THREAD),
        step(CHILD)
    ));
    let mut inside = entry.workload(&format!(
        "newpid {} ; say done ; until-eof",
        step(IN_NAMESPACE)
    ));
    let mut beside = entry.workload(&step(BESIDE));
    let _limited = entry.limited(&[&selected, &inside, &beside]);
    let trace = entry.trace().of_process(&selected).of_process(&inside);
    let trace = trace.start();
    beside.finish();
    for workload in [&mut selected, &mut inside] {
        workload.go();
        workload.wait_for("done");
    }
    let end = || (selected.end(), inside.end());
    let (outcome, (parent, namespace)) = entry.finish(trace, ALL, end, Tracing::finish);
    let own = json!(selected.pid());
    // `fork` notes its child last.
    let child = parent.all("child").pop().unwrap();
    let of_child = selected.reports().remove(0);
    let mut of_process = pids(entry, &own, &parent);
    let of_thread = match entry.producer {
        Producer::Own => of_process.clone(),
        Producer::Noted(_) => of_process.split_off((PROCESS * entry.unit) as usize),
    };
    let is_own = matches!(entry.producer, Producer::Own);
    let tid = |tid: &Value| is_own.then(|| tid.clone());
    let in_namespace = namespace.note("child");
    let actors = vec![
        Actor {
            pids: of_process,
            tid: tid(&own),
            times: PROCESS,
        },
        Actor {
            pids: of_thread,
            tid: tid(&parent.note("tid")),
            times: THREAD,
        },
        Actor {
            pids: pids(entry, &child, &of_child),
            tid: tid(&child),
            times: CHILD,
        },
        Actor {
            // A report from inside the namespace has the numbers of the namespace.
            pids: match entry.producer {
                Producer::Own => vec![in_namespace.clone()],
                Producer::Noted(_) => Vec::new(),
            },
            tid: tid(&in_namespace),
            times: IN_NAMESPACE,
        },
    ];
    Seen {
        outcome,
        actors,
        beside: beside.pid(),
    }
}

impl Seen {
    /// Returns whether a row is of this actor, as far as the tracer has columns for it.
    fn is_of(entry: &Entry, row: &Value, actor: &Actor) -> bool {
        let process = entry.identity.process;
        let thread = entry.identity.thread.zip(actor.tid.as_ref());
        process.is_none_or(|column| actor.pids.contains(&row[column]))
            && thread.is_none_or(|(column, tid)| row[column] == *tid)
    }

    /// Returns the rows of an actor.
    fn rows(&self, entry: &Entry, actor: &Actor) -> Vec<&Value> {
        let rows = entry.rows(&self.outcome.rows).into_iter();
        rows.filter(|row| Self::is_of(entry, row, actor)).collect()
    }

    /// Checks the events of this actor, together with those of actors that the tracer's columns do not distinguish from it.
    fn must_have(&self, entry: &Entry, actor: &Actor) {
        let alike = |other: &&Actor| {
            let same_process = entry.identity.process.is_none() || other.pids == actor.pids;
            let same_thread = entry.identity.thread.is_none() || other.tid == actor.tid;
            same_process && same_thread
        };
        let times = self.actors.iter().filter(alike).map(|other| other.times);
        entry.holds(&self.outcome, &self.rows(entry, actor), times.sum());
    }
}

impl Suite {
    fn processes(&self) -> &Seen {
        self.processes.get_or_init(|| run(self.entry))
    }

    fn actor(&self, at: usize) -> Checked {
        let seen = self.processes();
        seen.must_have(self.entry, &seen.actors[at]);
        Ok(())
    }
}

pub(crate) fn a_selected_process_is_seen(suite: &Suite) -> Checked {
    suite.actor(0)
}

pub(crate) fn a_thread_is_seen_with_its_process(suite: &Suite) -> Checked {
    suite.actor(1)
}

pub(crate) fn a_child_is_seen(suite: &Suite) -> Checked {
    suite.actor(2)
}

pub(crate) fn a_process_in_a_pid_namespace_is_seen_by_its_number_on_the_host(
    suite: &Suite,
) -> Checked {
    let entry = suite.entry;
    if let Producer::Noted(_) = entry.producer {
        return skipped(
            "its events are of children, and a workload in a pid namespace cannot report their numbers on the host",
        );
    }
    suite.actor(3)?;
    let seen = suite.processes();
    if let Some(column) = entry.identity.in_namespace {
        for row in seen.rows(entry, &seen.actors[3]) {
            assert_eq!(row[column], json!(1), "{row}");
        }
        for row in seen.rows(entry, &seen.actors[0]) {
            assert_eq!(row[column], seen.actors[0].pids[0], "{row}");
        }
    }
    Ok(())
}

pub(crate) fn another_process_is_not_seen(suite: &Suite) -> Checked {
    let (entry, seen) = (suite.entry, suite.processes());
    if let Some(column) = entry.identity.process {
        assert_eq!(seen.outcome.rows_where(column, seen.beside).len(), 0);
    }
    // There are no other rows either.
    let ours = entry.rows(&seen.outcome.rows);
    entry.holds(&seen.outcome, &ours, ALL);
    entry.further_hold(&seen.outcome, ALL * entry.unit, ALL * entry.unit);
    if entry.only.is_empty() {
        assert_eq!(ours.len(), seen.outcome.rows.len());
    }
    Ok(())
}
