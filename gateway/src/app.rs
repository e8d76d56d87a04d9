//! Calls: authentication, authorization, and the stream of a job's rows. HTTP and gRPC both use this module.

use crate::{
    caller::{Caller, Callers, Resource, Verb},
    counters::Counters,
    hub::{self, Reading},
    job, limits,
    peer::Peer,
    pool::Pool,
    reader::{self, Options, Update},
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

/// Interval at which the permission of an open stream is reviewed again.
const REVIEW_INTERVAL: Duration = Duration::from_secs(60);

/// State shared by all calls.
pub(crate) struct App {
    pub(crate) client: kube::Client,
    pub(crate) callers: Callers,
    pub(crate) pool: Arc<Pool>,
    pub(crate) agents: watch::Receiver<fleet::Agents>,
    pub(crate) counters: Arc<Counters>,
    /// Bytes of a full job's log.
    log_bytes: usize,
    /// Jobs with readers, by uid.
    jobs: Mutex<HashMap<String, Weak<Reading>>>,
    readers: Readers,
    survey: Survey,
}

/// Error of a call, or of an open stream.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CallError {
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

impl From<name::Invalid> for CallError {
    fn from(invalid: name::Invalid) -> Self {
        Self::Invalid {
            field: invalid.field,
            why: invalid.expected.to_owned(),
        }
    }
}

/// A stream of updates for one reader.
pub(crate) struct Stream {
    updates: mpsc::Receiver<Update>,
    permission: Permission,
    _reader: OneOf,
    _place: shares::Place,
}

/// The data to review the permission of a reader again.
struct Permission {
    app: Arc<App>,
    headers: HeaderMap,
    peer: Peer,
    verb: Verb,
    name: JobName,
}

impl Permission {
    async fn check(&self) -> Result<Caller, Refused> {
        let caller = self
            .app
            .callers
            .authenticate(&self.headers, &self.peer)
            .await?;
        self.check_right(caller).await
    }

    async fn check_again(&self) -> Result<Caller, Refused> {
        let caller = self
            .app
            .callers
            .authenticate_again(&self.headers, &self.peer);
        self.check_right(caller.await?).await
    }

    async fn check_right(&self, caller: Caller) -> Result<Caller, Refused> {
        let callers = &self.app.callers;
        callers
            .authorize(&caller, self.verb, &Resource::events(&self.name))
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

    /// Returns the tracers of each node, for callers that may `get` `tracers`.
    ///
    /// # Errors
    /// If the caller may not.
    pub(crate) async fn survey(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Arc<serde_json::Value>, CallError> {
        let caller = self.callers.authenticate(headers, peer).await?;
        let tracers = Resource {
            resource: "tracers",
            subresource: None,
            namespace: None,
            name: None,
        };
        self.callers.authorize(&caller, Verb::Get, &tracers).await?;
        let agents = self.agents.borrow().clone();
        Ok(self.survey.get(&self.pool, &agents).await)
    }

    /// Opens the stream of a job for a caller.
    ///
    /// # Errors
    /// If the caller may not read the job, the job does not exist, or the options do not fit it.
    pub(crate) async fn open(
        self: &Arc<Self>,
        headers: HeaderMap,
        peer: Peer,
        verb: Verb,
        name: JobName,
        options: Options,
    ) -> Result<Stream, CallError> {
        let permission = Permission {
            app: Arc::clone(self),
            headers,
            peer,
            verb,
            name,
        };
        let caller = permission.check().await?;
        // The job is read after the check, so that unauthorized callers cannot detect whether it exists.
        let job = job::get(&self.client, &permission.name).await;
        let job = job.map_err(|error| CallError::Away(error.to_string()))?;
        let job = job.ok_or_else(|| CallError::NotFound(permission.name.clone()))?;
        let place = self.readers.enter(&caller.user)?;
        let reading = self.reading(&permission.name, job)?;
        let updates = reader::read(reading, options)
            .await
            .map_err(|error| CallError::Invalid {
                field: match error {
                    reader::Error::Position(_) => "resume",
                    reader::Error::By(_) => "by",
                },
                why: error.to_string(),
            })?;
        Ok(Stream {
            updates,
            permission,
            _reader: self.counters.reader(),
            _place: place,
        })
    }

    /// Returns the reading of a job, which is started for the first reader.
    ///
    /// # Errors
    /// [`Full::Jobs`] if too many jobs have readers.
    fn reading(&self, name: &JobName, job: job::Job) -> Result<Arc<Reading>, Full> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|_, reading| reading.strong_count() > 0);
        if let Some(reading) = jobs.get(&job.uid).and_then(Weak::upgrade)
            // A finished job is read again, because agents may have started since.
            && !reading.hub.is_closed()
        {
            return Ok(reading);
        }
        if jobs.len() >= limits::JOBS {
            return Err(Full::Jobs);
        }
        let log_bytes = shares::log_bytes(self.log_bytes, jobs.len() + 1);
        // The shares of all logs become smaller.
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
    /// Returns the next update; `None` at the end.
    ///
    /// # Errors
    /// If the reader has lost its permission.
    pub(crate) async fn next(
        &mut self,
        reviews: &mut tokio::time::Interval,
    ) -> Result<Option<Update>, CallError> {
        loop {
            tokio::select! {
                update = self.updates.recv() => return Ok(update),
                _ = reviews.tick() => match self.permission.check_again().await {
                    // An open stream continues while the API server is unavailable.
                    Ok(_) | Err(Refused::Unknown(_)) => {}
                    Err(refused) => return Err(refused.into()),
                },
            }
        }
    }

    /// Returns the timer of the reviews of a stream's permission.
    pub(crate) fn reviews() -> tokio::time::Interval {
        let mut reviews = tokio::time::interval_at(
            tokio::time::Instant::now() + REVIEW_INTERVAL,
            REVIEW_INTERVAL,
        );
        reviews.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        reviews
    }
}
