//! The other end of a connection.

use crate::{refused::Refused, requestheader::Proxy};
use listen::places::{Class, Place, Source};
use std::sync::Arc;

/// The peer of a connection, which every request on it carries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    /// The API server, where it is the peer.
    pub(crate) proxy: Option<Arc<Proxy>>,
    /// Its address.
    pub(crate) source: Option<Source>,
    /// The connection's place.
    pub(crate) place: Option<Place>,
}

impl Peer {
    /// Admits the connection, once its caller is authenticated.
    ///
    /// # Errors
    /// Where all connections have open calls.
    pub(crate) fn admit(&self) -> Result<(), Refused> {
        let admitted = self
            .place
            .as_ref()
            .map(|place| place.admit(Class::Ordinary));
        let full = Refused::Busy("as many connections as may be have open calls here");
        admitted.unwrap_or(Ok(())).map_err(|_| full)
    }
}
