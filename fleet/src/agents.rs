//! Addresses of agents, from the EndpointSlices of their service.

use crate::watching;
use futures::StreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tokio::sync::watch;

/// The name of the agents' port in their pods.
const PORT: &str = "grpc";

/// The addresses of an agent: one of each family that its pod has, IPv6 first. There is at least one, and no duplicate.
pub type Addresses = Arc<[SocketAddr]>;

/// The agents of a cluster by node.
pub type Agents = BTreeMap<Arc<str>, Addresses>;

/// Watches the agents of a service. Returns the newest agents, and a task that keeps them up to date.
///
/// The agents are empty at first. The first list of the API server counts as a change, even if it is empty.
pub fn watch_agents(
    client: &Client,
    namespace: &str,
    service: &str,
) -> (watch::Receiver<Agents>, impl Future<Output = ()> + use<>) {
    let api = Api::<EndpointSlice>::namespaced(client.clone(), namespace);
    let of_service = watching().labels(&format!("kubernetes.io/service-name={service}"));
    let (new, newest) = watch::channel(Agents::new());
    let task = async move {
        let mut slices = Slices::default();
        let mut is_first = true;
        let mut events = std::pin::pin!(watcher(api, of_service).default_backoff());
        while let Some(event) = events.next().await {
            let is_complete = match event {
                Ok(event) => slices.record(event),
                Err(error) => {
                    tracing::warn!(%error, "watch of agents failed: retrying");
                    false
                }
            };
            if !is_complete {
                continue;
            }
            let agents = slices.agents();
            new.send_if_modified(|before| {
                let changed = is_first || *before != agents;
                *before = agents;
                changed
            });
            is_first = false;
        }
    };
    (newest, task)
}

/// An agent's address in a slice.
struct Listed {
    node: Arc<str>,
    address: SocketAddr,
    /// Whether its pod is terminating.
    ends: bool,
}

/// The slices of a service, by name.
#[derive(Default)]
struct Slices {
    known: BTreeMap<String, Vec<Listed>>,
    /// Slices of a list that is not complete yet.
    listing: BTreeMap<String, Vec<Listed>>,
}

impl Slices {
    /// Records an event, and returns whether the known slices may have changed.
    fn record(&mut self, event: watcher::Event<EndpointSlice>) -> bool {
        let of = |slice: &EndpointSlice| (slice.name_any(), listed(slice));
        match event {
            watcher::Event::Init => self.listing.clear(),
            watcher::Event::InitApply(slice) => self.listing.extend([of(&slice)]),
            watcher::Event::InitDone => {
                self.known = std::mem::take(&mut self.listing);
                return true;
            }
            watcher::Event::Apply(slice) => {
                self.known.extend([of(&slice)]);
                return true;
            }
            watcher::Event::Delete(slice) => {
                self.known.remove(&slice.name_any());
                return true;
            }
        }
        false
    }

    /// Returns the agents of all slices by node. A service of both families has slices of each, and an agent is in one of each family.
    fn agents(&self) -> Agents {
        let mut nodes: BTreeMap<&Arc<str>, Vec<&Listed>> = BTreeMap::new();
        for listed in self.known.values().flatten() {
            nodes.entry(&listed.node).or_default().push(listed);
        }
        let nodes = nodes.into_iter().map(|(node, mut all)| {
            // During an update, the terminating pod and its successor are both listed.
            if all.iter().any(|listed| !listed.ends) {
                all.retain(|listed| !listed.ends);
            }
            let mut addresses: Vec<SocketAddr> = all.iter().map(|listed| listed.address).collect();
            addresses.sort_unstable_by_key(|address| (address.is_ipv4(), *address));
            addresses.dedup();
            (Arc::clone(node), addresses.into())
        });
        nodes.collect()
    }
}

