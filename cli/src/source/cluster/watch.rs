//! A job as a feed of updates: its stream, which is resumed after interruptions, and its state.

mod seen;
mod stopper;

pub(crate) use seen::Poller;
pub(crate) use stopper::{How, Stopper};

use super::{
    access::Cluster,
    error::{Error, chain},
    frames::Frames,
    job::Job,
    stream::{self, Query},
};
use crate::source::{
    Feed, Progress,
    remote::{Beside, Follow, State},
};
use client::Schema;
use crd::name::JobName;
use engine::{Account, Update};
use http_body_util::BodyExt;
use kube::client::Body;
use proto::v1::{self, stream_events_response::Item};
use rows::Wall;
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};
use tracers::Batch;

/// Maximum number of retries without a new message.
const RETRIES: u32 = 6;
/// Delay before the first retry; it doubles with each further retry.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// Timeout until the gateway finds an existing job.
const UNKNOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout for an unavailable gateway before the first message.
const AWAY_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a request that resumes a stream.
const RESUME_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout for nodes to end a suspended job.
const END_TIMEOUT: Duration = Duration::from_secs(12);
/// Maximum number of running nodes to name.
const NAMED: usize = 4;

/// The stream of a job. Dropping it does not change the job.
pub(crate) struct Watch {
    cluster: Arc<Cluster>,
    name: JobName,
    tracer: &'static str,
    query: Query,
    stopper: Stopper,
    poller: Poller,
    follow: Follow,
    /// Body of the response; `None` between two streams.
    body: Option<Body>,
    frames: Frames,
    /// Resume token.
    resume: Vec<u8>,
    /// Whether the schema of a resumed stream is outstanding.
    bare: bool,
    /// Number of retries since the last message.
    tries: u32,
    why: String,
    /// Time of the next retry.
    again: Instant,
    resumed: bool,
    /// Whether only existing rows are requested.
    last: bool,
    /// Updates of the last message, not yet returned.
    ready: VecDeque<Update>,
    started: Instant,
    /// Start of the first node.
    begun: Option<Instant>,
    deadline: Duration,
}

impl Watch {
    /// Opens the stream of a job and reads its schema.
    ///
    /// # Errors
    /// If the job does not exist, or the user may not watch it.
    pub(crate) fn open(
        cluster: Arc<Cluster>,
        job: &Job,
        query: Query,
        stopper: Stopper,
    ) -> Result<Self, Error> {
        let started = Instant::now();
        let tracer = job.spec.tracer.tracer().name();
        let name = job.name.clone();
        let path = stream::path(&name, &query, &[], false);
        let mut body = first(&cluster, &name, &path, &stopper)?;
        let mut frames = Frames::default();
        let invalid_message = |what: String| Error::InvalidMessage { what };
        let first = cluster.wait(message(&mut body, &mut frames))?;
        let reply = match first.map_err(Cut::error)?.item {
            Some(Item::Schema(reply)) => reply,
            _ => {
                let what = "the stream does not begin with a schema";
                return Err(invalid_message(what.to_owned()));
            }
        };
        let schema = Schema::read(reply, tracer).map_err(invalid_message)?;
        let interval = query.interval.unwrap_or(Duration::from_secs(1));
        let deadline = job.spec.active_deadline_seconds;
        Ok(Self {
            follow: Follow::new(schema, interval),
            poller: Poller::start(&cluster, job),
            name,
            tracer,
            query,
            stopper,
            body: Some(body),
            frames,
            resume: Vec::new(),
            bare: false,
            tries: 0,
            why: String::new(),
            again: started,
            resumed: false,
            last: false,
            ready: VecDeque::new(),
            started,
            begun: job.status.start_time.as_ref().and_then(since),
            deadline: Duration::from_secs(deadline.unwrap_or(crd::DEFAULT_DEADLINE_SECONDS)),
            cluster,
        })
    }

    /// Returns the schema of the rows.
    pub(crate) fn schema(&self) -> &Schema {
        self.follow.schema()
    }

    /// Returns a handle that ends the trace from any thread.
    pub(crate) fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Returns the next update; `None` after `timeout`, and always after [`Update::Done`].
    ///
    /// # Errors
    /// If all retries failed or a message is invalid: the stream is over then.
    pub(crate) fn next(&mut self, timeout: Duration) -> Result<Option<Update>, Error> {
        if let Some(update) = self.ready.pop_front() {
            return Ok(Some(update));
        }
        if self.follow.over {
            return Ok(None);
        }
        match self.stopper.since() {
            Some((How::Detach, _)) => return Ok(Some(self.leave())),
            Some((How::Suspend, request_args)) if !self.last && self.is_still(request_args) => {
                self.read_last()
            }
            _ => {}
        }
        if self.body.is_none() && !self.reopen(timeout)? {
            return Ok(None);
        }
        let Some(body) = &mut self.body else {
            return Ok(None);
        };
        let next = message(body, &mut self.frames);
        let next = async move { tokio::time::timeout(timeout, next).await };
        match self.cluster.runtime.block_on(next) {
            Err(_) => Ok(None),
            Ok(Ok(message)) => {
                self.take(message)?;
                Ok(self.ready.pop_front())
            }
            Ok(Err(Cut::InvalidMessage(what))) => Err(Error::InvalidMessage { what }),
            Ok(Err(Cut::Broken(why))) => {
                self.cut(why)?;
                Ok(None)
            }
        }
    }

