//! The common interface of TraceJobs and ClusterTraceJobs in the controller.

use crd::{ClusterTraceJob, Selector, TraceJob, TraceJobSpec, TraceJobStatus};
use kube::{Api, Client, Resource, ResourceExt};
use std::{fmt::Debug, hash::Hash};

/// The common interface of TraceJob and ClusterTraceJob.
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

    /// Returns the uid of the job's traces, which agents identify them by.
    fn trace_uid(&self) -> String {
        fleet::trace_uid(&self.uid().unwrap_or_default())
    }
}

/// The pods that a job may select.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope<'a> {
    /// Pods of the job's own namespace.
    Namespace(&'a str),
    /// Pods of all namespaces that match the selector, or of all namespaces without a selector.
    Namespaces(Option<&'a Selector>),
    /// All processes of the nodes.
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
        // A namespaced object always has a namespace.
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
