//! From who calls and what they ask for to a stream, or to why there is none. HTTP and gRPC are two ways to say both.

use crate::{
    caller::{Caller, Callers, Thing, Verb},
    counters::Counters,
    hub::{self, Reading},
    job, limits,
    peer::Peer,
    pool::Pool,
    reader::{self, Ask, Said},
    refused::Refused,
    shares::{self, Full, Readers},
    survey::Survey,
};
use axum::http::HeaderMap;
use crd::name::{self, JobName};
use metrics::OneOf;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// How often it is asked whether a reader may still read.
const AGAIN: Duration = Duration::from_secs(60);

/// What every call works with.
pub(crate) struct App {
    pub(crate) client: kube::Client,
    pub(crate) callers: Callers,
    pub(crate) pool: Arc<Pool>,
    pub(crate) agents: watch::Receiver<fleet::Agents>,
    pub(crate) counters: Arc<Counters>,
    /// Of a job's log, where it has all that it may.
    log_bytes: usize,
    /// Jobs that are read, by uid.
    jobs: Mutex<HashMap<String, Weak<Reading>>>,
    readers: Readers,
    survey: Survey,
}

/// Why there is no stream, or none any more.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{0} not found")]
    NotFound(JobName),
    #[error("{field}: {why}")]
    Invalid { field: &'static str, why: String },
    #[error(transparent)]
    Full(#[from] Full),
    #[error("the API server does not respond: {0}")]
    Away(String),
}

impl From<name::Invalid> for Trouble {
    fn from(invalid: name::Invalid) -> Self {
        Self::Invalid {
            field: invalid.field,
            why: invalid.expected.to_owned(),
        }
    }
}

/// A stream, and who reads it.
pub(crate) struct Stream {
    said: mpsc::Receiver<Said>,
    who: Who,
    _reader: OneOf,
    _place: shares::Place,
}

/// What it takes to ask again whether somebody may read.
struct Who {
    app: Arc<App>,
    headers: HeaderMap,
    peer: Peer,
    verb: Verb,
    name: JobName,
}

impl Who {
    async fn check(&self) -> Result<Caller, Refused> {
        let caller = self.app.callers.who(&self.headers, &self.peer).await?;
        self.check_right(caller).await
    }

    async fn check_again(&self) -> Result<Caller, Refused> {
        let caller = self.app.callers.who_again(&self.headers, &self.peer);
        self.check_right(caller.await?).await
    }

    async fn check_right(&self, caller: Caller) -> Result<Caller, Refused> {
        let callers = &self.app.callers;
        callers
            .may(&caller, self.verb, &Thing::events(&self.name))
            .await?;
        Ok(caller)
    }
}

impl App {
    pub(crate) fn new(
        callers: Callers,
        pool: Arc<Pool>,
        agents: watch::Receiver<fleet::Agents>,
        counters: Arc<Counters>,
        log_bytes: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            client: callers.client.clone(),
            callers,
            pool,
            agents,
            counters,
            log_bytes,
            jobs: Mutex::default(),
            readers: Readers::default(),
            survey: Survey::default(),
        })
    }

    /// What each node can trace, for whoever may `get` `tracers`.
    ///
    /// # Errors
    /// Where they may not.
    pub(crate) async fn survey(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Arc<serde_json::Value>, Trouble> {
        let caller = self.callers.who(headers, peer).await?;
        let tracers = Thing {
            resource: "tracers",
            subresource: None,
            namespace: None,
            name: None,
        };
        self.callers.may(&caller, Verb::Get, &tracers).await?;
        let agents = self.agents.borrow().clone();
        Ok(self.survey.get(&self.pool, &agents).await)
    }

    /// A job's stream for whoever calls.
    ///
    /// # Errors
    /// Where they may not read it, or it is not there, or cannot be read so.
    pub(crate) async fn open(
        self: &Arc<Self>,
        headers: HeaderMap,
        peer: Peer,
        verb: Verb,
        name: JobName,
        ask: Ask,
    ) -> Result<Stream, Trouble> {
        let who = Who {
            app: Arc::clone(self),
            headers,
            peer,
            verb,
            name,
        };
        let caller = who.check().await?;
        // Before that, whether there is such a job is nothing that they may know.
        let job = job::get(&self.client, &who.name).await;
        let job = job.map_err(|error| Trouble::Away(error.to_string()))?;
        let job = job.ok_or_else(|| Trouble::NotFound(who.name.clone()))?;
        let place = self.readers.enter(&caller.user)?;
        let reading = self.reading(&who.name, job)?;
        let said = reader::read(reading, ask)
            .await
            .map_err(|error| Trouble::Invalid {
                field: match error {
                    reader::Error::Position(_) => "resume",
                    reader::Error::By(_) => "by",
                },
                why: error.to_string(),
            })?;
        Ok(Stream {
            said,
            who,
            _reader: self.counters.reader(),
            _place: place,
        })
    }

    /// The job as it is read already, or from now on.
    ///
    /// # Errors
    /// Where too many others are read.
    fn reading(&self, name: &JobName, job: job::Job) -> Result<Arc<Reading>, Full> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|_, reading| reading.strong_count() > 0);
        if let Some(reading) = jobs.get(&job.uid).and_then(Weak::upgrade)
            // What is over is read anew: agents may have been started since.
            && !reading.hub.is_closed()
        {
            return Ok(reading);
        }
        if jobs.len() >= limits::JOBS {
            return Err(Full::Jobs);
        }
        let log_bytes = shares::log_bytes(self.log_bytes, jobs.len() + 1);
        // All have less from now on, those that were there too.
        for other in jobs.values().filter_map(Weak::upgrade) {
            other.hub.keep(log_bytes);
        }
        let uid = job.uid.clone();
        let (pool, agents) = (Arc::clone(&self.pool), self.agents.clone());
        let reading = Arc::new(hub::read(&self.client, name, job, log_bytes, pool, agents));
        jobs.insert(uid, Arc::downgrade(&reading));
        Ok(reading)
    }
}

impl Stream {
    /// What is said next; none at the end.
    ///
    /// # Errors
    /// Where its reader may not read it any more.
    pub(crate) async fn next(
        &mut self,
        again: &mut tokio::time::Interval,
    ) -> Result<Option<Said>, Trouble> {
        loop {
            tokio::select! {
                said = self.said.recv() => return Ok(said),
                _ = again.tick() => match self.who.check_again().await {
                    // Who was let in stays while nobody can be asked.
                    Ok(_) | Err(Refused::Unknown(_)) => {}
                    Err(refused) => return Err(refused.into()),
                },
            }
        }
    }

    /// When to ask again whether a reader may read.
    pub(crate) fn again() -> tokio::time::Interval {
        let mut again = tokio::time::interval_at(tokio::time::Instant::now() + AGAIN, AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        again
    }
}
