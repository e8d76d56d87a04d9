//! How the API server is called: no call and no watch outlives a connection whose other end is gone without a word.

use kube::{Client, Config, runtime::watcher};
use std::time::Duration;

/// How long the API server serves a watch before it is asked anew, in seconds: so long nothing is heard of a cluster at most, where a
/// connection died in silence. Asked anew, it goes on where it was.
const WATCH_SECONDS: u32 = 30;
/// How long the API server may be silent on a connection: longer than a watch in which nothing happens.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);

/// There is no cluster to talk to, or its configuration is unusable.
#[derive(Debug, thiserror::Error)]
pub enum Unconfigured {
    /// Neither a pod's account nor a kubeconfig.
    #[error("no cluster is configured: there is neither a pod's service account nor a kubeconfig")]
    Missing(#[source] Box<kube::config::InferConfigError>),
    /// A client cannot be made of it.
    #[error("the configuration of the cluster cannot be used")]
    Unusable(#[source] Box<kube::Error>),
}

/// A client of the API server, by the pod's service account or a kubeconfig.
///
/// # Errors
/// [`Unconfigured`].
pub async fn api_client() -> Result<Client, Unconfigured> {
    let config = Config::infer().await;
    let mut config = config.map_err(|error| Unconfigured::Missing(Box::new(error)))?;
    config.read_timeout = Some(SILENCE);
    // Else the time that a connection waited for its next request would count.
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(|error| Unconfigured::Unusable(Box::new(error)))
}

/// How objects are watched: all of a kind, until somebody selects.
pub fn watching() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}
