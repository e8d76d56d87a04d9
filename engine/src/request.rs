//! The request for a trace: tracer, targets and limits.

use std::{array, ffi::OsString, path::PathBuf, time::Duration};
use tracers::{Dataset, Filter, Spec, labels};

/// A trace to start.
#[derive(Clone, Debug)]
pub struct Request {
    /// The tracer and its options.
    pub spec: Spec,
    /// Filters of the rows of each dataset, from [`Filter::of_datasets`]; `None` or a missing filter delivers all rows. The events of other
    /// rows are counted in [`crate::Account::filtered`].
    pub filters: Vec<Option<Filter>>,
    /// Targets: the union is traced. Never empty.
    pub targets: Vec<Target>,
    /// Whether targets may change while the trace runs.
    pub changing: bool,
    /// Whether the trace starts without missing targets ([`crate::Trace::missing`]). Otherwise a missing target is an error.
    pub allow_missing: bool,
    /// Whether the trace continues after the last of its cgroups and containers was removed, because another target may be added.
    pub outlives_cgroups: bool,
    /// Bounds of the selection, for all targets.
    pub bounds: Bounds,
    /// Targets that must not be selected. Each is treated like a missing one.
    pub denied: Vec<Denied>,
    /// Columns of [`tracers::LABELS`] that rows have even if the first targets do not have these labels.
    pub label_columns: [bool; tracers::LABELS.len()],
    /// Limits.
    pub limits: Limits,
}

impl Request {
    /// Creates a request for all rows of these targets, with the default limits and the strictest bounds. Targets must all exist, and stay
    /// the same. Change fields by struct update: `Request { filters, ..Request::new(spec, targets) }`.
    pub fn new(spec: Spec, targets: Vec<Target>) -> Self {
        Self {
            spec,
            filters: Vec::new(),
            targets,
            changing: false,
            allow_missing: false,
            outlives_cgroups: false,
            bounds: Bounds::default(),
            denied: Vec::new(),
            label_columns: Default::default(),
            limits: Limits::default(),
        }
    }

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
    /// Index of the target.
    pub at: usize,
    /// Line of the policy that denies it.
    pub line: &'static str,
    /// Reason, as text.
    pub why: String,
}

/// Bounds of the objects that targets resolve to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Whether a target may be more than a pod, a container, a service or a tree of processes: the root of all cgroups, one that holds
    /// pods or this process, the first process, a kernel thread.
    pub host: bool,
    /// Whether a target inside of a pod must have the label of a namespace.
    pub needs_namespace: bool,
}

impl Bounds {
    /// No bounds: the caller may select everything.
    pub const NONE: Self = Self {
        host: true,
        needs_namespace: false,
    };
}

/// A target and its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Selected processes.
    pub selector: Selector,
    /// Labels of its rows.
    pub labels: Labels,
}

impl Target {
    /// Returns which of [`tracers::LABELS`] it has.
    pub(crate) fn has_labels(&self) -> [bool; tracers::LABELS.len()] {
        self.labels.0.each_ref().map(|label| !label.is_empty())
    }
}

impl From<Selector> for Target {
    fn from(selector: Selector) -> Self {
        Self {
            selector,
            labels: Labels::default(),
        }
    }
}

/// Labels that the caller gives a target: the values of the columns [`tracers::LABELS`], in this order; empty is no label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(pub [String; tracers::LABELS.len()]);

impl Labels {
    /// Returns the namespace of the pod.
    pub fn namespace(&self) -> &str {
        // The order of `tracers::LABELS`.
        &self.0[1]
    }
}

/// A change of the selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds a target. A target that is already selected gets the new labels.
    Add(Target),
    /// Removes a target. A target that is not selected is no error.
    Remove(Selector),
    /// Removes all targets except these.
    Only(Vec<Selector>),
}

/// The selected processes of a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// A process with all its threads, its children and theirs.
    Process(u32),
    /// The same, with its start time, so that a reused PID is an error.
    /// Clock ticks since boot, the 22nd field of /proc/PID/stat: proc_pid_stat(5).
    ProcessSince(u32, u64),
    /// A cgroup's directory, of version 2 or 1, and everything below it; relative paths start at the mount of version 2.
    Cgroup(PathBuf),
    /// A container by its id or a prefix of it.
    Container(String),
    /// A container by the uid of its pod and its full id; a container of another pod is an error.
    PodContainer(String, String),
    /// A pod by uid; from its first instruction if it does not exist yet.
    Pod(String),
    /// A program with its arguments and its children. It is started after all programs are attached.
    Command(Vec<OsString>),
    /// Every process of the host except this one.
    Host,
}

/// Limits of a trace.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Time after which the trace ends; `None` is no limit.
    pub duration: Option<Duration>,
    /// Events of the first dataset after which the trace ends; `None` is no limit.
    pub max_events: Option<u64>,
    /// Bytes of the ring, rounded up to a power of two of at least one page.
    pub ring_bytes: u32,
    /// Interval of tables and of progress updates.
    pub interval: Duration,
    /// Maximum cost.
    pub budget: Budget,
    /// Events per second that each cgroup can send while others fill the ring.
    pub quota: u32,
}

/// The maximum cost of a trace. A trace that exceeds it samples events, and ends if sampling does not suffice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Percent of one CPU, for its programs and its reader; `None` is no limit.
    pub cpu_percent: Option<u32>,
    /// Delivered events of the first dataset per second; `None` is no limit.
    pub events_per_second: Option<u64>,
    /// Bytes of its maps, ring and queues, computed before it is loaded; `None` is no limit.
    pub memory_bytes: Option<u64>,
}

impl Budget {
    /// Returns whether the trace may sample events.
    pub(crate) fn samples(&self) -> bool {
        self.cpu_percent.is_some() || self.events_per_second.is_some()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            duration: None,
            max_events: None,
            // 2 MiB hold 10,000 to 20,000 records: 0.1 s of the fastest storm that was measured, and the reader polls every 10 ms.
            ring_bytes: 2 << 20,
            interval: Duration::from_secs(1),
            budget: Budget::default(),
            quota: 1000,
        }
    }
}
