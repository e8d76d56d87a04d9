//! Metrics of the gateway.

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

pub(crate) struct Counters {
    registry: Registry,
    ready: AtomicBool,
    rejections: Rejections,
    readers: Gauge,
    connected: Gauge,
    connections: Gauge,
    refused: Family<Refusal, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    reason: &'static str,
}

impl Counters {
    pub(crate) fn new() -> Arc<Self> {
        let mut registry = Registry::default();
        let to = &mut registry;
        let counters = Self {
            readers: add(to, "tracejob_gateway_readers", "Readers of jobs"),
            connected: add(
                to,
                "tracejob_agents_connected",
                "Agents with an open connection",
            ),
            connections: add(to, "tracejob_gateway_connections", "Connections of clients"),
            refused: add(
                to,
                "tracejob_gateway_refusals",
                "Calls refused because of authentication, authorization or rate limits",
            ),
            ready: AtomicBool::new(false),
            rejections: Rejections::register(to),
            registry,
        };
        for reason in ["unauthenticated", "forbidden", "busy"] {
            drop(counters.refused.get_or_create(&Refusal { reason }));
        }
        Arc::new(counters)
    }

    pub(crate) fn ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    pub(crate) fn reader(&self) -> OneOf {
        OneOf::new(self.readers.clone())
    }

    pub(crate) fn connected(&self) -> OneOf {
        OneOf::new(self.connected.clone())
    }

    pub(crate) fn connection(&self) -> OneOf {
        OneOf::new(self.connections.clone())
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Refusal { reason }).inc();
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