/// Returns the agents in a slice, ready or not: an agent that is not ready may be about to start.
fn listed(slice: &EndpointSlice) -> Vec<Listed> {
    let ports = slice.ports.iter().flatten();
    let port = ports
        .filter(|port| port.name.as_deref() == Some(PORT))
        .find_map(|port| u16::try_from(port.port?).ok());
    let Some(port) = port else {
        return Vec::new();
    };
    let endpoints = slice.endpoints.iter();
    endpoints
        .filter_map(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
            Some(Listed {
                node: endpoint.node_name.as_deref()?.into(),
                address: SocketAddr::new(address.to_canonical(), port),
                ends: conditions.is_some_and(|conditions| conditions.terminating == Some(true)),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

    /// Returns a slice of agents: node, address, and whether the pod is terminating.
    fn slice(family: &str, agents: &[(&str, &str, bool)]) -> EndpointSlice {
        let endpoint = |(node, address, ends): &(&str, &str, bool)| Endpoint {
            addresses: vec![(*address).to_owned()],
            node_name: Some((*node).to_owned()),
            conditions: Some(EndpointConditions {
                terminating: Some(*ends),
                ..EndpointConditions::default()
            }),
            ..Endpoint::default()
        };
        EndpointSlice {
            address_type: family.to_owned(),
            endpoints: agents.iter().map(endpoint).collect(),
            ports: Some(vec![EndpointPort {
                name: Some(PORT.to_owned()),
                port: Some(4040),
                ..EndpointPort::default()
            }]),
            ..EndpointSlice::default()
        }
    }

    fn found(slices: &[EndpointSlice]) -> Vec<String> {
        let mut known = Slices::default();
        let named = slices.iter().zip(0..);
        for (slice, number) in named {
            let mut slice = slice.clone();
            slice.metadata.name = Some(format!("slice-{number}"));
            known.record(watcher::Event::Apply(slice));
        }
        let shown = known.agents().into_iter().map(|(node, addresses)| {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("{node}: {}", addresses.join(" "))
        });
        shown.collect()
    }

    #[test]
    fn an_agent_in_slices_of_both_families_is_one_with_its_ipv6_address_first() {
        let four = slice(
            "IPv4",
            &[("a", "10.0.0.1", false), ("b", "10.0.0.2", false)],
        );
        let six = slice("IPv6", &[("a", "fd00::1", false), ("c", "fd00::3", false)]);
        let wanted = [
            "a: [fd00::1]:4040 10.0.0.1:4040",
            "b: 10.0.0.2:4040",
            "c: [fd00::3]:4040",
        ];
        // Whatever the slices' names are.
        assert_eq!(found(&[four.clone(), six.clone()]), wanted);
        assert_eq!(found(&[six.clone(), four, six]), wanted);
    }

    #[test]
    fn a_terminating_pod_is_used_only_on_a_node_without_another() {
        let six = slice(
            "IPv6",
            &[
                ("a", "fd00::1", true),
                ("a", "fd00::9", false),
                ("b", "fd00::2", true),
            ],
        );
        let four = slice("IPv4", &[("a", "10.0.0.1", true)]);
        let wanted = ["a: [fd00::9]:4040", "b: [fd00::2]:4040"];
        assert_eq!(found(&[six, four]), wanted);
    }

    #[test]
    fn a_new_list_replaces_all_slices_when_it_is_complete() {
        let named = |name: &str, node: &str, address: &str| {
            let mut slice = slice("IPv4", &[(node, address, false)]);
            slice.metadata.name = Some(name.to_owned());
            slice
        };
        let mut slices = Slices::default();
        let a = named("x", "a", "10.0.0.1");
        let nodes = |slices: &Slices| slices.agents().into_keys().collect::<Vec<_>>().join(" ");
        assert!(!slices.record(watcher::Event::Init));
        assert!(!slices.record(watcher::Event::InitApply(a.clone())));
        assert_eq!(nodes(&slices), "");
        assert!(slices.record(watcher::Event::InitDone));
        assert_eq!(nodes(&slices), "a");
        let b = named("y", "b", "10.0.0.2");
        assert!(slices.record(watcher::Event::Apply(b.clone())));
        assert_eq!(nodes(&slices), "a b");
        assert!(slices.record(watcher::Event::Delete(a)));
        assert_eq!(nodes(&slices), "b");
        assert!(!slices.record(watcher::Event::Init));
        assert_eq!(nodes(&slices), "b");
        assert!(slices.record(watcher::Event::InitDone));
        assert_eq!(nodes(&slices), "");
    }
}
