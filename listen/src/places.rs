//! Places of connections: the number of connections that a listener serves at the same time, and the choice of the connection to close when
//! all places are taken.
//!
//! A connection is pending until its peer is authenticated, and admitted afterwards. Pending connections have a pool of their own. When the
//! pool is full, the oldest connection of the source with the most connections is closed, so silent connections do not block other clients.
//! Some places of admitted connections are reserved for the most important peers.

mod connection;
mod pending;

pub use connection::Connection;

use crate::limits::LOG_INTERVAL;
use pending::Pending;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::oneshot, time::Instant};

/// Limits of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Pending connections. A further one closes the oldest connection of the source with the most connections.
    pub pending: usize,
    /// Pending connections from one [`Source`]. A further one closes the oldest connection of that source.
    pub pending_per_source: usize,
    /// The time limit of a pending connection, from accept(2) on.
    pub pending_time: Duration,
    /// Admitted connections. A further one closes the connection with the longest idle time, and is rejected if none is idle.
    pub admitted: usize,
    /// Number of the `admitted` places that are reserved for connections of [`Class::Reserved`].
    pub reserved: usize,
    /// The time limit of an admitted connection without an open call.
    pub idle_time: Duration,
}

/// The class of an admitted connection, which determines its places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The places that are not reserved.
    Ordinary,
    /// All places.
    Reserved,
}

/// The reason why a connection was closed or rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The connection was closed for a newer one from the same source.
    SourceLimit,
    /// The connection was closed for a newer pending one.
    PendingLimit,
    /// The connection was pending for too long.
    Timeout,
    /// The TLS handshake failed, or the peer does not use the protocol.
    Handshake,
    /// All admitted connections have open calls.
    Full,
    /// The connection had no open call for too long, or was closed for another connection.
    Idle,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::SourceLimit,
        Self::PendingLimit,
        Self::Timeout,
        Self::Handshake,
        Self::Full,
        Self::Idle,
    ];

    /// Returns the word of the reason in logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::SourceLimit => "source_limit",
            Self::PendingLimit => "pending_limit",
            Self::Timeout => "timeout",
            Self::Handshake => "handshake",
            Self::Full => "full",
            Self::Idle => "idle",
        }
    }
}

/// Error of an admission: no place is free, and no idle connection can be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The source of a connection: an IPv4 address, or the /64 of an IPv6 address, because one machine can have a whole /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address.
    V6(u64),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// The places of one listener.
#[derive(Clone)]
pub struct Places(Arc<Shared>);

struct Shared {
    listener: &'static str,
    limits: Limits,
    report: Box<dyn Fn(Reason) + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    pending: Pending,
    admitted: BTreeMap<u64, Entry>,
    logged: Option<Instant>,
    /// Rejected connections since the last log line.
    unlogged: u64,
}

struct Entry {
    peer: Option<SocketAddr>,
    class: Class,
    /// Time at which the connection was accepted, or its last call ended.
    since: Instant,
    calls: usize,
    /// Closes the connection when it is dropped.
    _close: oneshot::Sender<()>,
}

impl Entry {
    fn source(&self) -> Option<Source> {
        self.peer.map(|peer| peer.ip().into())
    }
}

impl Places {
    /// Returns the places of a listener with this name in the log. `report` receives each rejection.
    pub fn new(
        listener: &'static str,
        limits: Limits,
        report: impl Fn(Reason) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            listener,
            limits,
            report: Box::new(report),
            state: Mutex::default(),
        }))
    }

    /// Gives a new connection a pending place. A peer of a unix socket has no address, and no limit per source.
    pub fn connect<S>(&self, stream: S, peer: Option<SocketAddr>) -> (Connection<S>, Place) {
        let limits = &self.0.limits;
        let source = peer.map(|peer| Source::from(peer.ip()));
        let mut state = self.0.state();
        let pending = &state.pending;
        let closes = if source.is_some() && pending.of_source(source) >= limits.pending_per_source {
            let oldest = pending.oldest_of(source);
            oldest.map(|id| (id, Reason::SourceLimit))
        } else if pending.len() >= limits.pending {
            let oldest = pending.oldest_of_busiest();
            oldest.map(|id| (id, Reason::PendingLimit))
        } else {
            None
        };
        if let Some((id, reason)) = closes {
            let closed = state.pending.remove(id);
            let peer = closed.and_then(|entry| entry.peer);
            self.0.reject(&mut state, peer, reason, "");
        }
        let (close, closed) = oneshot::channel();
        let now = Instant::now();
        let id = state.next;
        state.next += 1;
        let entry = Entry {
            peer,
            class: Class::Ordinary,
            since: now,
            calls: 0,
            _close: close,
        };
        state.pending.insert(id, entry);
        drop(state);
        let place = Place {
            shared: Arc::clone(&self.0),
            id,
        };
        let check_at = now + limits.pending_time;
        let connection = Connection::new(stream, place.clone(), closed, check_at);
        (connection, place)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No change is incomplete at a point that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a rejection, and logs it if the last log line is old enough.
    fn reject(&self, state: &mut State, peer: Option<SocketAddr>, reason: Reason, error: &str) {
        (self.report)(reason);
        let now = Instant::now();
        if state.logged.is_some_and(|last| now < last + LOG_INTERVAL) {
            state.unlogged += 1;
            return;
        }
        state.logged = Some(now);
        let more = std::mem::take(&mut state.unlogged);
        let (listener, reason) = (self.listener, reason.word());
        let peer = peer.map_or_else(|| "a unix socket".to_owned(), |peer| peer.to_string());
        tracing::warn!(
            listener,
            peer,
            reason,
            error,
            unlogged = more,
            "connection rejected"
        );
    }
}

