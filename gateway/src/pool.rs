//! Connections to agents: one for each agent with readers, shared by all of them.

use crate::counters::Counters;
use fleet::{Addresses, Connector};
use metrics::OneOf;
use proto::v1::agent_client::AgentClient;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::Semaphore;
use tonic::transport::Channel;

/// Maximum number of concurrent connection attempts.
const AT_ONCE: usize = 256;

/// All connections to agents.
pub(crate) struct Pool {
    connector: Connector,
    known: Mutex<HashMap<Addresses, Weak<Connection>>>,
    at_once: Semaphore,
    counters: Arc<Counters>,
}

/// A connection to an agent, which is closed with its last user.
pub(crate) struct Connection {
    pub(crate) client: AgentClient<Channel>,
    _connected: OneOf,
}

impl Pool {
    pub(crate) fn new(connector: Connector, counters: Arc<Counters>) -> Self {
        Self {
            connector,
            known: Mutex::default(),
            at_once: Semaphore::new(AT_ONCE),
            counters,
        }
    }

    /// Returns the open connection to an agent, or opens one.
    ///
    /// # Errors
    /// If the agent cannot be connected.
    pub(crate) async fn get(&self, address: &Addresses) -> Result<Arc<Connection>, String> {
        if let Some(known) = self.known().get(address).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let _one_of_many = self.at_once.acquire().await;
        let connected = self.connector.connect(address).await;
        let (client, _) = connected.map_err(|error| error.to_string())?;
        let connection = Arc::new(Connection {
            client,
            _connected: self.counters.connected(),
        });
        let mut known = self.known();
        known.retain(|_, connection| connection.strong_count() > 0);
        known.insert(Arc::clone(address), Arc::downgrade(&connection));
        Ok(connection)
    }

    /// Removes a broken connection, so that the next caller opens a new one.
    pub(crate) fn forget(&self, address: &Addresses, broken: &Arc<Connection>) {
        let mut known = self.known();
        let same = |known: &Weak<Connection>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(broken));
        if known.get(address).is_some_and(same) {
            known.remove(address);
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Addresses, Weak<Connection>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
