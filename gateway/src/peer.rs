//! Peers of connections.

use crate::{refused::Refused, requestheader::Proxy};
use listen::places::{Class, Place, Source};
use std::sync::Arc;

/// The peer of a connection, an extension of every request on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    /// Headers of the API server, if it is the peer.
    pub(crate) proxy: Option<Arc<Proxy>>,
    /// Source address.
    pub(crate) source: Option<Source>,
    /// Place of the connection.
    pub(crate) place: Option<Place>,
}

impl Peer {
    /// Admits the connection, after its caller is authenticated.
    ///
    /// # Errors
    /// [`Refused::Busy`] if all connections have open calls.
    pub(crate) fn admit(&self) -> Result<(), Refused> {
        let admitted = self
            .place
            .as_ref()
            .map(|place| place.admit(Class::Ordinary));
        let full = Refused::Busy("the limit of connections with open calls is reached");
        admitted.unwrap_or(Ok(())).map_err(|_| full)
    }
}
