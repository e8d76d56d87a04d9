//! Jobs as objects of both kinds: get, create, suspend and delete.

use super::{
    access::Cluster,
    error::{Doing, Error},
};
use crate::source::remote::words;
use crd::{ClusterTraceJob, Selector, TraceJob, TraceJobSpec, TraceJobStatus, name::JobName};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

/// Field manager of our changes.
const MANAGER: &str = "kubectl-tracejob";

/// A job to create.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    Job(Box<TraceJob>),
    Cluster(Box<ClusterTraceJob>),
}

impl Object {
    /// Returns the part of the spec that both kinds have.
    pub(crate) fn spec(&self) -> &TraceJobSpec {
        match self {
            Self::Job(job) => &job.spec,
            Self::Cluster(job) => &job.spec.job,
        }
    }
}

/// An existing job.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) name: JobName,
    /// Seconds since the creation.
    pub(crate) age: Option<u64>,
    pub(crate) spec: TraceJobSpec,
    pub(crate) namespaces: Option<Selector>,
    pub(crate) host: bool,
    pub(crate) status: TraceJobStatus,
    /// The whole object.
    pub(crate) object: Value,
}

impl Job {
    /// Returns a condition by its type.
    pub(crate) fn condition(&self, type_: &str) -> Option<&Condition> {
        let mut conditions = self.status.conditions.iter();
        conditions.find(|condition| condition.type_ == type_)
    }

    /// Returns whether a condition is true.
    pub(crate) fn is(&self, type_: &str) -> bool {
        self.condition(type_)
            .is_some_and(|condition| condition.status == "True")
    }

    /// Returns the state in a word.
    pub(crate) fn state(&self) -> &str {
        match self.condition(crd::condition::PROGRESSING) {
            Some(condition) => &condition.reason,
            None => "",
        }
    }
}

impl From<TraceJob> for Job {
    fn from(job: TraceJob) -> Self {
        let object = serde_json::to_value(&job).unwrap_or_default();
        Self {
            name: JobName {
                namespace: Some(job.namespace().unwrap_or_default()),
                name: job.name_any(),
            },
            age: age(&job),
            namespaces: None,
            host: false,
            status: job.status.unwrap_or_default(),
            spec: job.spec,
            object,
        }
    }
}

impl From<ClusterTraceJob> for Job {
    fn from(job: ClusterTraceJob) -> Self {
        let object = serde_json::to_value(&job).unwrap_or_default();
        Self {
            name: JobName {
                namespace: None,
                name: job.name_any(),
            },
            age: age(&job),
            namespaces: job.spec.namespace_selector,
            host: job.spec.host == Some(true),
            status: job.status.unwrap_or_default(),
            spec: job.spec.job,
            object,
        }
    }
}

fn age(object: &impl ResourceExt) -> Option<u64> {
    let made = object.creation_timestamp()?;
    let seconds = jiff::Timestamp::now().as_second() - made.0.as_second();
    u64::try_from(seconds).ok()
}

fn jobs(client: &Client, namespace: &str) -> Api<TraceJob> {
    Api::namespaced(client.clone(), namespace)
}

fn cluster_jobs(client: &Client) -> Api<ClusterTraceJob> {
    Api::all(client.clone())
}

/// Gets a job.
pub(crate) async fn get(client: &Client, name: &JobName) -> kube::Result<Job> {
    Ok(match &name.namespace {
        Some(namespace) => jobs(client, namespace).get(&name.name).await?.into(),
        None => cluster_jobs(client).get(&name.name).await?.into(),
    })
}

/// Deletes a job; a missing job is an error.
pub(crate) async fn delete(client: &Client, name: &JobName) -> kube::Result<()> {
    let params = DeleteParams::default();
    match &name.namespace {
        Some(namespace) => jobs(client, namespace)
            .delete(&name.name, &params)
            .await
            .map(drop),
        None => cluster_jobs(client)
            .delete(&name.name, &params)
            .await
            .map(drop),
    }
}