    fn take(&mut self, message: v1::StreamEventsResponse) -> Result<(), Error> {
        let invalid_message = |what| Error::InvalidMessage { what };
        if !message.resume.is_empty() {
            self.resume.clone_from(&message.resume);
        }
        if self.bare {
            let Some(Item::Schema(reply)) = message.item else {
                let what = "the resumed stream does not begin with a schema".to_owned();
                return Err(invalid_message(what));
            };
            let schema = Schema::read(reply, self.tracer).map_err(invalid_message)?;
            self.bare = false;
            return self.follow.resume(schema).map_err(invalid_message);
        }
        // It is well again when it goes on where it was, and not before.
        if matches!(message.item, Some(Item::Batch(_) | Item::Further(_))) {
            self.tries = 0;
        }
        let elapsed = self.started.elapsed();
        self.follow
            .take(message, elapsed, &mut self.ready)
            .map_err(invalid_message)?;
        let mut nodes = self.follow.beside.nodes.iter();
        if self.begun.is_none() && nodes.any(|node| node.state == State::Running) {
            self.begun = Some(Instant::now());
        }
        if self.follow.over {
            // The controller decides whether the job failed.
            self.poller.poll(&self.cluster, &self.name);
        }
        Ok(())
    }

    /// Records that the stream was interrupted.
    fn cut(&mut self, why: String) -> Result<(), Error> {
        self.tries += 1;
        if self.tries > RETRIES {
            return Err(Error::Broken {
                job: self.name.object(),
                short: self.name.short(),
                tries: RETRIES,
                why,
            });
        }
        self.body = None;
        self.frames = Frames::default();
        self.bare = true;
        self.resumed = true;
        self.why = why;
        self.again = Instant::now() + RETRY_DELAY * 2u32.pow(self.tries - 1);
        Ok(())
    }

    /// Opens the next stream when it is due; returns whether it is open.
    fn reopen(&mut self, timeout: Duration) -> Result<bool, Error> {
        let wait = self.again.saturating_duration_since(Instant::now());
        std::thread::sleep(wait.min(timeout));
        if wait > timeout {
            return Ok(false);
        }
        let path = stream::path(&self.name, &self.query, &self.resume, self.last);
        let cluster = Arc::clone(&self.cluster);
        let opened = stream::open(&cluster.client, &cluster.url, &self.name, &path);
        let opened = async { tokio::time::timeout(RESUME_TIMEOUT, opened).await };
        match cluster.runtime.block_on(opened) {
            Ok(Ok(body)) => self.body = Some(body),
            Ok(Err(error)) if !is_passing(&error) => return Err(error),
            Ok(Err(error)) => self.cut(error.to_string())?,
            Err(_) => self.cut("timeout".to_owned())?,
        }
        Ok(self.body.is_some())
    }

    /// Returns whether no node runs the job any more, or the timeout is over.
    fn is_still(&self, request_args: Instant) -> bool {
        let nodes = &self.follow.beside.nodes;
        let running = nodes.iter().any(|node| node.state == State::Running);
        let known = !nodes.is_empty() || request_args.elapsed() > END_TIMEOUT / 4;
        (known && !running && request_args.elapsed() > Duration::from_secs(1))
            || request_args.elapsed() > END_TIMEOUT
    }

    /// Requests only the existing rows of a suspended job.
    fn read_last(&mut self) {
        self.last = true;
        self.body = None;
        self.frames = Frames::default();
        self.bare = true;
        self.again = Instant::now();
    }

    /// Detaches from the job.
    fn leave(&mut self) -> Update {
        let (account, tables) = self.follow.cut_off(self.started.elapsed());
        self.follow.beside.cut_off = false;
        self.follow.beside.left = true;
        let mut updates = tables.into_iter().map(Update::Table);
        let done = Update::Done(account);
        let Some(first) = updates.next() else {
            return done;
        };
        self.ready.extend(updates.chain([done]));
        first
    }

