//! A connection to an agent, by mutual TLS.

use proto::v1::agent_client::AgentClient;
use std::{fs, io, net::SocketAddr, path::PathBuf, time::Duration};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// The largest message that is taken: as much as an agent's last table may have.
const MESSAGE_BYTES: usize = 32 << 20;
/// How long an agent may take to answer its phone.
const CONNECT: Duration = Duration::from_secs(5);
/// How often it is asked whether it is there, and how long it may take to say so.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// How agents are called.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    /// The folder of `ca.crt`, `tls.crt` and `tls.key`, read for each connection: they are replaced now and then.
    pub(crate) tls: PathBuf,
    /// The name in every agent's certificate.
    pub(crate) name: String,
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
        let read = |name: &str| {
            let path = self.tls.join(name);
            fs::read(&path).map_err(|source| Error::File { path, source })
        };
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read("ca.crt")?))
            .identity(Identity::from_pem(read("tls.crt")?, read("tls.key")?))
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
