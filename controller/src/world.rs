//! The cached state of the cluster: pods, nodes and namespaces, reduced to the fields in use. 150,000 pods fit 100 MB.

use futures::{Stream, StreamExt};
use k8s_openapi::{
    api::core::v1 as core, apimachinery::pkg::apis::meta::v1::OwnerReference, jiff::Timestamp,
};
use kube::{Resource, ResourceExt, runtime::watcher};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};
use tokio::sync::mpsc;

type Labels = BTreeMap<String, String>;

/// A pod that is bound to a node and has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) name: String,
    /// The uid in the name of its cgroup.
    pub(crate) uid: String,
    pub(crate) node: Arc<str>,
    pub(crate) labels: Labels,
    /// Time at which the kubelet accepted the pod.
    pub(crate) started: Timestamp,
    /// Running containers.
    pub(crate) containers: Vec<Container>,
}

/// A running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) started: Timestamp,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) labels: Labels,
    /// Time at which the node joined the cluster.
    pub(crate) created: Timestamp,
}

/// A snapshot of the cluster.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Pods by namespace and name.
    pub(crate) pods: HashMap<String, BTreeMap<String, Pod>>,
    pub(crate) nodes: BTreeMap<Arc<str>, Node>,
    pub(crate) namespaces: BTreeMap<String, Labels>,
}

/// A change in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Change {
    /// Pods of a namespace.
    Pods(String),
    /// Nodes, or namespaces.
    Cluster,
}

/// The shared state of the cluster, which watches keep up to date.
#[derive(Debug)]
pub(crate) struct World {
    state: RwLock<State>,
    changes: mpsc::UnboundedSender<Change>,
}

impl World {
    pub(crate) fn new(changes: mpsc::UnboundedSender<Change>) -> Self {
        Self {
            state: RwLock::default(),
            changes,
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, change: Change) {
        // Fails only at shutdown, when the receiver is gone.
        let _ = self.changes.send(change);
    }

    /// Watches a kind of object. The future never completes.
    pub(crate) async fn follow<K: Known>(
        &self,
        events: impl Stream<Item = watcher::Result<watcher::Event<K>>>,
        ready: tokio::sync::oneshot::Sender<()>,
    ) {
        let mut ready = Some(ready);
        let mut all = Vec::new();
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => all.clear(),
                Ok(watcher::Event::InitApply(object)) => all.push(object),
                Ok(watcher::Event::InitDone) => {
                    K::replace(self, std::mem::take(&mut all));
                    if let Some(ready) = ready.take() {
                        // The waiting task may be gone.
                        let _ = ready.send(());
                    }
                }
                Ok(watcher::Event::Apply(object)) => K::apply(self, &object),
                Ok(watcher::Event::Delete(object)) => K::delete(self, &object),
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "watch failed: retrying");
                }
            }
        }
    }
}

/// A kind of object that is cached.
pub(crate) trait Known: Resource<DynamicType = ()> + Clone + Debug + Send + 'static {
    fn replace(world: &World, all: Vec<Self>);
    fn apply(world: &World, object: &Self);
    fn delete(world: &World, object: &Self);
}

/// Returns the cached fields of a pod; `None` if it has no node or has ended.
fn pod(pod: &core::Pod) -> Option<Pod> {
    let node = pod.spec.as_ref()?.node_name.as_deref()?;
    let status = pod.status.as_ref();
    if status.is_some_and(|status| matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")))
    {
        return None;
    }
    let statuses = status.into_iter().flat_map(|status| {
        [
            &status.init_container_statuses,
            &status.container_statuses,
            &status.ephemeral_container_statuses,
        ]
    });
    let containers = statuses.flatten().flatten().filter_map(|container| {
        let running = container.state.as_ref()?.running.as_ref()?;
        // "containerd://4f2a…"
        let (_, id) = container.container_id.as_deref()?.split_once("://")?;
        let at = running.started_at.as_ref();
        Some(Container {
            name: container.name.clone(),
            id: id.to_owned(),
            started: at.map_or_else(|| started(pod), |time| time.0),
        })
    });
    Some(Pod {
        name: pod.name_any(),
        uid: static_uid(pod, node).map_or_else(|| pod.uid(), |uid| Some(uid.to_owned()))?,
        node: node.into(),
        labels: pod.labels().clone(),
        started: started(pod),
        containers: containers.collect(),
    })
}

/// Annotation with the kubelet's uid of a static pod, in the mirror pod that the kubelet creates in the API server.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Returns the uid of a static pod's cgroup, which differs from the uid of the mirror pod in the API server.
///
/// Every user who may create pods may write the annotation, and could so trace another pod of that node. The annotation counts only if the
/// kubelet has reported a container of the pod. Only a kubelet may write a pod's status, and it runs no mirror pod of another one.
/// The annotation cannot be added to a running pod (`ValidatePodUpdate` in pkg/apis/core/validation). `config.hash`, which has the same
/// value, may be changed.
fn static_uid<'a>(pod: &'a core::Pod, node: &str) -> Option<&'a str> {
    let uid = pod.annotations().get(MIRROR)?;
    let of_node = |owner: &OwnerReference| {
        let is_node = (owner.api_version.as_str(), owner.kind.as_str()) == ("v1", "Node");
        is_node && owner.name == node && owner.controller == Some(true)
    };
    let status = pod.status.as_ref()?;
    let containers = [&status.init_container_statuses, &status.container_statuses];
    let mut containers = containers.into_iter().flatten().flatten();
    let is_the_kubelets = containers.any(|container| container.container_id.is_some());
    (pod.owner_references().iter().any(of_node) && is_the_kubelets).then_some(uid)
}

