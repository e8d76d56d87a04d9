//! Clients of a cluster's agents: the agents' addresses, the certificates of a connection, and the uids of jobs' traces.
//!
//! It depends neither on the calls nor on the caller.
#![forbid(unsafe_code)]

mod agents;
mod api;
mod limits;

pub use agents::{Addresses, Agents, watch_agents};
pub use api::{Unconfigured, api_client, watching};

use crate::limits::{ANSWER, CONNECT, MESSAGE_BYTES};
use proto::v1::agent_client::AgentClient;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{fmt, fs, io, net::SocketAddr, path::PathBuf, time::Duration};
use tokio::sync::watch;
use tonic::{
    Status,
    transport::{self, Certificate, Channel, ClientTlsConfig, Endpoint},
};

/// Prefix of the uids of jobs' traces. An agent may have traces of other clients, which are left alone.
pub const OURS: &str = "tj-";

/// Returns the uid of a job's traces on the agents.
pub fn trace_uid(job_uid: &str) -> String {
    format!("{OURS}{job_uid}")
}

/// Raises the limit of open files to the maximum without privileges: there is a connection to each node's agent, and containers start with
/// 1,024.
pub fn allow_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    // If this fails, the old limit remains: agents without a descriptor are reported as unreachable, with the reason.
    let _ = setrlimit(Resource::Nofile, all);
}

/// Interval of keepalive PINGs to an agent, and timeout of the response.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// Parameters of connections to agents.
#[derive(Clone, Debug)]
pub struct Connector {
    /// Source of the certificates.
    pub tls: Tls,
    /// Name in the certificates of all agents.
    pub name: String,
}

/// Source of certificates, which is read for each connection, because certificates are renewed.
#[derive(Clone)]
pub enum Tls {
    /// A folder of `ca.crt`, `tls.crt` and `tls.key`.
    Folder(PathBuf),
    /// Certificates that this program issues.
    Issued(watch::Receiver<Identity>),
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No key is printed.
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

/// PEM files of a connection to an agent.
#[derive(Clone)]
pub struct Identity {
    /// CA of the agents.
    pub ca: String,
    /// Client certificate.
    pub certificate: String,
    /// Private key of the certificate.
    pub key: String,
}

/// Error of a connection to an agent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The connection failed.
    #[error("{}", rows::text::error_chain(.0))]
    Transport(#[from] tonic::transport::Error),
    /// The handshake timed out.
    #[error("the agent does not respond")]
    Silent,
    /// The agent has no address.
    #[error("the agent has no address")]
    NoAddress,
}

/// Returns the message of a failed call: the agent's, or that of the broken connection.
pub fn said(status: &Status) -> String {
    match status.message() {
        "" => format!("{:?}", status.code()),
        message => message.to_owned(),
    }
}

impl Connector {
    /// Connects to the first of an agent's addresses that responds. Returns that address as well.
    ///
    /// # Errors
    /// The [`Error`] of the last address, if no address can be connected.
    pub async fn connect(
        &self,
        addresses: &[SocketAddr],
    ) -> Result<(AgentClient<Channel>, SocketAddr), Error> {
        let mut last = Error::NoAddress;
        for address in addresses {
            // The timeout includes the handshake, so that a silent server does not block the next address.
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
