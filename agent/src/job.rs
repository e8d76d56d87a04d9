//! One trace: its state, its books, its log.

use super::{
    caller::{Caller, Identity},
    failures::Failures,
    limits::{FAILURES_SHOWN_BYTES, MESSAGE_BYTES},
    log::Log,
    policy::Denied,
    refuse::{self, Refusal},
    text::cut,
    wire::{self, Violation},
};
use engine::{Account, Bounds, Change, Error, Handle, Reason, Target};
use proto::v1::{self, State, stream_events_response::Item};
use std::{
    collections::HashSet,
    hash::{BuildHasher, Hasher, RandomState},
    iter,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::sync::Semaphore;
use tonic::Status;

/// One trace, from the moment that it is asked for until it is forgotten.
pub(crate) struct Job {
    pub(super) uid: String,
    pub(super) generation: u64,
    /// Digest of the spec, by which the same start is known.
    pub(super) digest: u64,
    /// Who asked for it.
    pub(super) caller: Caller,
    /// Whether it belongs to the call that started it, and to nobody else.
    is_of_a_call: bool,
    pub(crate) schema: v1::Schema,
    pub(super) share: Share,
    pub(crate) log: Log,
    state: Mutex<Now>,
    /// Held by the update of its targets that is being done.
    updates: tokio::sync::Mutex<()>,
    /// Closed when it runs, or does not.
    starting: Semaphore,
}

/// What a trace has of the node, and for whom.
#[derive(Clone, Debug)]
pub(super) struct Share {
    /// Bytes of memory, at most.
    pub(super) bytes: u64,
    /// The namespace of its first targets; empty where they have none.
    pub(super) namespace: String,
}

/// What the uid of a trace of one call begins with.
pub(super) const OF_A_CALL: &str = "call:";

/// The target of a change, and whether the change adds it.
fn changed_target(change: &v1::Change) -> (Option<v1::Target>, bool) {
    use v1::change::Change::{Add, Only, Remove};
    match &change.change {
        Some(Add(target)) => (Some(target.clone()), true),
        Some(Remove(target)) => (Some(target.clone()), false),
        // None in particular.
        Some(Only(_)) | None => (None, false),
    }
}

/// Takes out the additions that are not allowed, of each change why. A target that was selected before it was denied is not kept.
fn divide(
    changes: Vec<Change>,
    allowed: impl Fn(&Target) -> Result<(), Denied>,
) -> (Vec<Change>, Vec<Option<Denied>>) {
    let (mut rest, mut denials, mut denied) = (Vec::new(), Vec::new(), HashSet::new());
    for change in changes {
        let denial = match &change {
            Change::Add(target) => allowed(target).err(),
            Change::Remove(_) | Change::Only(_) => None,
        };
        match change {
            Change::Add(target) if denial.is_some() => drop(denied.insert(target.whom)),
            change => rest.push(change),
        }
        denials.push(denial);
    }
    for change in &mut rest {
        if let Change::Only(kept) = change {
            kept.retain(|whom| !denied.contains(whom));
        }
    }
    (rest, denials)
}

/// The outcomes of all changes in their order, of those that were carried out and the others; none where the trace is over.
fn with_denials(
    denials: Vec<Option<Denied>>,
    outcomes: Vec<Result<(), Error>>,
) -> Vec<Result<(), Error>> {
    if outcomes.is_empty() {
        return outcomes;
    }
    let mut outcomes = outcomes.into_iter();
    let each = |denial| match denial {
        Some(Denied { line, why }) => Some(Err(Error::Denied { line, why })),
        None => outcomes.next(),
    };
    let mut all: Vec<_> = denials.into_iter().filter_map(each).collect();
    all.extend(outcomes);
    all
}

struct Now {
    state: State,
    account: Account,
    /// Reason and message, where it failed.
    failure: Option<(Reason, String)>,
    handle: Option<Handle>,
    stop: bool,
    /// Of the newest update that is applied.
    targets_version: u64,
    target_failures: Failures,
    ended: Option<Instant>,
    /// Of the last change.
    version: u64,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked left a state that is whole: every change is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    /// One that is yet to be started.
    pub(super) fn new(
        uid: String,
        generation: u64,
        digest: u64,
        caller: Caller,
        schema: v1::Schema,
        share: Share,
        replay_bytes: usize,
    ) -> Self {
        Self {
            // No client can call its own so: `check_uid`.
            is_of_a_call: uid.starts_with(OF_A_CALL),
            uid,
            generation,
            digest,
            caller,
            schema: v1::Schema {
                // By chance, and never 0: an agent that is started anew must not come upon the same.
                instance: RandomState::new().build_hasher().finish() | 1,
                ..schema
            },
            share,
            log: Log::new(replay_bytes),
            state: Mutex::new(Now {
                state: State::Starting,
                account: Account::default(),
                failure: None,
                handle: None,
                stop: false,
                targets_version: 0,
                target_failures: Failures::default(),
                ended: None,
                version: 0,
            }),
            updates: tokio::sync::Mutex::default(),
            starting: Semaphore::new(0),
        }
    }

    /// It runs without the targets that were missing, and ends at once where it was asked to meanwhile.
    pub(super) fn runs(&self, handle: Handle, missing: &[(usize, Error)], targets: &[v1::Target]) {
        let mut now = lock(&self.state);
        for (at, error) in missing {
            let target = targets.get(*at).cloned();
            now.target_failures.failed(0, target, error);
        }
        if now.stop {
            handle.stop();
        }
        now.handle = Some(handle);
        now.state = State::Running;
        self.starting.close();
    }

    /// Its books so far.
    pub(super) fn book(&self, account: Account) {
        lock(&self.state).account = account;
    }

    /// The last of its books.
    pub(super) fn account(&self) -> Account {
        lock(&self.state).account.clone()
    }

    /// The number of all traces' last change that was its own.
    pub(super) fn version(&self) -> u64 {
        lock(&self.state).version
    }

    /// The same of this change.
    pub(super) fn changed(&self, version: u64) {
        lock(&self.state).version = version;
    }

    /// What was lost since, to those who read.
    pub(super) fn tell_losses(&self, before: &Account, now: &Account) {
        if let Some(lost) = wire::lost_since(before, now) {
            self.log.push(Item::Lost(lost), 256);
        }
    }

    /// Whether a caller may change and replace it, which takes its identity.
    pub(super) fn is_of(&self, identity: &Identity) -> bool {
        !self.is_of_a_call && self.caller.identity == *identity
    }

    /// Whether it was asked to end.
    pub(super) fn is_stopped(&self) -> bool {
        lock(&self.state).stop
    }

    /// What a client sees of it.
    pub(crate) fn status(&self) -> v1::TraceStatus {
        self.status_within(FAILURES_SHOWN_BYTES)
    }

    /// The same, with no more failures of targets than these bytes hold.
    pub(super) fn status_within(&self, room: usize) -> v1::TraceStatus {
        let now = lock(&self.state);
        let failure = now.failure.clone();
        let (reason, message) = failure.map_or_else(Default::default, |(reason, message)| {
            (reason.word(), message)
        });
        v1::TraceStatus {
            uid: self.uid.clone(),
            generation: self.generation,
            tracer: self.schema.tracer.clone(),
            state: now.state.into(),
            account: Some(wire::account(&now.account)),
            message,
            reason: reason.to_owned(),
            targets_version: now.targets_version,
            target_failures: now.target_failures.shown(room.min(FAILURES_SHOWN_BYTES)),
            targets_failed: now.target_failures.count(),
            filter: self.schema.filter.clone(),
        }
    }

    /// Changes whom it traces. What cannot be done or is not allowed is told in its status; the rest is done. Returns the first denial.
    ///
    /// # Errors
    /// Where a change cannot be understood, or none is allowed, or the update is not newer than the last: then nothing of it is done.
    /// A trace of a call has no status, so there one denial refuses all.
    pub(super) async fn update(
        &self,
        update: v1::Update,
        allowed: impl Fn(&Target) -> Result<(), Denied>,
        bounds: Bounds,
    ) -> Result<Option<Status>, Status> {
        let v1::Update { version, changes } = update;
        let targets: Vec<(Option<v1::Target>, bool)> = changes.iter().map(changed_target).collect();
        let changes = changes
            .into_iter()
            .map(wire::change)
            .collect::<Result<Vec<_>, _>>()
            .map_err(Refusal::Invalid)?;
        let (changes, denials) = divide(changes, allowed);
        let denied = denials.iter().flatten().next().cloned();
        let denied = denied.map(|denied| Status::from(Refusal::Denied(denied)));
        if let Some(denied) = &denied
            && (changes.is_empty() || self.is_of_a_call)
        {
            return Err(denied.clone());
        }
        // It has none, ever: this waits until nobody can get any more.
        let _ = self.starting.acquire().await;
        // One after the other: an older one must not come after a newer one.
        let _turn = self.updates.lock().await;
        let handle = {
            let now = lock(&self.state);
            if version <= now.targets_version {
                let known = now.targets_version;
                return Err(Refusal::OldVersion { known }.into());
            }
            now.handle.clone()
        };
        let outcomes = match handle {
            Some(handle) => tokio::task::spawn_blocking(move || handle.change(changes, bounds))
                .await
                .map_err(|panicked| Status::internal(format!("a bug: {panicked}")))?,
            // It is over: nothing is left to change.
            None => Vec::new(),
        };
        let outcomes = with_denials(denials, outcomes);
        // What concerns none of them in particular comes after them.
        let targets = targets.into_iter().chain(iter::repeat((None, false)));
        let mut now = lock(&self.state);
        // The one without a target is of this update alone.
        now.target_failures.selected(None);
        for ((target, is_added), outcome) in targets.zip(outcomes) {
            match outcome {
                Err(error) => now.target_failures.failed(version, target, &error),
                Ok(()) if is_added => now.target_failures.selected(target.as_ref()),
                Ok(()) => {}
            }
        }
        now.targets_version = version;
        Ok(denied)
    }

    /// Why reading it failed.
    pub(crate) fn failure(&self) -> Option<Status> {
        let now = lock(&self.state);
        let (reason, message) = now.failure.as_ref()?;
        Some(refuse::failed(*reason, message))
    }

    /// Asks it to end; what it has seen follows.
    pub(crate) fn stop(&self) {
        let mut now = lock(&self.state);
        now.stop = true;
        if let Some(handle) = &now.handle {
            handle.stop();
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.ended().is_some()
    }

    pub(super) fn ended(&self) -> Option<Instant> {
        lock(&self.state).ended
    }

    /// It is over; why it failed, where it did.
    pub(super) fn end(&self, failure: Option<(Reason, String)>) {
        {
            let mut now = lock(&self.state);
            now.state = match failure {
                None => State::Ended,
                Some(_) => State::Failed,
            };
            now.failure = failure.map(|(reason, why)| (reason, cut(why, MESSAGE_BYTES)));
            now.handle = None;
            now.ended = Some(Instant::now());
        }
        self.starting.close();
        self.log.close();
    }
}

/// 1 to 63 letters, digits, '-', '_' and '.': it comes back in logs and audit lines.
pub(super) fn check_uid(uid: &str) -> Result<(), Violation> {
    let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match (1..=63).contains(&uid.len()) && uid.chars().all(known) {
        true => Ok(()),
        false => Err(Violation {
            field: "uid",
            why: "expected 1 to 63 letters, digits, '-', '_' and '.'".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_cannot_write_to_a_log() {
        for uid in ["", "a b", "a\nb", "call:1", &"a".repeat(64), "é"] {
            assert!(check_uid(uid).is_err(), "{uid:?}");
        }
        assert!(check_uid("6d1f-4c.b_2").is_ok());
    }
}
