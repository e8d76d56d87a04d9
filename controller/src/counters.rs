//! The controller's metrics.

use crate::status::Phase;
use metrics::{OneOf, Rejections, Source, add};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The controller's series. No label has a name that a user chose, so their number does not grow with jobs.
#[derive(Debug)]
pub(crate) struct Counters {
    registry: Registry,
    ready: AtomicBool,
    rejections: Rejections,
    leads: Gauge,
    jobs: Family<State, Gauge>,
    ended: Family<Outcome, Counter>,
    connected: Gauge,
    pub(crate) reconciliations: Counter,
    pub(crate) errors: Counter,
    pub(crate) writes: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl Counters {
    pub(crate) fn new() -> Arc<Self> {
        let mut registry = Registry::default();
        let all = &mut registry;
        let counters = Self {
            ready: AtomicBool::new(false),
            rejections: Rejections::register(all),
            leads: add(
                all,
                "tracejob_controller_leads",
                "1 where this controller leads",
            ),
            jobs: add(
                all,
                "tracejob_jobs",
                "Jobs that run, and that wait for their turn",
            ),
            ended: add(
                all,
                "tracejob_jobs_ended",
                "Jobs that are over, by how they went",
            ),
            connected: add(
                all,
                "tracejob_agents_connected",
                "Agents that this controller is connected to",
            ),
            reconciliations: add(all, "tracejob_reconciliations", "Reconciliations of jobs"),
            errors: add(
                all,
                "tracejob_reconciliation_errors",
                "Reconciliations that failed and were retried",
            ),
            writes: add(
                all,
                "tracejob_status_writes",
                "Statuses that were written to the API server",
            ),
            registry,
        };
        // Exists before the first event.
        counters.jobs(0, 0);
        for outcome in ["complete", "partial", "failed"] {
            drop(counters.ended.get_or_create(&Outcome { outcome }));
        }
        Arc::new(counters)
    }

    /// Marks the controller as ready: it leads, or waits for the lease.
    pub(crate) fn ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    pub(crate) fn leads(&self) {
        self.leads.set(1);
    }

    pub(crate) fn jobs(&self, running: usize, queued: usize) {
        for (state, count) in [("running", running), ("queued", queued)] {
            self.jobs.get_or_create(&State { state }).set(count as i64);
        }
    }

    pub(crate) fn over(&self, phase: &Phase) {
        let outcome = match phase {
            Phase::Complete { partial: None } => "complete",
            Phase::Complete { partial: Some(_) } => "partial",
            _ => "failed",
        };
        self.ended.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts a connected agent until the result is dropped.
    pub(crate) fn connected(&self) -> OneOf {
        OneOf::new(self.connected.clone())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_no_names_of_users() {
        let counters = Counters::new();
        let before = metrics::encoded(&*counters).unwrap();
        assert!(
            before.contains("tracejob_jobs{state=\"queued\"} 0"),
            "{before}"
        );
        counters.over(&Phase::Failed {
            reason: "x\"}".to_owned(),
            message: "y".to_owned(),
        });
        let connected = counters.connected();
        let after = metrics::encoded(&*counters).unwrap();
        assert!(
            after.contains("tracejob_jobs_ended_total{outcome=\"failed\"} 1"),
            "{after}"
        );
        assert!(after.contains("tracejob_agents_connected 1"), "{after}");
        assert_eq!(before.lines().count(), after.lines().count());
        drop(connected);
        let last = metrics::encoded(&*counters).unwrap();
        assert!(last.contains("tracejob_agents_connected 0"), "{last}");
    }
}
