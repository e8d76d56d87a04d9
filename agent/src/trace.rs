//! One trace of this agent: its state, its account and its log.

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

/// A trace, from its start request until it is removed from the registry.
pub(crate) struct Trace {
    pub(super) uid: String,
    pub(super) generation: u64,
    /// Digest of the spec, which identifies a repeated start.
    pub(super) digest: u64,
    /// Caller that started the trace.
    pub(super) caller: Caller,
    /// Whether the trace belongs to the `Trace` call that started it. No other call may change it.
    belongs_to_call: bool,
    pub(crate) schema: v1::Schema,
    pub(super) share: Share,
    pub(crate) log: Log,
    current: Mutex<Current>,
    /// Held during an update of the targets, so that updates are applied one at a time.
    updates: tokio::sync::Mutex<()>,
    /// Closed when the start has succeeded or failed.
    starting: Semaphore,
}

/// Resources of the node that a trace occupies, and the namespace that they are counted for.
#[derive(Clone, Debug)]
pub(super) struct Share {
    /// Maximum memory in bytes.
    pub(super) bytes: u64,
    /// Namespace of the first target that has one; empty if no target has one.
    pub(super) namespace: String,
}

/// Prefix of the uids of traces that belong to a call. `check_uid` rejects it in requests.
pub(super) const CALL_UID_PREFIX: &str = "call:";

/// Returns the target of a change, and whether the change adds it.
fn changed_target(change: &v1::Change) -> (Option<v1::Target>, bool) {
    use v1::change::Change::{Add, Only, Remove};
    match &change.change {
        Some(Add(target)) => (Some(target.clone()), true),
        Some(Remove(target)) => (Some(target.clone()), false),
        // Concerns no single target.
        Some(Only(_)) | None => (None, false),
    }
}

/// Removes denied additions from the changes. Returns the remaining changes, and the denial of each original change.
///
/// A denied target is also removed from `Only`, in case it was selected before it was denied.
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
            Change::Add(target) if denial.is_some() => drop(denied.insert(target.selector)),
            change => rest.push(change),
        }
        denials.push(denial);
    }
    for change in &mut rest {
        if let Change::Only(kept) = change {
            kept.retain(|selector| !denied.contains(selector));
        }
    }
    (rest, denials)
}

/// Merges the denials with the outcomes of the other changes, in the order of the changes. Returns nothing if the trace has ended.
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

/// The part of a trace that changes.
struct Current {
    state: State,
    account: Account,
    /// Reason and message of a failure.
    failure: Option<(Reason, String)>,
    handle: Option<Handle>,
    stop: bool,
    /// Version of the newest update that was applied.
    targets_version: u64,
    target_failures: Failures,
    ended: Option<Instant>,
    /// Number of the last change, among the changes of all traces.
    version: u64,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // After a panic the value is still consistent, because every change is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trace {
    /// Creates a trace whose programs are not loaded yet.
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
            // A client cannot choose such a uid: `check_uid`.
            belongs_to_call: uid.starts_with(CALL_UID_PREFIX),
            uid,
            generation,
            digest,
            caller,
            schema: v1::Schema {
                // Random and never 0, so that a restarted agent does not use the same number.
                instance: RandomState::new().build_hasher().finish() | 1,
                ..schema
            },
            share,
            log: Log::new(replay_bytes),
            current: Mutex::new(Current {
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

    /// Records that the programs run, and which targets are missing. Stops the trace if its end was requested meanwhile.
    pub(super) fn runs(&self, handle: Handle, missing: &[(usize, Error)], targets: &[v1::Target]) {
        let mut now = lock(&self.current);
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

    /// Replaces the account.
    pub(super) fn set_account(&self, account: Account) {
        lock(&self.current).account = account;
    }

    /// Returns the newest account.
    pub(super) fn account(&self) -> Account {
        lock(&self.current).account.clone()
    }

    /// Returns the number of the last change.
    pub(super) fn version(&self) -> u64 {
        lock(&self.current).version
    }

    /// Records the number of a change.
    pub(super) fn changed(&self, version: u64) {
        lock(&self.current).version = version;
    }

    /// Sends the losses between two accounts to the readers.
    pub(super) fn report_losses(&self, before: &Account, now: &Account) {
        if let Some(lost) = wire::lost_since(before, now) {
            self.log.push(Item::Lost(lost), 256);
        }
    }

    /// Returns whether the caller has the identity that started the trace, and may change and replace it.
    pub(super) fn is_of(&self, identity: &Identity) -> bool {
        !self.belongs_to_call && self.caller.identity == *identity
    }

    /// Returns whether the end was requested.
    pub(super) fn is_stopped(&self) -> bool {
        lock(&self.current).stop
    }

    /// Returns the status as clients see it.
    pub(crate) fn status(&self) -> v1::TraceStatus {
        self.status_within(FAILURES_SHOWN_BYTES)
    }

    /// Returns the status with at most `room` bytes of failed targets.
    pub(super) fn status_within(&self, room: usize) -> v1::TraceStatus {
        let now = lock(&self.current);
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

    /// Changes the targets. Failed and denied changes are reported in the status, the others are applied. Returns the first denial.
    ///
    /// # Errors
    /// If a change is invalid, all changes are denied, or the update is not newer than the last one. No change is applied then.
    /// A trace of a call has no status, so one denial rejects the whole update.
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
            && (changes.is_empty() || self.belongs_to_call)
        {
            return Err(denied.clone());
        }
        // The semaphore never has a permit: this waits until it is closed.
        let _ = self.starting.acquire().await;
        // Updates are applied one at a time, so that an older one cannot follow a newer one.
        let _turn = self.updates.lock().await;
        let handle = {
            let now = lock(&self.current);
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
            // The trace has ended.
            None => Vec::new(),
        };
        let outcomes = with_denials(denials, outcomes);
        // Outcomes that concern no single target follow the others.
        let targets = targets.into_iter().chain(iter::repeat((None, false)));
        let mut now = lock(&self.current);
        // A failure without a target belongs to one update only.
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

    /// Returns the status that its readers receive after a failure.
    pub(crate) fn failure(&self) -> Option<Status> {
        let now = lock(&self.current);
        let (reason, message) = now.failure.as_ref()?;
        Some(refuse::failed(*reason, message))
    }

    /// Requests the end. Rows that were produced before still follow.
    pub(crate) fn stop(&self) {
        let mut now = lock(&self.current);
        now.stop = true;
        if let Some(handle) = &now.handle {
            handle.stop();
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.ended().is_some()
    }

    pub(super) fn ended(&self) -> Option<Instant> {
        lock(&self.current).ended
    }

    /// Records the end, with reason and message of a failure, and closes the log.
    pub(super) fn end(&self, failure: Option<(Reason, String)>) {
        {
            let mut now = lock(&self.current);
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

/// Checks a uid: 1 to 63 letters, digits, '-', '_' and '.', because it is written to logs and audit lines.
pub(super) fn check_uid(uid: &str) -> Result<(), Violation> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match (1..=63).contains(&uid.len()) && uid.chars().all(is_allowed) {
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