/// Suspends a job.
pub(crate) async fn suspend(client: &Client, name: &JobName) -> kube::Result<()> {
    let patch = Patch::Merge(json!({ "spec": { "suspend": true } }));
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match &name.namespace {
        Some(namespace) => jobs(client, namespace)
            .patch(&name.name, &params, &patch)
            .await
            .map(drop),
        None => cluster_jobs(client)
            .patch(&name.name, &params, &patch)
            .await
            .map(drop),
    }
}

impl Cluster {
    /// Parses the name of a job: `NAME`, `tj/NAME`, `ctj/NAME`.
    ///
    /// # Errors
    /// If the name is invalid.
    pub(crate) fn named(&self, word: &str) -> Result<JobName, Error> {
        let (kind, name) = word.split_once('/').unwrap_or(("", word));
        let of_cluster = ["ctj", "clustertracejob", "clustertracejobs"];
        let kind = kind.split('.').next().unwrap_or_default();
        let namespace = (!of_cluster.contains(&kind)).then(|| self.namespace.clone());
        // They become parts of a path, in which `..` and `/` lead elsewhere.
        let no_name = |word: &str| Error::NoName { word: words(word) };
        let requested = namespace.clone();
        JobName::new(namespace, name.to_owned()).map_err(|invalid| match invalid.field {
            "namespace" => no_name(requested.as_deref().unwrap_or_default()),
            _ => no_name(word),
        })
    }

    /// Gets a job.
    ///
    /// # Errors
    /// If the job does not exist, or the user may not get it.
    pub(crate) fn get(&self, name: &JobName) -> Result<Job, Error> {
        self.wait(get(&self.client, name))?
            .map_err(|error| Error::of(error, &self.url, Doing::on(name, "get")))
    }

    /// Deletes a job.
    ///
    /// # Errors
    /// If the job does not exist, or the user may not delete it.
    pub(crate) fn delete(&self, name: &JobName) -> Result<(), Error> {
        self.wait(delete(&self.client, name))?
            .map_err(|error| Error::of(error, &self.url, Doing::on(name, "delete")))
    }

    /// Creates a job and returns it.
    ///
    /// # Errors
    /// If the job may not be created, or is invalid.
    pub(crate) fn create(&self, object: &Object) -> Result<Job, Error> {
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let (namespace, resource) = match object {
            Object::Job(job) => (
                Some(job.namespace().unwrap_or_else(|| self.namespace.clone())),
                "tracejobs",
            ),
            Object::Cluster(_) => (None, "clustertracejobs"),
        };
        let made = async {
            Ok::<Job, kube::Error>(match object {
                Object::Job(job) => {
                    let namespace = namespace.as_deref().unwrap_or_default();
                    jobs(&self.client, namespace)
                        .create(&params, job)
                        .await?
                        .into()
                }
                Object::Cluster(job) => cluster_jobs(&self.client)
                    .create(&params, job)
                    .await?
                    .into(),
            })
        };
        let doing = Doing {
            verb: "create",
            resource,
            job: None,
            namespace: namespace.as_deref(),
        };
        self.wait(made)?
            .map_err(|error| Error::of(error, &self.url, doing))
    }

    /// Lists the jobs of a namespace, or of all.
    ///
    /// # Errors
    /// If the user may not list them.
    pub(crate) fn list(&self, everywhere: bool) -> Result<Vec<Job>, Error> {
        let params = ListParams::default();
        let api = match everywhere {
            true => Api::<TraceJob>::all(self.client.clone()),
            false => jobs(&self.client, &self.namespace),
        };
        let doing = Doing {
            verb: "list",
            resource: "tracejobs",
            job: None,
            namespace: (!everywhere).then_some(self.namespace.as_str()),
        };
        let found = self
            .wait(api.list(&params))?
            .map_err(|error| Error::of(error, &self.url, doing))?;
        let mut found: Vec<Job> = found.items.into_iter().map(Job::from).collect();
        if everywhere
            // Who may see those of all namespaces may not always see these.
            && let Ok(more) = self.wait(cluster_jobs(&self.client).list(&params))?
        {
            found.extend(more.items.into_iter().map(Job::from));
        }
        found.sort_by(|a, b| {
            (&a.name.namespace, &a.name.name).cmp(&(&b.name.namespace, &b.name.name))
        });
        Ok(found)
    }
}
