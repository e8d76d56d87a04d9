//! Rejected connections, counted by listener and reason.

use crate::add;
use listen::places::Reason;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Counters of rejected connections, for all listeners of a program.
#[derive(Clone, Debug)]
pub struct Rejections(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    listener: &'static str,
    reason: &'static str,
}

impl Rejections {
    /// Registers the counters.
    pub fn register(to: &mut Registry) -> Self {
        Self(add(
            to,
            "tracejob_connections_rejected",
            "Connections closed or refused to limit the resources of peers, by listener and reason",
        ))
    }

    /// Returns a function that counts the rejections of a listener. The listener's series start at zero.
    pub fn of(&self, listener: &'static str) -> impl Fn(Reason) + Send + Sync + 'static {
        let family = self.0.clone();
        let labels = move |reason: Reason| Labels {
            listener,
            reason: reason.word(),
        };
        for reason in Reason::ALL {
            drop(family.get_or_create(&labels(reason)));
        }
        move |reason| {
            family.get_or_create(&labels(reason)).inc();
        }
    }
}
