//! The agent's metrics since its start. Each counter only grows, and outlives the traces that it counts.
//!
//! A label's value is a word of this program, ensured by its type: no text of a client or a target can become a series.

use super::wire;
use engine::{Account, Reason};
use metrics::{OneOf, Rejections, Source, add};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tonic::{Code, body::Body, codegen::http};
use tracers::ALL;

type Label = (&'static str, &'static str);
type Seconds = Counter<f64, AtomicU64>;

/// All metrics.
pub(crate) struct Counters {
    registry: Registry,
    /// Whether clients are served.
    ready: AtomicBool,
    running: Family<[Label; 1], Gauge>,
    started: Family<[Label; 1], Counter>,
    ended: Family<[Label; 2], Counter>,
    failed: Family<[Label; 2], Counter>,
    produced: Family<[Label; 1], Counter>,
    delivered: Family<[Label; 1], Counter>,
    filtered: Family<[Label; 1], Counter>,
    beyond_limit: Family<[Label; 1], Counter>,
    sampled: Family<[Label; 1], Counter>,
    lost: Family<[Label; 2], Counter>,
    missed_runs: Family<[Label; 1], Counter>,
    stacks_missing: Family<[Label; 1], Counter>,
    stacks_truncated: Family<[Label; 1], Counter>,
    stacks_not_unwound: Family<[Label; 1], Counter>,
    bpf: Family<[Label; 1], Seconds>,
    reader: Family<[Label; 1], Seconds>,
    readers: Gauge,
    gaps: Counter,
    gap_rows: Counter,
    connections: Gauge,
    accepted: Counter,
    rejections: Rejections,
    audit_failures: Counter,
    refused: Family<[Label; 1], Counter>,
}

impl Counters {
    /// Creates the metrics at zero, with the series of every tracer.
    pub(crate) fn new() -> Arc<Self> {
        let mut registry = Registry::default();
        let all = &mut registry;
        let counters = Self {
            ready: AtomicBool::new(false),
            running: add(all, "tracejob_traces_running", "Traces that run now"),
            started: add(all, "tracejob_traces_started", "Traces that were attached"),
            ended: add(
                all,
                "tracejob_traces_ended",
                "Traces that ended with an account, by reason",
            ),
            failed: add(
                all,
                "tracejob_traces_failed",
                "Traces that could not start or go on, by reason",
            ),
            produced: add(
                all,
                "tracejob_events_produced",
                "Events that passed the selection and the options, counted in the kernel",
            ),
            delivered: add(
                all,
                "tracejob_events_delivered",
                "Events that came out of the kernel",
            ),
            filtered: add(
                all,
                "tracejob_events_filtered",
                "Events that the filter excluded",
            ),
            beyond_limit: add(
                all,
                "tracejob_events_beyond_limit",
                "Events after the last that a trace was to give",
            ),
            sampled: add(
                all,
                "tracejob_events_sampled",
                "Events left out to keep to a budget",
            ),
            lost: add(
                all,
                "tracejob_events_lost",
                "Events that were lost, by stage",
            ),
            missed_runs: add(
                all,
                "tracejob_missed_runs",
                "Runs of kernel programs that the kernel skipped",
            ),
            stacks_missing: add(
                all,
                "tracejob_stacks_missing",
                "Rows whose stack is missing because a map was full",
            ),
            stacks_truncated: add(
                all,
                "tracejob_stacks_truncated",
                "Stacks that are deeper than the recorded part",
            ),
            stacks_not_unwound: add(
                all,
                "tracejob_stacks_not_unwound",
                "Stacks that were not unwound from a copy, or not up to their outermost frame",
            ),
            bpf: add(
                all,
                "tracejob_bpf_cpu_seconds",
                "CPU time of kernel programs, where the kernel keeps it",
            ),
            reader: add(
                all,
                "tracejob_reader_cpu_seconds",
                "CPU time of the threads that read",
            ),
            readers: add(
                all,
                "tracejob_readers",
                "Streams of rows that are being read",
            ),
            gaps: add(
                all,
                "tracejob_gaps",
                "Gaps sent to readers that were too slow or too late",
            ),
            gap_rows: add(
                all,
                "tracejob_gap_rows",
                "Rows in these gaps, as far as known",
            ),
            connections: add(
                all,
                "tracejob_connections",
                "Connections of clients that are open",
            ),
            accepted: add(
                all,
                "tracejob_connections_accepted",
                "Connections of clients that were accepted",
            ),
            rejections: Rejections::register(all),
            audit_failures: add(
                all,
                "tracejob_audit_failures",
                "Audit records that could not be written",
            ),
            refused: add(
                all,
                "tracejob_requests_refused",
                "Requests that were answered by an error, by its code",
            ),
            registry,
        };
        counters.begin();
        Arc::new(counters)
    }

