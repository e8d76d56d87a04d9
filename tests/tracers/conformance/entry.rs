//! The facts about a tracer from which the suite tests it.

use serde_json::Value;
use tests::{Cgroup, Outcome, Trace, Tracing, Workload, amount, amount_of};

/// A tracer's entry.
pub(crate) struct Entry {
    /// The tracer's name.
    pub(crate) tracer: &'static str,
    /// One step of a workload that causes events of the tracer; `{}` stands for the number of times.
    pub(crate) step: &'static str,
    /// The events that the step causes, each time.
    pub(crate) expects: Expects,
    /// The events that the step causes in the tracer's further datasets, each time.
    pub(crate) also: &'static [(&'static str, u64)],
    /// The process that has these events.
    pub(crate) producer: Producer,
    /// The columns that identify the process.
    pub(crate) identity: Identity,
    /// Options of every trace.
    pub(crate) options: &'static [&'static str],
    /// Values of columns that only rows of the step have; empty where the workload causes no other rows.
    pub(crate) only: &'static [(&'static str, &'static str)],
    /// The most that a process causes in such rows in addition to the step.
    pub(crate) besides: u64,
    /// How many per cent of the events may be missing: a sampler sees an expected number of them. Others have 0.
    pub(crate) missing_percent: u64,
    /// The number of times that stands for one in the checks: more than `besides`.
    pub(crate) unit: u64,
    /// The number of times in the storm: more events than a ring buffer of 4 KiB holds.
    pub(crate) storm: u64,
    /// Whether rows may arrive after the end of the step: the process then lives until they have arrived.
    pub(crate) late: bool,
    /// A limit for the workload.
    pub(crate) limit: Option<Limit>,
    /// Checks that this tracer cannot pass, each with the reason.
    pub(crate) cannot: &'static [(&'static str, &'static str)],
}

/// The events that a step causes, each time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expects {
    /// This many rows of events.
    Events(u64),
    /// This many events in the count of a table's rows.
    Count(u64),
    /// No events: a column of the process's rows shows at least this much while the process lives.
    Gauge {
        /// The column.
        column: &'static str,
        /// The least value for one time.
        at_least: u64,
    },
}

/// A limit of a cgroup.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// Of memory, in bytes.
    Memory(u64),
    /// Of CPU time in µs per period.
    CpuQuota {
        /// The CPU time.
        us: u64,
        /// The period, in µs.
        period: u64,
    },
}

/// The process that has a step's events.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Producer {
    /// The process that runs the step.
    Own,
    /// A child for each time; the workload notes its number under this key.
    Noted(&'static str),
}

/// The columns that identify the process of an event; `None` where the tracer has no such column.
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

    /// No column.
    pub(crate) const NONE: Self = Self {
        process: None,
        thread: None,
        in_namespace: None,
        cgroup: None,
    };

    /// Returns an identity with a column for the process alone.
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
    /// Returns an entry with defaults: rows of the process itself, with the columns of a `Task`.
    pub(crate) const fn of(tracer: &'static str, step: &'static str, expects: Expects) -> Self {
        Self {
            tracer,
            step,
            expects,
            also: &[],
            producer: Producer::Own,
            identity: Identity::TASK,
            options: &[],
            only: &[],
            besides: 0,
            missing_percent: 0,
            unit: 1,
            storm: 1000,
            late: false,
            limit: None,
            cannot: &[],
        }
    }

    /// Returns the step for this many units.
    pub(super) fn step(&self, times: u64) -> String {
        self.step_exactly(times * self.unit)
    }

    /// Returns the step for this many times.
    pub(super) fn step_exactly(&self, times: u64) -> String {
        self.step.replace("{}", &times.to_string())
    }

    /// Returns a trace with the entry's options.
    pub(super) fn trace(&self) -> Trace {
        Trace::of(self.tracer).with(self.options)
    }

    /// Starts a workload that waits at a gate; one with a memory limit has a file of its own.
    pub(super) fn workload(&self, steps: &str) -> Workload {
        match self.limit {
            None | Some(Limit::CpuQuota { .. }) => Workload::behind_gate(steps),
            Some(Limit::Memory(_)) => Workload::of_own_file_behind_gate_after("", steps),
        }
    }

    /// Moves the workloads into a cgroup with the limit, where the entry has one.
    pub(super) fn limited(&self, workloads: &[&Workload]) -> Option<Cgroup> {
        let group = match self.limit? {
            Limit::Memory(bytes) => Cgroup::with_memory(bytes),
            Limit::CpuQuota { us, period } => Cgroup::with_cpu_quota(us, period),
        };
        for workload in workloads {
            group.add(workload.pid());
        }
        Some(group)
    }

    /// Returns those rows that are of the step.
    pub(super) fn rows<'a>(&self, rows: &'a [Value]) -> Vec<&'a Value> {
        let is_ours = |row: &&Value| {
            self.only
                .iter()
                .all(|(column, value)| row[column] == *value)
        };
        rows.iter().filter(is_ours).collect()
    }

    /// Returns the number of events that the step causes in this many units; `None` where it causes none.
    pub(super) fn truth(&self, times: u64) -> Option<u64> {
        match self.expects {
            Expects::Events(each) | Expects::Count(each) => Some(times * self.unit * each),
            Expects::Gauge { .. } => None,
        }
    }

    /// Returns the least number of events that a trace may show of this many.
    pub(super) fn least(&self, events: u64) -> u64 {
        events - events * self.missing_percent / 100
    }

    /// Returns the number of events that the step causes in all datasets in this many times; `None` where it causes none.
    pub(super) fn truth_of_all(&self, times: u64) -> Option<u64> {
        let each = match self.expects {
            Expects::Events(each) | Expects::Count(each) => each,
            Expects::Gauge { .. } => return None,
        };
        let further = self.also.iter().map(|(_, each)| each);
        Some(times * (each + further.sum::<u64>()))
    }

    /// Checks that further datasets have the events of a number of times in this range, and that there are no others.
    pub(super) fn further_hold(&self, outcome: &Outcome, least: u64, most: u64) {
        let missed = outcome.account().missed_runs;
        let mut known = 0;
        for (dataset, each) in self.also {
            let rows = outcome.of_dataset(dataset);
            let seen = amount_of(self.tracer, dataset, &rows);
            known += rows.len();
            assert!(
                seen + missed >= least * each && seen <= most * each,
                "{dataset}: {seen} events, expected {} to {}: {rows:?}",
                least * each,
                most * each
            );
        }
        assert_eq!(known, outcome.further.len(), "{:?}", outcome.further);
    }

    /// Checks that these rows are the events of this many units.
    pub(super) fn holds(&self, outcome: &Outcome, rows: &[&Value], times: u64) {
        self.holds_between(outcome, rows, times, times);
    }

    /// Checks that these rows are the events of a number of units in this range.
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
        // A process that is not selected has no other rows either.
        let besides = if most == 0 { 0 } else { self.besides };
        // Since Linux 7.0 the kernel may skip program runs; the account counts them.
        assert!(
            seen + account.missed_runs >= self.least(least) && seen <= most + besides,
            "{seen} events, expected {least} to {most} and up to {besides} more: {} {rows:?}",
            account.raw
        );
    }

    /// Waits for late rows of this many units.
    pub(super) fn settle(&self, trace: &Tracing, times: u64) {
        match self.expects {
            Expects::Events(each) if self.late => trace.wait_for_rows(times * self.unit * each),
            Expects::Events(_) | Expects::Count(_) | Expects::Gauge { .. } => {}
        }
    }

    /// Ends the workloads, which have done this many units, and then the trace by `last`. A gauge is read before the workloads end.
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
