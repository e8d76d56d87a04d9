//! Client of the API server, whose calls and watches detect a silently broken connection.

use kube::{Client, Config, runtime::watcher};
use std::time::Duration;

/// Duration of a watch in seconds, after which the client resumes it. It bounds the time without updates after a silently broken
/// connection.
const WATCH_SECONDS: u32 = 30;
/// Read timeout of a connection to the API server: longer than a watch without events.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);

/// Error of the cluster configuration.
#[derive(Debug, thiserror::Error)]
pub enum Unconfigured {
    /// There is neither a pod's service account nor a kubeconfig.
    #[error("no cluster is configured: there is neither a pod's service account nor a kubeconfig")]
    Missing(#[source] Box<kube::config::InferConfigError>),
    /// The configuration is invalid.
    #[error("the configuration of the cluster cannot be used")]
    Unusable(#[source] Box<kube::Error>),
}

/// Returns a client of the API server, configured by the pod's service account or a kubeconfig.
///
/// # Errors
/// [`Unconfigured`].
pub async fn api_client() -> Result<Client, Unconfigured> {
    let config = Config::infer().await;
    let mut config = config.map_err(|error| Unconfigured::Missing(Box::new(error)))?;
    config.read_timeout = Some(SILENCE);
    // Otherwise idle time before a request would count towards the timeout.
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(|error| Unconfigured::Unusable(Box::new(error)))
}

/// Returns the configuration of a watch of all objects of a kind.
pub fn watching() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}
