//! What to trace, whom, and within which bounds.

use std::{ffi::OsString, path::PathBuf, time::Duration};
use tracers::Spec;

/// A trace to start.
#[derive(Clone, Debug)]
pub struct Request {
    /// The tracer and its options.
    pub spec: Spec,
    /// Whom to trace: each adds to the selection. Never empty.
    pub targets: Vec<Target>,
    /// Bounds.
    pub limits: Limits,
}

/// Whom to trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A process with all its threads, its children and theirs.
    Process(u32),
    /// A cgroup v2 directory and everything below it; relative paths start at the cgroup mount.
    Cgroup(PathBuf),
    /// A container by id, whole or the first characters of it.
    Container(String),
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
    /// Ends the trace after this many events; `None` is no end.
    pub max_events: Option<u64>,
    /// Bytes of the ring; rounded up to a power of two of at least one page.
    pub ring_bytes: u32,
    /// How often a map is read and progress is told.
    pub interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            duration: None,
            max_events: None,
            // 2 MiB hold 10,000 to 20,000 records: 0.1 s of the fastest storm that was measured, and the reader looks every 10 ms.
            ring_bytes: 2 << 20,
            interval: Duration::from_secs(1),
        }
    }
}
