//! Leader election: the holder of a Lease leads.
//!
//! Clocks of different machines are not compared, as in `leaderelection` of client-go. A contender measures by its own monotonic clock how
//! long the lease has been unchanged; the times in the lease are for people. Each write names the version that was read, so only one succeeds.

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Durations of an election. Each is longer than the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Time for which a lease must be unchanged before another contender takes it.
    pub(crate) duration: Duration,
    /// Time after the last renewal at which a leader stops leading.
    pub(crate) deadline: Duration,
    /// Interval of attempts; a contender adds a random delay of up to 120 %.
    pub(crate) retry: Duration,
}

/// Durations of client-go's controllers.
pub(crate) const TIMING: Timing = Timing {
    duration: Duration::from_secs(15),
    deadline: Duration::from_secs(10),
    retry: Duration::from_secs(2),
};
/// Timeout of releasing the lease.
const RELEASE: Duration = Duration::from_secs(2);

/// Reason why a leader stops leading.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    #[error("{0} is the leader now")]
    Other(String),
    #[error("the lease could not be renewed in time")]
    Deadline,
}

/// A candidate for leadership.
#[derive(Debug)]
pub(crate) struct Contender {
    api: Api<Lease>,
    view: View,
    /// Time just before the last renewal was requested. No contender has seen the renewal earlier.
    renewed: Instant,
}

/// A contender's view of the lease.
#[derive(Debug)]
struct View {
    name: String,
    identity: String,
    timing: Timing,
    seen: Option<Seen>,
}

/// A lease, and the time since which it is unchanged.
#[derive(Debug)]
struct Seen {
    lease: Lease,
    since: Instant,
}

impl Contender {
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: String,
        timing: Timing,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            view: View {
                name: name.to_owned(),
                identity,
                timing,
                seen: None,
            },
            renewed: Instant::now(),
        }
    }

    /// Waits until this contender leads. `answered` is called when the API server has answered.
    pub(crate) async fn acquire(&mut self, answered: impl Fn()) {
        let Timing {
            deadline, retry, ..
        } = self.view.timing;
        loop {
            match timeout(deadline, self.attempt()).await {
                Ok(Ok(leads)) => {
                    answered();
                    if leads {
                        return;
                    }
                }
                Ok(Err(error)) => tracing::warn!(%error, "cannot acquire the lease: retrying"),
                Err(_) => tracing::warn!("cannot acquire the lease: no response: retrying"),
            }
            sleep(jittered(retry)).await;
        }
    }

    /// Renews the lease until this contender stops leading.
    pub(crate) async fn keep(&mut self) -> Lost {
        let Timing {
            deadline, retry, ..
        } = self.view.timing;
        loop {
            let end = self.renewed + deadline;
            let attempt = async {
                sleep(retry).await;
                self.attempt().await
            };
            match timeout_at(end, attempt).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    // Another contender wrote the lease in between. The next attempt shows its holder.
                    if let Some(other) = self.view.other() {
                        return Lost::Other(other.to_owned());
                    }
                }
                Ok(Err(error)) => tracing::warn!(%error, "cannot renew the lease: retrying"),
                Err(_) => return Lost::Deadline,
            }
        }
    }

    /// Releases the lease if this contender holds it, so that the next leader need not wait. Otherwise the lease expires.
    pub(crate) async fn release(&mut self) {
        let Some(lease) = self.view.released(Timestamp::now()) else {
            return;
        };
        let given_back = self.write(&lease);
        match timeout(RELEASE, given_back).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot release the lease, which will expire"),
            Err(_) => {
                tracing::warn!("cannot release the lease: no response; the lease will expire")
            }
        }
    }

    /// Takes or renews the lease if possible. Returns whether this contender holds it.
    async fn attempt(&mut self) -> kube::Result<bool> {
        let began = Instant::now();
        let found = self.api.get_opt(&self.view.name).await?;
        let Some(claim) = self.view.claim(found, Instant::now(), Timestamp::now()) else {
            return Ok(false);
        };
        match self.write(&claim).await {
            Ok(written) => {
                self.view.observe(written, Instant::now());
                self.renewed = began;
                Ok(true)
            }
            // Another contender was first.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a lease, unless it has changed since it was read.
    async fn write(&self, lease: &Lease) -> kube::Result<Lease> {
        let params = PostParams::default();
        match lease.metadata.resource_version {
            None => self.api.create(&params, lease).await,
            Some(_) => self.api.replace(&self.view.name, &params, lease).await,
        }
    }
}

impl View {
    /// Records a lease. Only a change of its spec shows that its holder is alive.
    fn observe(&mut self, lease: Lease, now: Instant) {
        match &mut self.seen {
            Some(seen) if seen.lease.spec == lease.spec => seen.lease = lease,
            seen => *seen = Some(Seen { lease, since: now }),
        }
    }

    /// Returns the holder, if it is another contender.
    fn other(&self) -> Option<&str> {
        let holder = holder(&self.seen.as_ref()?.lease)?;
        (*holder != self.identity).then_some(holder.as_str())
    }

    /// Returns the lease to write, derived from the current one; `None` if another contender holds it.
    fn claim(&mut self, found: Option<Lease>, now: Instant, wall: Timestamp) -> Option<Lease> {
        let Some(found) = found else {
            self.seen = None;
            return Some(self.held(Lease::default(), wall));
        };
        self.observe(found, now);
        let Seen { lease, since } = self.seen.as_ref()?;
        let spec = lease.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
        let duration = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = duration.map_or(self.timing.duration, Duration::from_secs);
        match self.other() {
            Some(_) if now < *since + duration => None,
            _ => Some(self.held(lease.clone(), wall)),
        }
    }

    /// Returns a lease as its holder writes it.
    fn held(&self, lease: Lease, wall: Timestamp) -> Lease {
        let is_mine = holder(&lease) == Some(&self.identity);
        let is_new = lease.metadata.resource_version.is_none();
        let before = lease.spec.unwrap_or_default();
        let transitions = before.lease_transitions.unwrap_or_default();
        let acquired = before.acquire_time.filter(|_| is_mine);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..lease.metadata
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: Some(seconds(self.timing.duration)),
                acquire_time: Some(acquired.unwrap_or(MicroTime(wall))),
                renew_time: Some(MicroTime(wall)),
                lease_transitions: Some(transitions + i32::from(!is_mine && !is_new)),
                ..before
            }),
        }
    }

    /// Returns the lease that releases the current one; `None` if this contender does not hold it.
    fn released(&self, wall: Timestamp) -> Option<Lease> {
        let lease = &self.seen.as_ref()?.lease;
        (*holder(lease)? == self.identity).then(|| Lease {
            metadata: lease.metadata.clone(),
            spec: lease.spec.clone().map(|spec| LeaseSpec {
                holder_identity: None,
                lease_duration_seconds: Some(1),
                renew_time: Some(MicroTime(wall)),
                ..spec
            }),
        })
    }
}

/// Returns the holder, if any.
fn holder(lease: &Lease) -> Option<&String> {
    let holder = lease.spec.as_ref()?.holder_identity.as_ref();
    holder.filter(|holder| !holder.is_empty())
}

/// Returns whole seconds, at least 1 as the API requires.
fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs().max(1)).unwrap_or(i32::MAX)
}

/// Random delay, so that contenders do not send their requests at the same time.
fn jittered(retry: Duration) -> Duration {
    retry + retry.mul_f64(1.2 * (chance() as f64 / u64::MAX as f64))
}

/// Returns a random name for a contender without one.
pub(crate) fn nameless() -> String {
    format!("{}-{:016x}", std::process::id(), chance())
}

fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
