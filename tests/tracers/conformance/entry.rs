//! What the suite has to know of a tracer.

use serde_json::Value;
use tests::{Cgroup, Outcome, Trace, Tracing, Workload, amount};

/// A tracer's line of the suite's table.
pub(crate) struct Entry {
    /// The tracer's name.
    pub(crate) tracer: &'static str,
    /// One step of a workload that causes what the tracer reports; `{}` is how often.
    pub(crate) step: &'static str,
    /// What the step causes, each time.
    pub(crate) expects: Expects,
    /// Whose it is.
    pub(crate) whose: Whose,
    /// The columns that say whose it is.
    pub(crate) identity: Identity,
    /// Options of every trace.
    pub(crate) options: &'static [&'static str],
    /// Values of columns by which rows of the step are told from others; none where there are no others.
    pub(crate) only: &'static [(&'static str, &'static str)],
    /// How much a process causes besides the step, at most, in such rows.
    pub(crate) besides: u64,
    /// How often a check has the step done at a time: more than `besides`.
    pub(crate) unit: u64,
    /// How often a storm has it done: more than fits into a ring of 4 KiB.
    pub(crate) storm: u64,
    /// Whether rows may come when the step is done: the process has to stay until then.
    pub(crate) late: bool,
    /// The limit of the workload's memory, in bytes, where the step needs one.
    pub(crate) memory: Option<u64>,
    /// Checks that this tracer cannot pass, each with the reason in words.
    pub(crate) cannot: &'static [(&'static str, &'static str)],
}

/// What a step causes, each time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expects {
    /// So many rows of a stream.
    Events(u64),
    /// So many of what the rows of a table count.
    Count(u64),
    /// At least so much in a column of the process's rows, while it lives.
    #[allow(dead_code, reason = "no tracer has gauges yet")]
    Gauge {
        /// The column.
        column: &'static str,
        /// What the column shows for it, at least.
        at_least: u64,
    },
}

/// The process whose events a step's are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whose {
    /// The one that does the step.
    Own,
    /// A child for each time, which the workload notes under this key.
    Noted(&'static str),
}

/// The columns that say whose an event is; `None` where the tracer has no such column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// The process, as the host numbers it.
    pub(crate) process: Option<&'static str>,
    /// The thread, as the host numbers it.
    pub(crate) thread: Option<&'static str>,
    /// The process, as its own pid namespace numbers it.
    pub(crate) in_namespace: Option<&'static str>,
    /// The id of its cgroup.
    pub(crate) cgroup: Option<&'static str>,
}

impl Identity {
    /// The columns of a `Task`.
    pub(crate) const TASK: Self = Self {
        process: Some("pid"),
        thread: Some("tid"),
        in_namespace: Some("ns_pid"),
        cgroup: Some("cgroup"),
    };

    /// A column for the process, and no other.
    pub(crate) const fn of_process(column: &'static str) -> Self {
        Self {
            process: Some(column),
            thread: None,
            in_namespace: None,
            cgroup: None,
        }
    }
}

impl Entry {
    /// An entry of which the rest is usual: rows of the process itself, with the columns of a `Task`.
    pub(crate) const fn of(tracer: &'static str, step: &'static str, expects: Expects) -> Self {
        Self {
            tracer,
            step,
            expects,
            whose: Whose::Own,
            identity: Identity::TASK,
            options: &[],
            only: &[],
            besides: 0,
            unit: 1,
            storm: 1000,
            late: false,
            memory: None,
            cannot: &[],
        }
    }

    /// The step, so many times a unit.
    pub(super) fn step(&self, times: u64) -> String {
        self.step_exactly(times * self.unit)
    }

    /// The step, so often.
    pub(super) fn step_exactly(&self, times: u64) -> String {
        self.step.replace("{}", &times.to_string())
    }

    /// A trace with the entry's options.
    pub(super) fn trace(&self) -> Trace {
        Trace::of(self.tracer).with(self.options)
    }

    /// A cgroup for workloads that need a limit of memory.
    pub(super) fn limited(&self, workloads: &[&Workload]) -> Option<Cgroup> {
        let group = Cgroup::with_memory(self.memory?);
        for workload in workloads {
            group.add(workload.pid());
        }
        Some(group)
    }

    /// The rows of the step among these.
    pub(super) fn rows<'a>(&self, rows: &'a [Value]) -> Vec<&'a Value> {
        let is_ours = |row: &&Value| {
            self.only
                .iter()
                .all(|(column, value)| row[column] == *value)
        };
        rows.iter().filter(is_ours).collect()
    }

    /// How many events the step causes, so many times a unit; `None` where it causes no events.
    pub(super) fn truth(&self, times: u64) -> Option<u64> {
        match self.expects {
            Expects::Events(each) | Expects::Count(each) => Some(times * self.unit * each),
            Expects::Gauge { .. } => None,
        }
    }

    /// These rows are what the step causes, so many times a unit.
    pub(super) fn holds(&self, outcome: &Outcome, rows: &[&Value], times: u64) {
        self.holds_between(outcome, rows, times, times);
    }

    /// These rows are what the step causes, so many times a unit at least and at most.
    pub(super) fn holds_between(&self, outcome: &Outcome, rows: &[&Value], least: u64, most: u64) {
        let account = outcome.complete();
        let (least, most) = match self.expects {
            Expects::Events(_) | Expects::Count(_) => (self.truth(least), self.truth(most)),
            Expects::Gauge { column, at_least } => {
                let wanted = least * self.unit * at_least;
                let shown: u64 = rows.iter().filter_map(|row| row[column].as_u64()).sum();
                assert!(shown >= wanted, "{column}: {shown} of {wanted}");
                assert!(most > 0 || rows.is_empty(), "{rows:?}");
                return;
            }
        };
        let (least, most) = (least.unwrap(), most.unwrap());
        let seen = amount(self.tracer, rows);
        // What does nothing causes nothing besides.
        let besides = if most == 0 { 0 } else { self.besides };
        // Since Linux 7.0 the kernel may skip runs of programs, and the account tells of it.
        assert!(
            seen + account.missed_runs >= least && seen <= most + besides,
            "{seen} of {least} to {most} and {besides} besides: {} {rows:?}",
            account.raw
        );
    }

    /// Waits for rows of the step that come late, so many times a unit.
    pub(super) fn settle(&self, trace: &Tracing, times: u64) {
        match self.expects {
            Expects::Events(each) if self.late => trace.wait_for_rows(times * self.unit * each),
            Expects::Events(_) | Expects::Count(_) | Expects::Gauge { .. } => {}
        }
    }

    /// Ends the workloads, which have done the step so many times a unit, and the trace by `last`. A gauge is read while they live.
    pub(super) fn finish<T>(
        &self,
        trace: Tracing,
        times: u64,
        end: impl FnOnce() -> T,
        last: impl FnOnce(Tracing) -> Outcome,
    ) -> (Outcome, T) {
        self.settle(&trace, times);
        match self.expects {
            Expects::Events(_) | Expects::Count(_) => {
                let ended = end();
                (last(trace), ended)
            }
            Expects::Gauge { .. } => {
                let outcome = trace.stop();
                (outcome, end())
            }
        }
    }
}