    /// Returns the progress of the job.
    pub(crate) fn progress(&self) -> Progress {
        let nodes = &self.follow.beside.nodes;
        let running = nodes.iter().filter(|node| node.state == State::Running);
        let text = match nodes.len() {
            0 => self.poller.state().to_lowercase(),
            1..=NAMED => {
                let each = nodes.iter();
                let each = each.map(|node| format!("{} {}", node.name, node.state.word()));
                each.collect::<Vec<_>>().join("  ")
            }
            all => format!("{} of {all} nodes running", running.count()),
        };
        let broken = match self.body {
            Some(_) => "",
            None => "reconnecting  ",
        };
        let request_args = match self.stopper.since() {
            Some(_) => "ending  ",
            None => "",
        };
        Progress {
            nodes: format!("{broken}{request_args}{text}"),
            left: self
                .begun
                .map(|begun| self.deadline.saturating_sub(begun.elapsed())),
        }
    }

    /// Returns details beside an account.
    pub(crate) fn beside(&self) -> Beside {
        let mut beside = self.follow.beside.clone();
        beside.desired = self.poller.desired();
        beside.failed = self.poller.failed();
        let request_args = self.stopper.since().is_some();
        if request_args && beside.ended.is_some() && beside.failed.is_none() {
            // Deleted, or read without waiting for more: that is how we ended it.
            beside.ended = Some("stopped".to_owned());
        }
        if self.resumed {
            beside
                .notes
                .push("The stream was interrupted and resumed without loss.");
        }
        beside
    }

    /// Returns a provisional account and the last tables, if no account was received.
    pub(crate) fn cut_off(&mut self) -> (Account, Vec<Batch>) {
        self.follow.cut_off(self.started.elapsed())
    }
}

impl Feed for Watch {
    fn next(&mut self, timeout: Duration) -> anyhow::Result<Option<Update>> {
        Ok(Self::next(self, timeout)?)
    }

    fn wall(&self) -> Wall {
        // The gateway's times are those of the wall clock already.
        rows::wall(0)
    }

    fn stop(&self) {
        self.stopper().stop();
    }

    fn beside(&self, _: &Account) -> Beside {
        Self::beside(self)
    }

    fn progress(&self) -> Option<Progress> {
        Some(Self::progress(self))
    }

    fn cut_off(&mut self) -> Option<(Account, Vec<Batch>)> {
        Some(Self::cut_off(self))
    }
}

/// Reason for a missing message.
enum Cut {
    /// The stream was interrupted.
    Broken(String),
    /// The message is invalid.
    InvalidMessage(String),
}

impl Cut {
    /// Returns the error of a stream without a message.
    fn error(self) -> Error {
        match self {
            Self::Broken(why) => Error::GatewayAway { why },
            Self::InvalidMessage(what) => Error::InvalidMessage { what },
        }
    }
}

/// Returns the next message. The function is cancel-safe: received bytes are kept.
async fn message(body: &mut Body, frames: &mut Frames) -> Result<v1::StreamEventsResponse, Cut> {
    loop {
        if let Some(message) = frames.next().map_err(Cut::InvalidMessage)? {
            return Ok(message);
        }
        match body.frame().await {
            None => {
                let why = "the stream ended without an account";
                return Err(Cut::Broken(why.to_owned()));
            }
            Some(Err(error)) => return Err(Cut::Broken(chain(&error))),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    frames.add(&bytes);
                }
            }
        }
    }
}

/// Opens the first stream, with retries: a new job may not be known to every replica.
fn first(cluster: &Cluster, name: &JobName, path: &str, stopper: &Stopper) -> Result<Body, Error> {
    let began = Instant::now();
    loop {
        let opened = cluster.wait(stream::open(&cluster.client, &cluster.url, name, path))?;
        let error = match opened {
            Ok(body) => return Ok(body),
            Err(error) => error,
        };
        let patience = match error {
            // We deleted the job.
            Error::NotFound { .. } if stopper.since().is_some() => Duration::ZERO,
            Error::NotFound { .. } => UNKNOWN_TIMEOUT,
            _ if is_passing(&error) => AWAY_TIMEOUT,
            _ => Duration::ZERO,
        };
        if began.elapsed() >= patience {
            return Err(error);
        }
        std::thread::sleep(RETRY_DELAY);
    }
}

/// Returns whether an error may be temporary.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::GatewayAway { .. } | Error::Unreachable { .. } => true,
        Error::Refused { invalid, .. } => !invalid,
        _ => false,
    }
}

/// Converts a wall-clock time to an instant.
fn since(time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time) -> Option<Instant> {
    let ago = jiff::Timestamp::now().as_second() - time.0.as_second();
    let ago = Duration::from_secs(u64::try_from(ago).unwrap_or(0));
    Instant::now().checked_sub(ago)
}

#[cfg(test)]
mod tests;