    /// A series that begins with its first event hides that event from rate().
    fn begin(&self) {
        for tracer in ALL.iter().map(|tracer| tracer.name()) {
            let of = [("tracer", tracer)];
            drop(self.running.get_or_create(&of));
            for family in [
                &self.started,
                &self.produced,
                &self.delivered,
                &self.filtered,
                &self.beyond_limit,
                &self.sampled,
                &self.missed_runs,
                &self.stacks_missing,
                &self.stacks_truncated,
                &self.stacks_not_unwound,
            ] {
                drop(family.get_or_create(&of));
            }
            for (stage, ..) in Account::default().lost.stages() {
                let of = [("tracer", tracer), ("stage", stage)];
                drop(self.lost.get_or_create(&of));
            }
        }
    }

    /// Clients are served from here on, or no longer.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// A trace has been attached; it runs until this is dropped.
    pub(crate) fn started(&self, tracer: &str) -> OneOf {
        let of = [("tracer", known(tracer))];
        self.started.get_or_create(&of).inc();
        OneOf::new(self.running.get_or_create(&of).clone())
    }

    /// Counts an ended trace.
    pub(crate) fn ended(&self, tracer: &str, account: &Account) {
        let reason = wire::ended(account);
        let of = [("tracer", known(tracer)), ("reason", reason)];
        self.ended.get_or_create(&of).inc();
    }

    /// A trace could not start, or not go on.
    pub(crate) fn failed(&self, tracer: &str, reason: Reason) {
        let of = [("tracer", known(tracer)), ("reason", reason.word())];
        self.failed.get_or_create(&of).inc();
    }

    /// Counts the difference between two accounts of a trace.
    pub(crate) fn booked(&self, tracer: &str, before: &Account, now: &Account) {
        let tracer = known(tracer);
        let of = [("tracer", tracer)];
        for (family, before, now) in [
            (&self.produced, before.produced, now.produced),
            (&self.delivered, before.delivered, now.delivered),
            (&self.filtered, before.filtered, now.filtered),
            (&self.beyond_limit, before.beyond_limit, now.beyond_limit),
            (&self.sampled, before.sampled, now.sampled),
            (&self.missed_runs, before.missed_runs, now.missed_runs),
            (
                &self.stacks_missing,
                before.stacks_missing,
                now.stacks_missing,
            ),
            (
                &self.stacks_truncated,
                before.stacks_truncated,
                now.stacks_truncated,
            ),
            (
                &self.stacks_not_unwound,
                before.stacks_not_unwound,
                now.stacks_not_unwound,
            ),
        ] {
            family.get_or_create(&of).inc_by(now.saturating_sub(before));
        }
        let stages = before.lost.stages().into_iter().zip(now.lost.stages());
        for ((stage, before, _), (_, now, _)) in stages {
            let of = [("tracer", tracer), ("stage", stage)];
            self.lost
                .get_or_create(&of)
                .inc_by(now.saturating_sub(before));
        }
        // Estimates, which may be corrected downwards.
        if let Some(now) = now.cost.bpf {
            let before = before
                .cost
                .bpf
                .map_or_else(Default::default, |bpf| bpf.time);
            let more = now.time.saturating_sub(before).as_secs_f64();
            self.bpf.get_or_create(&of).inc_by(more);
        }
        let more = now.cost.reader.saturating_sub(before.cost.reader);
        self.reader.get_or_create(&of).inc_by(more.as_secs_f64());
    }

    /// Counts a reader of a stream until the result is dropped.
    pub(crate) fn reader(&self) -> OneOf {
        OneOf::new(self.readers.clone())
    }

    /// Counts a gap that a reader received.
    pub(crate) fn gap(&self, rows: Option<u64>) {
        self.gaps.inc();
        self.gap_rows.inc_by(rows.unwrap_or(0));
    }

    /// A client has connected; its connection is open until this is dropped.
    pub(crate) fn connection(&self) -> OneOf {
        self.accepted.inc();
        OneOf::new(self.connections.clone())
    }

    /// An audit record that could not be written.
    pub(crate) fn audit_failed(&self) {
        self.audit_failures.inc();
    }

    /// An answer to a request. Errors without a row before them come in its headers.
    pub(crate) fn answered(&self, response: &http::Response<Body>) {
        let status = response.headers().get("grpc-status");
        let code = status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()));
        if code != Code::Ok {
            self.refused.get_or_create(&[("code", word(code))]).inc();
        }
    }
}

impl Source for Counters {
    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    fn rejections(&self) -> &Rejections {
        &self.rejections
    }
}

/// The catalogue's own name of it.
fn known(tracer: &str) -> &'static str {
    let names = ALL.iter().map(|tracer| tracer.name());
    names
        .into_iter()
        .find(|name| *name == tracer)
        .unwrap_or("unknown")
}

/// Returns the code's gRPC name; codes that this agent does not use share one name.
fn word(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::NotFound => "NOT_FOUND",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unauthenticated => "UNAUTHENTICATED",
        _ => "OTHER",
    }
}
