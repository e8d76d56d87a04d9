//! The nodes that a job runs on, and its targets there: a function of the job and the cluster.

use crate::{
    view::Scope,
    world::{Pod, State},
};
use crd::{Operator, Selector, TraceJobSpec};
use k8s_openapi::jiff::Timestamp;
use proto::v1;
use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
};
use tracers::{Class, Erased};

/// The targets of a job on all nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Targets of each node.
    pub(crate) nodes: BTreeMap<Arc<str>, Share>,
    /// Number of pods among the targets.
    pub(crate) pods: usize,
}

/// The targets of a job on one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Share {
    pub(crate) targets: Vec<v1::Target>,
    /// Time at which each target started.
    pub(crate) since: Vec<Timestamp>,
}

/// Rules of the controller that restrict jobs.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Namespaces whose pods are not traced.
    pub(crate) denied: BTreeSet<String>,
    /// Whether jobs may trace whole nodes.
    pub(crate) host: bool,
    /// Classes of tracers that jobs may use.
    pub(crate) classes: BTreeSet<Class>,
    /// Classes whose jobs run although the controller cannot verify that the API server checked the user's right to the tracer.
    pub(crate) unchecked: BTreeSet<Class>,
}

/// Reason why a job can never run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Rules {
    /// Returns whether a job may run at all.
    pub(crate) fn allow(&self, scope: Scope<'_>, tracer: &dyn Erased) -> Result<(), Denied> {
        let class = tracer.class();
        if !self.classes.contains(&class) {
            let allowed: Vec<&str> = self.classes.iter().map(|class| class.word()).collect();
            return Err(Denied {
                reason: "ClassDenied",
                message: format!(
                    "{} is of class {} ({}), and this cluster allows only tracers of {}: see agent.policy.classes of the chart",
                    tracers::camel(tracer.name()),
                    class.word(),
                    class.about(),
                    allowed.join(" and ")
                ),
            });
        }
        match scope {
            Scope::Namespace(namespace) if self.denied.contains(namespace) => Err(Denied {
                reason: "NamespaceDenied",
                message: format!("pods of {namespace} are not traced in this cluster: the namespace is among the controller's denied namespaces"),
            }),
            Scope::Host if !self.host => Err(Denied {
                reason: "HostDenied",
                message: "whole nodes are not traced in this cluster: the controller runs without --allow-host".to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

/// Plans the targets of a job. If not all nodes are needed, nodes that run the job already are kept.
pub(crate) fn plan(
    uid: &str,
    spec: &TraceJobSpec,
    scope: Scope<'_>,
    rules: &Rules,
    state: &State,
    running: &BTreeSet<Arc<str>>,
) -> Plan {
    let mut plan = match scope {
        Scope::Host => Plan {
            nodes: state
                .nodes
                .iter()
                .map(|(name, node)| {
                    let share = Share {
                        targets: vec![host(name)],
                        since: vec![node.created],
                    };
                    (Arc::clone(name), share)
                })
                .collect(),
            pods: 0,
        },
        Scope::Namespace(namespace) => of_pods(spec, [namespace].into_iter(), rules, state),
        Scope::Namespaces(selector) => {
            let namespaces = state
                .namespaces
                .iter()
                .filter(|(_, labels)| selector.is_none_or(|selector| matches(selector, labels)))
                .map(|(name, _)| name.as_str());
            of_pods(spec, namespaces, rules, state)
        }
    };
    let qualifies = |node: &str| {
        let node = state.nodes.get(node);
        node.is_some_and(|node| {
            let mut wanted = spec.node_selector.iter();
            wanted.all(|(name, value)| node.labels.get(name) == Some(value))
        })
    };
    plan.nodes.retain(|node, _| qualifies(node));
    let chosen = choose(uid, spec, plan.nodes.keys(), running);
    plan.nodes.retain(|node, _| chosen.contains(node));
    let pod = |target: &v1::Target| matches!(target.target, Some(v1::target::Target::Pod(_)));
    let targets = plan.nodes.values().flat_map(|share| &share.targets);
    plan.pods = match spec.containers.is_empty() {
        true => targets.filter(|target| pod(target)).count(),
        false => {
            let labels = targets.filter_map(|target| target.labels.as_ref());
            let pods = labels.map(|labels| (&labels.namespace, &labels.pod));
            pods.collect::<BTreeSet<_>>().len()
        }
    };
    plan
}

fn of_pods<'a>(
    spec: &TraceJobSpec,
    namespaces: impl Iterator<Item = &'a str>,
    rules: &Rules,
    state: &State,
) -> Plan {
    let mut plan = Plan::default();
    for namespace in namespaces.filter(|namespace| !rules.denied.contains(*namespace)) {
        for pod in state
            .pods
            .get(namespace)
            .into_iter()
            .flat_map(BTreeMap::values)
        {
            if selects(spec, pod) {
                let targets = targets(spec, namespace, pod);
                if !targets.is_empty() {
                    let share = plan.nodes.entry(Arc::clone(&pod.node)).or_default();
                    for (target, since) in targets {
                        share.targets.push(target);
                        share.since.push(since);
                    }
                }
            }
        }
    }
    plan
}

/// Returns whether a job selects a pod, from a namespace in its scope.
fn selects(spec: &TraceJobSpec, pod: &Pod) -> bool {
    match (&spec.selector, spec.pods.as_slice()) {
        (None, []) => true,
        (selector, names) => {
            names.contains(&pod.name)
                || selector
                    .as_ref()
                    .is_some_and(|selector| matches(selector, &pod.labels))
        }
    }
}

/// Returns the targets of a pod: the whole pod, with its containers for their names, or only the selected containers.
fn targets(spec: &TraceJobSpec, namespace: &str, pod: &Pod) -> Vec<(v1::Target, Timestamp)> {
    let target = |container: &str, pod_uid: &str, target| v1::Target {
        target: Some(target),
        labels: Some(v1::Labels {
            node: pod.node.to_string(),
            namespace: namespace.to_owned(),
            pod: pod.name.clone(),
            container: container.to_owned(),
        }),
        start_ticks: 0,
        pod_uid: pod_uid.to_owned(),
    };
    let containers = pod
        .containers
        .iter()
        .filter(|one| spec.containers.is_empty() || spec.containers.contains(&one.name))
        .map(|one| {
            let id = v1::target::Target::Container(one.id.clone());
            // The container's ID comes from the pod's status, which others may write. The agent looks for it in this pod only.
            (target(&one.name, &pod.uid, id), one.started)
        });
    let whole = target("", "", v1::target::Target::Pod(pod.uid.clone()));
    let whole = spec.containers.is_empty().then_some((whole, pod.started));
    whole.into_iter().chain(containers).collect()
}

fn host(node: &str) -> v1::Target {
    v1::Target {
        target: Some(v1::target::Target::Host(v1::Host {})),
        labels: Some(v1::Labels {
            node: node.to_owned(),
            ..v1::Labels::default()
        }),
        start_ticks: 0,
        pod_uid: String::new(),
    }
}

/// Chooses the nodes of a job with `maxNodes`.
fn choose<'a>(
    uid: &str,
    spec: &TraceJobSpec,
    nodes: impl Iterator<Item = &'a Arc<str>>,
    running: &BTreeSet<Arc<str>>,
) -> BTreeSet<Arc<str>> {
    // Ordered by a hash of job and node, so that each reconciliation chooses the same nodes.
    let rank = |node: &Arc<str>| {
        let mut hasher = DefaultHasher::new();
        (uid, &**node).hash(&mut hasher);
        hasher.finish()
    };
    let mut nodes: Vec<&Arc<str>> = nodes.collect();
    nodes.sort_by_cached_key(|node| (!running.contains(*node), rank(node)));
    let percent = u64::from(spec.sample_percent.unwrap_or(100));
    let share = (nodes.len() as u64 * percent).div_ceil(100);
    let most = share.min(spec.max_nodes.map_or(u64::MAX, u64::from));
    nodes
        .into_iter()
        .take(usize::try_from(most).unwrap_or(usize::MAX))
        .cloned()
        .collect()
}

/// Compares labels as the API server does.
fn matches(selector: &Selector, labels: &BTreeMap<String, String>) -> bool {
    let Selector {
        match_labels,
        match_expressions,
    } = selector;
    let equal = match_labels
        .iter()
        .all(|(name, value)| labels.get(name) == Some(value));
    equal
        && match_expressions.iter().all(|wanted| {
            let value = labels.get(&wanted.key);
            let among = || value.is_some_and(|value| wanted.values.contains(value));
            match wanted.operator {
                Operator::In => among(),
                Operator::NotIn => !among(),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
}

#[cfg(test)]
mod tests;
