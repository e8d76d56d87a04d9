//! A connection to an agent, by mutual TLS.

use crate::certificates::Identity;
use proto::v1::agent_client::AgentClient;
use std::{fmt, fs, io, net::SocketAddr, path::PathBuf, time::Duration};
use tokio::sync::watch;
use tonic::transport::{self, Certificate, Channel, ClientTlsConfig, Endpoint};

/// The largest message that is taken: as much as an agent's last table may have.
const MESSAGE_BYTES: usize = 32 << 20;
/// How long an agent may take to answer its phone.
const CONNECT: Duration = Duration::from_secs(5);
/// How often it is asked whether it is there, and how long it may take to say so.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// How agents are called.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    pub(crate) tls: Tls,
    /// The name in every agent's certificate.
    pub(crate) name: String,
}

/// Where certificates come from; asked for each connection, because they are replaced now and then.
#[derive(Clone)]
pub(crate) enum Tls {
    /// A folder of `ca.crt`, `tls.crt` and `tls.key`.
    Folder(PathBuf),
    /// Of the controller's own.
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

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}", causes(.0))]
    Transport(#[from] tonic::transport::Error),
}

/// An error with everything that led to it.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let all: Vec<String> = chain.map(ToString::to_string).collect();
    all.join(": ")
}

impl Connector {
    pub(super) async fn connect(&self, address: SocketAddr) -> Result<AgentClient<Channel>, Error> {
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
