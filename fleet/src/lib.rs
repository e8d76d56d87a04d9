//! The agents of a cluster as those see them who call them: where they are, by what certificates they are called, and what their
//! traces of jobs are called.
//!
//! It knows neither what is asked of them nor who asks.
#![forbid(unsafe_code)]

mod api;
mod limits;

pub use api::{Unconfigured, api_client, watching};

use crate::limits::{ANSWER, CONNECT, MESSAGE_BYTES};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proto::v1::agent_client::AgentClient;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    collections::BTreeMap,
    fmt, fs, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use tonic::{
    Status,
    transport::{self, Certificate, Channel, ClientTlsConfig, Endpoint},
};

/// What the uids of jobs' traces begin with: an agent may have others', which are left alone.
pub const OURS: &str = "tj-";

/// The uid that agents know a job by.
pub fn trace_uid(job_uid: &str) -> String {
    format!("{OURS}{job_uid}")
}

/// Takes as many descriptors as may be had without a right: there is a connection for each node's agent, and containers start with 1,024.
pub fn allow_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    // Refused, it is as it was: an agent for which there is none is told as unreachable, and why.
    let _ = setrlimit(Resource::Nofile, all);
}

/// The name of the port that agents serve in their pods.
const PORT: &str = "grpc";

/// An agent's address in a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    node: Arc<str>,
    address: SocketAddr,
    /// Its pod is about to end.
    ends: bool,
}

/// Where an agent is: an address of each family that its pod has, IPv6 first. None are equal, and there is at least one.
pub type Addresses = Arc<[SocketAddr]>;

/// The agents in a slice, ready or not: one that is not may be about to be.
pub fn listed(slice: &EndpointSlice) -> Vec<Listed> {
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

/// The agents of all slices by node. A service of both families has slices of each, and an agent is in one of either.
pub fn agents<'a>(slices: impl IntoIterator<Item = &'a Listed>) -> BTreeMap<Arc<str>, Addresses> {
    let mut nodes: BTreeMap<&Arc<str>, Vec<&Listed>> = BTreeMap::new();
    for listed in slices {
        nodes.entry(&listed.node).or_default().push(listed);
    }
    let nodes = nodes.into_iter().map(|(node, mut all)| {
        // One that ends is there beside the one that takes its place.
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

/// How often it is asked whether it is there, and how long it may take to say so.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// How agents are called.
#[derive(Clone, Debug)]
pub struct Connector {
    /// By what.
    pub tls: Tls,
    /// The name in every agent's certificate.
    pub name: String,
}

/// Where certificates come from; asked for each connection, because they are replaced now and then.
#[derive(Clone)]
pub enum Tls {
    /// A folder of `ca.crt`, `tls.crt` and `tls.key`.
    Folder(PathBuf),
    /// Of the program's own making.
    Issued(watch::Receiver<Identity>),
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No key is ever printed.
        match self {
            Self::Folder(path) => path.fmt(f),
            Self::Issued(_) => f.write_str("issued"),
        }
    }
}

impl Tls {
    fn identity(&self) -> Result<Identity, Error> {
        match self {
            Self::Issued(identity) => Ok(identity.borrow().clone()),
            Self::Folder(folder) => {
                let read = |name: &str| {
                    let path = folder.join(name);
                    fs::read_to_string(&path).map_err(|source| Error::File { path, source })
                };
                Ok(Identity {
                    ca: read("ca.crt")?,
                    certificate: read("tls.crt")?,
                    key: read("tls.key")?,
                })
            }
        }
    }
}

/// What a connection to an agent takes, PEM.
#[derive(Clone)]
pub struct Identity {
    /// Whom to trust.
    pub ca: String,
    /// One's own.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection.
    #[error("{}", rows::text::error_chain(.0))]
    Transport(#[from] tonic::transport::Error),
    /// A handshake that does not come to its end.
    #[error("the agent does not respond")]
    Silent,
    /// No address.
    #[error("the agent has no address")]
    NoAddress,
}

/// What an agent says of a call that it does not do, or what has become of the connection to it.
pub fn said(status: &Status) -> String {
    match status.message() {
        "" => format!("{:?}", status.code()),
        message => message.to_owned(),
    }
}

impl Connector {
    /// Connects to an agent by the first of its addresses that answers, and returns that address as well.
    ///
    /// # Errors
    /// Where none answers, or the agent is not let in, or we are not: that of the last address.
    pub async fn connect(
        &self,
        addresses: &[SocketAddr],
    ) -> Result<(AgentClient<Channel>, SocketAddr), Error> {
        let mut last = Error::NoAddress;
        for address in addresses {
            // With its handshake: one that takes connections and does nothing keeps nobody from the next address.
            match tokio::time::timeout(ANSWER, self.connect_to(*address)).await {
                Ok(Ok(client)) => return Ok((client, *address)),
                Ok(Err(error)) => last = error,
                Err(_) => last = Error::Silent,
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<AgentClient<Channel>, Error> {
        let Identity {
            ca,
            certificate,
            key,
        } = self.tls.identity()?;
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .identity(transport::Identity::from_pem(certificate, key))
            .domain_name(&self.name);
        let channel = Endpoint::from_shared(format!("https://{address}"))?
            .tls_config(tls)?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1)
            .keep_alive_while_idle(true)
            .connect()
            .await?;
        Ok(AgentClient::new(channel).max_decoding_message_size(MESSAGE_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

    /// A slice of agents: node, address, and whether its pod ends.
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
        let all: Vec<Listed> = slices.iter().flat_map(listed).collect();
        let shown = agents(&all).into_iter().map(|(node, addresses)| {
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
    fn a_pod_that_ends_is_asked_only_where_no_other_takes_its_place() {
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
}
