//! What to trace, whom, and within which bounds.

use std::{array, ffi::OsString, path::PathBuf, time::Duration};
use tracers::{Dataset, Filter, Spec, labels};

/// A trace to start.
#[derive(Clone, Debug)]
pub struct Request {
    /// The tracer and its options.
    pub spec: Spec,
    /// Which rows of each dataset to deliver, as [`Filter::of_datasets`] makes them; `None` is all, and so is a filter that is not there. The
    /// events of other rows are [`crate::Account::filtered`].
    pub filters: Vec<Option<Filter>>,
    /// Whom to trace: each adds to the selection. Never empty.
    pub targets: Vec<Target>,
    /// Whether targets may come and go while it runs.
    pub changing: bool,
    /// Whether it starts without the targets that are not there ([`crate::Trace::missing`]). Otherwise each of them is an error.
    pub allow_missing: bool,
    /// Whether it goes on when the last of its cgroups and containers is gone, because whoever changes its targets may name another.
    pub outlives_cgroups: bool,
    /// What may be selected, whatever the targets name.
    pub bounds: Bounds,
    /// Targets, by their place, that must not be selected: each is as one that is not there.
    pub denied: Vec<Denied>,
    /// Columns of labels, of [`tracers::LABELS`], that there are whether the first targets have them or not.
    pub label_columns: [bool; tracers::LABELS.len()],
    /// Bounds.
    pub limits: Limits,
}

impl Request {
    /// Returns which of [`tracers::LABELS`] the rows of its trace have.
    pub(crate) fn label_columns(&self) -> [bool; tracers::LABELS.len()] {
        let targets = self.targets.iter().map(Target::has_labels);
        targets.fold(self.label_columns, |all, one| {
            array::from_fn(|at| all[at] || one[at])
        })
    }

    /// Returns the datasets of its trace, the labels before the columns of each.
    pub fn datasets(&self) -> Vec<Dataset> {
        let mut datasets = self.spec.plan().datasets;
        for dataset in &mut datasets {
            let labels = labels(dataset.source.form()).zip(self.label_columns());
            let labels = labels.filter(|(_, has)| *has).map(|(label, _)| label);
            let own = std::mem::take(&mut dataset.columns);
            dataset.columns = labels.chain(own).collect();
        }
        datasets
    }
}

/// A target that must not be selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Its place among the targets.
    pub at: usize,
    /// The line of the policy that says so.
    pub line: &'static str,
    /// Why, in words.
    pub why: String,
}

/// What targets may turn out to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Whether a target may be more than a pod, a container, a service or a tree of processes: the root of all cgroups, one that holds
    /// pods or this process, the first process, a kernel thread.
    pub host: bool,
    /// Whether a target inside of a pod must have the label of a namespace.
    pub needs_namespace: bool,
}

impl Bounds {
    /// No bounds: who starts the trace may select everything.
    pub const NONE: Self = Self {
        host: true,
        needs_namespace: false,
    };
}

/// A part of the selection, with what is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Who.
    pub whom: Whom,
    /// What its rows say besides.
    pub labels: Labels,
}

impl Target {
    /// Returns which of [`tracers::LABELS`] it has.
    pub(crate) fn has_labels(&self) -> [bool; tracers::LABELS.len()] {
        self.labels.0.each_ref().map(|label| !label.is_empty())
    }
}

impl From<Whom> for Target {
    fn from(whom: Whom) -> Self {
        Self {
            whom,
            labels: Labels::default(),
        }
    }
}

/// What the caller says of a target: the values of the columns [`tracers::LABELS`], in their order; empty is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(pub [String; tracers::LABELS.len()]);

impl Labels {
    /// The namespace of the pod.
    pub fn namespace(&self) -> &str {
        // As `tracers::LABELS` has it.
        &self.0[1]
    }
}

/// A change of the selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// From now on. What is there already gets the new labels.
    Add(Target),
    /// No longer. What is not there is gone as it should be.
    Remove(Whom),
    /// No others than these.
    Only(Vec<Whom>),
}

/// Whom to trace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whom {
    /// A process with all its threads, its children and theirs.
    Process(u32),
    /// The same, which began at this time: another one with its number is not meant.
    /// Clock ticks since boot, the 22nd field of /proc/PID/stat: proc_pid_stat(5).
    ProcessSince(u32, u64),
    /// A cgroup's directory, of version 2 or 1, and everything below it; relative paths start at the mount of version 2.
    Cgroup(PathBuf),
    /// A container by id, whole or the first characters of it.
    Container(String),
    /// A container by the uid of its pod and its whole id: one of another pod is not meant.
    PodContainer(String, String),
    /// A pod by uid, from its first instruction where it does not exist yet.
    Pod(String),
    /// A program with its arguments, started when everything is attached, with its children.
    Command(Vec<OsString>),
    /// Every process of the host but this one.
    Host,
}

/// Bounds of a trace.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Ends the trace; `None` is no end.
    pub duration: Option<Duration>,
    /// Ends the trace after this many events of its first dataset; `None` is no end.
    pub max_events: Option<u64>,
    /// Bytes of the ring; rounded up to a power of two of at least one page.
    pub ring_bytes: u32,
    /// How often a map is read and progress is told.
    pub interval: Duration,
    /// What it may cost at most.
    pub budget: Budget,
    /// Events per second that each cgroup gets through however many events others send.
    pub quota: u32,
}

/// What a trace may cost. One that costs more keeps a part of the events, and ends where that does not help.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Per cent of one CPU, for its programs and its reader; `None` is no bound.
    pub cpu_percent: Option<u32>,
    /// Events of the first dataset that are delivered each second; `None` is no bound.
    pub events_per_second: Option<u64>,
    /// Memory of its maps, ring and queues, bytes, known before it is loaded; `None` is no bound.
    pub memory_bytes: Option<u64>,
}

impl Budget {
    /// Whether it may come to keeping a part of the events.
    pub(crate) fn samples(&self) -> bool {
        self.cpu_percent.is_some() || self.events_per_second.is_some()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            duration: None,
            max_events: None,
            // 2 MiB hold 10,000 to 20,000 records: 0.1 s of the fastest storm that was measured, and the reader looks every 10 ms.
            ring_bytes: 2 << 20,
            interval: Duration::from_secs(1),
            budget: Budget::default(),
            quota: 1000,
        }
    }
}
