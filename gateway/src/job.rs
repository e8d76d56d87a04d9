//! A job as readers need it: its identity, its tracer, and its progress.

use crd::{ClusterTraceJob, TraceJob, TraceJobSpec, TraceJobStatus, condition, name::JobName};
use futures::{Stream, StreamExt, stream::BoxStream};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use tracers::Erased;

/// State of a job.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) uid: String,
    pub(crate) tracer: &'static dyn Erased,
    /// Filter of the rows; empty without one.
    pub(crate) filter: String,
    /// Whether the controller has reported the end of the job.
    pub(crate) over: bool,
    /// Whether the job has ended without an account of any node.
    pub(crate) failed: bool,
    /// Whether the job is being deleted.
    pub(crate) deleted: bool,
    pub(crate) status: TraceJobStatus,
}

/// An event of a watch.
pub(crate) enum Seen {
    Job(Box<Job>),
    /// The job does not exist any more.
    Gone,
}

/// A kind of job.
trait Kind: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static {
    fn parts(&self) -> (&TraceJobSpec, Option<&TraceJobStatus>);
}

impl Kind for TraceJob {
    fn parts(&self) -> (&TraceJobSpec, Option<&TraceJobStatus>) {
        (&self.spec, self.status.as_ref())
    }
}

impl Kind for ClusterTraceJob {
    fn parts(&self) -> (&TraceJobSpec, Option<&TraceJobStatus>) {
        (&self.spec.job, self.status.as_ref())
    }
}

fn job<K: Kind>(object: &K) -> Job {
    let (spec, status) = object.parts();
    let status = status.cloned().unwrap_or_default();
    let is_true = |type_: &str| {
        let mut conditions = status.conditions.iter();
        conditions.any(|condition| condition.type_ == type_ && condition.status == "True")
    };
    Job {
        uid: object.uid().unwrap_or_default(),
        tracer: spec.tracer.tracer(),
        filter: spec.output.filter.clone().unwrap_or_default(),
        over: is_true(condition::COMPLETE) || is_true(condition::FAILED),
        failed: is_true(condition::FAILED),
        deleted: object.meta().deletion_timestamp.is_some(),
        status,
    }
}

/// Reads a job; `None` if it does not exist.
///
/// # Errors
/// If the API server does not respond.
pub(crate) async fn get(client: &Client, name: &JobName) -> kube::Result<Option<Job>> {
    let client = client.clone();
    Ok(match &name.namespace {
        Some(namespace) => {
            let api = Api::<TraceJob>::namespaced(client, namespace);
            api.get_opt(&name.name).await?.as_ref().map(job)
        }
        None => {
            let api = Api::<ClusterTraceJob>::all(client);
            api.get_opt(&name.name).await?.as_ref().map(job)
        }
    })
}

/// Watches a job while the stream is polled. The stream pauses while the API server is unavailable.
pub(crate) fn watch(client: &Client, name: &JobName) -> BoxStream<'static, Seen> {
    let client = client.clone();
    match &name.namespace {
        Some(namespace) => follow(Api::<TraceJob>::namespaced(client, namespace), &name.name),
        None => follow(Api::<ClusterTraceJob>::all(client), &name.name),
    }
}

fn follow<K: Kind + Sync>(api: Api<K>, name: &str) -> BoxStream<'static, Seen> {
    let only = fleet::watching().fields(&format!("metadata.name={name}"));
    seen(watcher(api, only).default_backoff()).boxed()
}

fn seen<K: Kind>(
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send,
) -> impl Stream<Item = Seen> + Send {
    // A list without the job also means that the job is deleted.
    let mut listed = false;
    events.filter_map(move |event| {
        let seen = match event {
            Ok(watcher::Event::Init) => {
                listed = false;
                None
            }
            Ok(watcher::Event::InitApply(object)) => {
                listed = true;
                Some(Seen::Job(Box::new(job(&object))))
            }
            Ok(watcher::Event::InitDone) => (!listed).then_some(Seen::Gone),
            Ok(watcher::Event::Apply(object)) => Some(Seen::Job(Box::new(job(&object)))),
            Ok(watcher::Event::Delete(_)) => Some(Seen::Gone),
            Err(error) => {
                tracing::debug!(%error, "watch of a job failed: retrying");
                None
            }
        };
        async move { seen }
    })
}
