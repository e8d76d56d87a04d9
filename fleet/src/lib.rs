//! The agents of a cluster as those see them who call them: where they are, by what certificates they are called, and what their
//! traces of jobs are called.
//!
//! It knows neither what is asked of them nor who asks.
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