/// The place of one connection. Dropping the [`Connection`] frees it.
#[derive(Clone)]
pub struct Place {
    shared: Arc<Shared>,
    id: u64,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Place({})", self.id)
    }
}

impl Place {
    /// Moves the connection from the pending to the admitted ones, because its peer is authenticated. Does nothing if the connection is
    /// admitted already.
    ///
    /// # Errors
    /// [`Full`] if no place of the class is free, and no connection that could be closed is idle. The connection stays pending then.
    pub fn admit(&self, class: Class) -> Result<(), Full> {
        let limits = &self.shared.limits;
        let mut state = self.shared.state();
        if state.admitted.contains_key(&self.id) {
            return Ok(());
        }
        if state.pending.get(self.id).is_none() {
            return Err(Full);
        }
        let all = state.admitted.len();
        let ordinary = state.admitted.values();
        let ordinary = ordinary.filter(|entry| entry.class == Class::Ordinary);
        let for_ordinary = limits.admitted.saturating_sub(limits.reserved);
        let is_full =
            all >= limits.admitted || class == Class::Ordinary && ordinary.count() >= for_ordinary;
        if is_full {
            let idle = state.admitted.iter();
            let idle = idle.filter(|(_, entry)| entry.calls == 0 && entry.class <= class);
            let idle = idle.min_by_key(|(_, entry)| (entry.class, entry.since));
            let (closed, reason) = match idle.map(|(id, _)| *id) {
                Some(id) => (state.admitted.remove(&id), Reason::Idle),
                None => (None, Reason::Full),
            };
            let closed = closed.as_ref().or_else(|| state.pending.get(self.id));
            let peer = closed.and_then(|entry| entry.peer);
            self.shared.reject(&mut state, peer, reason, "");
            if reason == Reason::Full {
                return Err(Full);
            }
        }
        if let Some(mut entry) = state.pending.remove(self.id) {
            entry.class = class;
            entry.since = Instant::now();
            state.admitted.insert(self.id, entry);
        }
        Ok(())
    }

    /// Counts a call as open until the returned value is dropped.
    pub fn call(&self) -> Call {
        self.change(|entry| entry.calls += 1);
        Call(self.clone())
    }

    /// Reports a failed handshake, unless the connection was closed for another reason.
    pub fn handshake_failed(&self, error: &str) {
        let mut state = self.shared.state();
        if let Some(entry) = state.pending.get(self.id) {
            let peer = entry.peer;
            self.shared
                .reject(&mut state, peer, Reason::Handshake, error);
            state.pending.remove(self.id);
        }
    }

    /// Returns the class of an admitted connection; a pending connection is ordinary.
    fn class(&self) -> Class {
        let state = self.shared.state();
        let entry = state.admitted.get(&self.id);
        entry.map_or(Class::Ordinary, |entry| entry.class)
    }

    fn change(&self, change: impl FnOnce(&mut Entry)) {
        let mut state = self.shared.state();
        let State {
            pending, admitted, ..
        } = &mut *state;
        let entry = pending.get_mut(self.id);
        // A closed connection has no entry.
        if let Some(entry) = entry.or_else(|| admitted.get_mut(&self.id)) {
            change(entry);
        }
    }

    /// Returns the time of the next check of the connection's time limit; `None` if the limit is exceeded, which is reported.
    fn next_check(&self, now: Instant) -> Option<Instant> {
        let limits = &self.shared.limits;
        let mut state = self.shared.state();
        let (entry, limit, reason) = match state.pending.get(self.id) {
            Some(entry) => (entry, limits.pending_time, Reason::Timeout),
            None => (
                state.admitted.get(&self.id)?,
                limits.idle_time,
                Reason::Idle,
            ),
        };
        let (peer, end) = (entry.peer, entry.since + limit);
        if reason == Reason::Idle && entry.calls > 0 {
            return Some(now + limit);
        }
        if now < end {
            return Some(end);
        }
        self.shared.reject(&mut state, peer, reason, "");
        self.free(&mut state);
        None
    }

    fn free(&self, state: &mut State) {
        state.pending.remove(self.id);
        state.admitted.remove(&self.id);
    }
}

/// An open call of a connection. Dropping it ends the call.
#[derive(Debug)]
pub struct Call(Place);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.change(|entry| {
            entry.calls -= 1;
            // The time limit of a pending connection is not extended.
            if entry.calls == 0 {
                entry.since = entry.since.max(Instant::now());
            }
        });
    }
}

#[cfg(test)]
mod tests;
