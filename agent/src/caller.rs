//! Callers: a trace belongs to the identity that started it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// An identity. Connections with the same identity are the same caller, such as a controller's replicas, or a client with a new certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// A user of this host, over a unix socket.
    User(u32),
    /// The name that gives a certificate its role.
    Name(String),
    /// Unidentified, without a role.
    Unknown,
}

/// The origin of a call.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Name in the audit.
    pub(crate) who: String,
    pub(crate) identity: Identity,
    /// Whether it may stop traces of others: root or the agent's own user, over a unix socket.
    pub(crate) is_admin: bool,
}

/// A number of something that each caller may have at once.
#[derive(Debug)]
pub(crate) struct Shares {
    most: usize,
    taken: Mutex<HashMap<Identity, usize>>,
}

/// A part of a caller's share, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    of: Arc<Shares>,
    identity: Identity,
    taken: usize,
}

impl Shares {
    /// Shares of which each caller has this many.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let taken = Mutex::default();
        Arc::new(Self { most, taken })
    }

    /// A part of a caller's share that is empty as yet.
    pub(crate) fn of(self: &Arc<Self>, identity: Identity) -> Share {
        let of = Arc::clone(self);
        Share {
            of,
            identity,
            taken: 0,
        }
    }
}

impl Share {
    /// Takes this many more; whether there were as many.
    pub(crate) fn take(&mut self, more: usize) -> bool {
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all = taken.get(&self.identity).copied().unwrap_or(0) + more;
        let fits = all <= self.of.most;
        if fits && more > 0 {
            taken.insert(self.identity.clone(), all);
            self.taken += more;
        }
        fits
    }

    /// Gives this many back.
    pub(crate) fn give_back(&mut self, less: usize) {
        let given = less.min(self.taken);
        self.taken -= given;
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(all) = taken.get_mut(&self.identity) {
            *all -= given;
            if *all == 0 {
                taken.remove(&self.identity);
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_takes_no_more_than_its_share_and_others_have_theirs() {
        let shares = Shares::new(3);
        let mut a = shares.of(Identity::User(1));
        let mut again = shares.of(Identity::User(1));
        assert!(a.take(2) && again.take(1));
        assert!(!a.take(1) && !again.take(1));
        assert!(shares.of(Identity::Name("b".to_owned())).take(3));
        drop(a);
        assert!(again.take(2) && !again.take(1));
        again.give_back(2);
        assert!(again.take(2) && !again.take(1));
        drop(again);
        assert!(shares.taken.lock().unwrap().is_empty());
    }
}
