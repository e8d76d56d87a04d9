//! A job of either kind, as the rest of the controller sees it.

use crd::{ClusterTraceJob, Selector, TraceJob, TraceJobSpec, TraceJobStatus};
use kube::{Api, Client, Resource, ResourceExt};
use std::{fmt::Debug, hash::Hash};

/// What TraceJob and ClusterTraceJob have in common.
pub(crate) trait Job:
    Resource<DynamicType = ()>
    + Clone
    + Debug
    + serde::de::DeserializeOwned
    + serde::Serialize
    + Send
    + Sync
    + 'static
where
    Self::DynamicType: Eq + Hash,
{
    fn spec(&self) -> &TraceJobSpec;
    fn status(&self) -> Option<&TraceJobStatus>;
    fn scope(&self) -> Scope<'_>;
    fn api(&self, client: Client) -> Api<Self>;

    /// Whose traces are whose: the agents know jobs by it.
    fn trace_uid(&self) -> String {
        fleet::trace_uid(&self.uid().unwrap_or_default())
    }
}

/// Where a job may look for pods.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope<'a> {
    /// In its own namespace.
    Namespace(&'a str),
    /// In every namespace that the selector finds; in all of them without one.
    Namespaces(Option<&'a Selector>),
    /// Everything on the nodes.
    Host,
}

impl Job for TraceJob {
    fn spec(&self) -> &TraceJobSpec {
        &self.spec
    }

    fn status(&self) -> Option<&TraceJobStatus> {
        self.status.as_ref()
    }

    fn scope(&self) -> Scope<'_> {
        // A namespaced object has one.
        Scope::Namespace(self.metadata.namespace.as_deref().unwrap_or_default())
    }

    fn api(&self, client: Client) -> Api<Self> {
        Api::namespaced(client, &self.namespace().unwrap_or_default())
    }
}

impl Job for ClusterTraceJob {
    fn spec(&self) -> &TraceJobSpec {
        &self.spec.job
    }

    fn status(&self) -> Option<&TraceJobStatus> {
        self.status.as_ref()
    }

    fn scope(&self) -> Scope<'_> {
        match self.spec.host {
            Some(true) => Scope::Host,
            _ => Scope::Namespaces(self.spec.namespace_selector.as_ref()),
        }
    }

    fn api(&self, client: Client) -> Api<Self> {
        Api::all(client)
    }
}
