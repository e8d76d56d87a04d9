//! Agents as sources of rows: requests and answers. The peer is not trusted: no answer causes a panic, fills memory, or reaches a
//! terminal unescaped.

mod account;
mod address;
mod error;
mod follow;
pub(crate) mod fuzzing;
mod request;
mod trace;

pub(crate) use account::{Beside, Gaps, Node, State};
pub(crate) use address::{Address, Files, Place};
pub(crate) use error::{Error, words};
pub(crate) use follow::Follow;
pub(crate) use request::spec;
pub(crate) use trace::Trace;

use crate::limits::MESSAGE_BYTES;
use proto::v1::{self, agent_client::AgentClient};
use std::{sync::Arc, time::Duration};
use tokio::runtime::Runtime;
use tonic::{Status, transport::Channel};

/// Timeout of the list of tracers: the agent tests every hook.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Connection to an agent.
pub(crate) struct Agent {
    address: Address,
    /// Runtime that answers the agent's keepalives, also while the output blocks.
    runtime: Arc<Runtime>,
    client: AgentClient<Channel>,
}

impl Agent {
    /// Connects to an agent.
    ///
    /// # Errors
    /// If there is no connection, or the peer is not an agent.
    pub(crate) fn connect(address: &Address) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| address.unreachable(&error))?;
        let endpoint = address.endpoint()?;
        let channel = runtime
            .block_on(endpoint.connect())
            .map_err(|error| address.unreachable(&error))?;
        Ok(Self {
            address: address.clone(),
            runtime: Arc::new(runtime),
            client: AgentClient::new(channel).max_decoding_message_size(MESSAGE_BYTES),
        })
    }

    /// Returns the URL from the command line.
    pub(crate) fn url(&self) -> &str {
        self.address.url()
    }

    /// Returns the tracers that work on the agent's node.
    ///
    /// # Errors
    /// If the agent does not answer.
    pub(crate) fn capabilities(&self) -> Result<v1::GetCapabilitiesResponse, Error> {
        let mut client = self.client.clone();
        let requested = async move {
            let answer = client.get_capabilities(v1::GetCapabilitiesRequest {});
            tokio::time::timeout(TIMEOUT, answer).await
        };
        match self.runtime.block_on(requested) {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.refused_at_first(&status)),
            Err(_) => Err(Error::Timeout {
                url: self.url().to_owned(),
                seconds: TIMEOUT.as_secs(),
            }),
        }
    }

    fn refused(&self, status: &Status) -> Error {
        Error::of(status, self.url())
    }

    /// Converts a status of the first call. A connection that is closed before any answer was rejected: TLS 1.3 reports a rejected
    /// certificate only then.
    fn refused_at_first(&self, status: &Status) -> Error {
        match self.refused(status) {
            Error::Gone { url, why } => Error::Unreachable {
                url,
                why,
                next: self.address.not_let_in(),
            },
            other => other,
        }
    }
}
