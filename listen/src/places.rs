//! Places of connections: how many a listener serves at the same time, and which one is closed when there is no room.
//!
//! A connection is pending until its peer has shown who it is, and admitted afterwards. Pending connections have a pool of their own. When
//! it is full, the oldest connection of the address that has most of them makes room, so silent connections keep nobody out. Admitted connections have places of which some
//! are reserved for the peers that matter most.

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

/// The bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Pending connections. A further one closes the oldest of the source that has most.
    pub pending: usize,
    /// Pending connections from one [`Source`]. A further one closes the oldest of that source.
    pub pending_per_source: usize,
    /// The time limit of a pending connection, from accept(2) on.
    pub pending_time: Duration,
    /// Admitted connections. A further one closes the one that has been idle for longest, and is rejected where none is idle.
    pub admitted: usize,
    /// The part of `admitted` that only connections of [`Class::Reserved`] can have.
    pub reserved: usize,
    /// The time limit of an admitted connection without an open call.
    pub idle_time: Duration,
}

/// Which places an admitted connection can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The places that are not reserved.
    Ordinary,
    /// All places.
    Reserved,
}

/// Why a connection was closed or rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It made room for a newer connection from the same source.
    SourceLimit,
    /// It made room for a newer pending connection.
    PendingLimit,
    /// It stayed pending for too long.
    Timeout,
    /// Its TLS handshake failed, or it does not speak the protocol.
    Handshake,
    /// All admitted connections have open calls.
    Full,
    /// It had no open call for too long, or made room for another connection.
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

    /// Returns its word for logs and metrics.
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

/// No place is free, and none can be made free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Where a connection comes from: an IPv4 address, or the /64 of an IPv6 address, which one machine can have as a whole.
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
    /// When it was accepted, or its last call ended.
    since: Instant,
    calls: usize,
    /// Closes the connection, by being dropped.
    _close: oneshot::Sender<()>,
}

impl Entry {
    fn source(&self) -> Option<Source> {
        self.peer.map(|peer| peer.ip().into())
    }
}

impl Places {
    /// Returns the places of a listener, which has this name in the log. `report` receives each rejection.
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

    /// Gives a new connection a pending place. A peer without an address, of a unix socket, has no bound per source.
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
        let look = now + limits.pending_time;
        let connection = Connection::new(stream, place.clone(), closed, look);
        (connection, place)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole when it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a rejection, and logs one now and then.
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

/// The place of one connection. The connection itself gives it back.
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
    /// Moves the connection out of the pending ones: its peer is known. Does nothing where it has been admitted already.
    ///
    /// # Errors
    /// Where no place of its class is free, and no connection that could make room is idle. It stays pending then.
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

    /// Reports that the handshake failed, where the connection was not closed for another reason.
    pub fn handshake_failed(&self, error: &str) {
        let mut state = self.shared.state();
        if let Some(entry) = state.pending.get(self.id) {
            let peer = entry.peer;
            self.shared
                .reject(&mut state, peer, Reason::Handshake, error);
            state.pending.remove(self.id);
        }
    }

    /// The class of an admitted connection; any other is ordinary.
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
        // One that was closed has nothing to count.
        if let Some(entry) = entry.or_else(|| admitted.get_mut(&self.id)) {
            change(entry);
        }
    }

    /// Returns when the connection's time limit has to be looked at next. None: it is over, and reported.
    fn next_look(&self, now: Instant) -> Option<Instant> {
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
        self.leave(&mut state);
        None
    }

    fn leave(&self, state: &mut State) {
        state.pending.remove(self.id);
        state.admitted.remove(&self.id);
    }
}

/// An open call of a connection.
#[derive(Debug)]
pub struct Call(Place);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.change(|entry| {
            entry.calls -= 1;
            // A pending connection's time goes on.
            if entry.calls == 0 {
                entry.since = entry.since.max(Instant::now());
            }
        });
    }
}

#[cfg(test)]
mod tests;