/// Returns the time at which the kubelet accepted the pod, or until it reports one, the time of creation.
fn started(pod: &core::Pod) -> Timestamp {
    let taken = pod
        .status
        .as_ref()
        .and_then(|status| status.start_time.clone());
    taken.map_or_else(|| created(pod), |time| time.0)
}

impl Known for core::Pod {
    fn replace(world: &World, all: Vec<Self>) {
        let mut pods: HashMap<String, BTreeMap<String, Pod>> = HashMap::new();
        for object in &all {
            if let Some(pod) = pod(object) {
                let namespace = pods.entry(object.namespace().unwrap_or_default());
                namespace.or_default().insert(pod.name.clone(), pod);
            }
        }
        world.write().pods = pods;
        world.changed(Change::Cluster);
    }

    fn apply(world: &World, object: &Self) {
        let Some(new) = pod(object) else {
            return Self::delete(world, object);
        };
        let namespace = object.namespace().unwrap_or_default();
        {
            let mut state = world.write();
            let pods = state.pods.entry(namespace.clone()).or_default();
            if pods.get(&new.name) == Some(&new) {
                return;
            }
            pods.insert(new.name.clone(), new);
        }
        world.changed(Change::Pods(namespace));
    }

    fn delete(world: &World, object: &Self) {
        let namespace = object.namespace().unwrap_or_default();
        let gone = {
            let mut state = world.write();
            let pods = state.pods.get_mut(&namespace);
            pods.and_then(|pods| pods.remove(&object.name_any()))
        };
        if gone.is_some() {
            world.changed(Change::Pods(namespace));
        }
    }
}

fn node(node: &core::Node) -> Node {
    Node {
        labels: node.labels().clone(),
        created: created(node),
    }
}

fn created(object: &impl ResourceExt) -> Timestamp {
    let created = object.creation_timestamp();
    created.map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

impl Known for core::Node {
    fn replace(world: &World, all: Vec<Self>) {
        world.write().nodes = all
            .iter()
            .map(|object| (object.name_any().into(), node(object)))
            .collect();
        world.changed(Change::Cluster);
    }

    fn apply(world: &World, object: &Self) {
        let (name, new) = (object.name_any(), node(object));
        // A node's status changes every few seconds, and is not used here.
        let before = world.write().nodes.insert(name.into(), new.clone());
        if before != Some(new) {
            world.changed(Change::Cluster);
        }
    }

    fn delete(world: &World, object: &Self) {
        world.write().nodes.remove(object.name_any().as_str());
        world.changed(Change::Cluster);
    }
}

impl Known for core::Namespace {
    fn replace(world: &World, all: Vec<Self>) {
        world.write().namespaces = all
            .iter()
            .map(|namespace| (namespace.name_any(), namespace.labels().clone()))
            .collect();
        world.changed(Change::Cluster);
    }

    fn apply(world: &World, object: &Self) {
        let (name, labels) = (object.name_any(), object.labels().clone());
        let before = world.write().namespaces.insert(name, labels.clone());
        if before != Some(labels) {
            world.changed(Change::Cluster);
        }
    }

    fn delete(world: &World, object: &Self) {
        world.write().namespaces.remove(&object.name_any());
        world.changed(Change::Cluster);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const HASH: &str = "8ba00f37e5a7d26c3b4d5b9f3a6e1c02";

    /// A mirror pod as its kubelet creates and reports it, with changes.
    fn uid(change: impl Fn(&mut Value)) -> String {
        let mut mirror = json!({
            "metadata": {
                "name": "etcd-a", "namespace": "kube-system", "uid": "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0",
                "annotations": {MIRROR: HASH, "kubernetes.io/config.hash": HASH, "kubernetes.io/config.source": "file"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "x", "controller": true}],
            },
            "spec": {"nodeName": "a", "containers": [{"name": "etcd"}]},
            "status": {"phase": "Running", "containerStatuses": [{
                "name": "etcd", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "containerID": "containerd://4f2a", "state": {"running": {}},
            }]},
        });
        change(&mut mirror);
        pod(&serde_json::from_value(mirror).unwrap()).unwrap().uid
    }

    #[test]
    fn a_static_pod_has_the_uid_of_its_cgroup() {
        assert_eq!(uid(|_| {}), HASH);
    }

    #[test]
    fn the_annotation_of_a_pod_that_is_not_its_kubelets_is_not_believed() {
        let own = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0";
        let others: [fn(&mut Value); 6] = [
            // As every user may create it: no kubelet has run it.
            |pod| pod["status"] = json!({"phase": "Pending"}),
            |pod| pod["status"]["containerStatuses"][0]["containerID"] = Value::Null,
            |pod| pod["metadata"]["ownerReferences"] = json!([]),
            |pod| pod["metadata"]["ownerReferences"][0]["name"] = "b".into(),
            |pod| pod["metadata"]["ownerReferences"][0]["kind"] = "ReplicaSet".into(),
            // The annotation may be written at any time.
            |pod| pod["metadata"]["annotations"] = json!({"kubernetes.io/config.hash": HASH}),
        ];
        for (at, other) in others.into_iter().enumerate() {
            assert_eq!(uid(other), own, "{at}");
        }
    }
}
