//! A job as a feed of updates: its stream, which is resumed where it breaks off, and how far the job itself is.

mod seen;
mod stopper;

pub(crate) use seen::Looks;
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

/// How often a stream is resumed that tells nothing new in between.
const TRIES: u32 = 6;
/// Before it is resumed for the first time; twice as long each further time.
const PAUSE: Duration = Duration::from_millis(200);
/// How long one that is there already may not be known to the gateway.
const UNKNOWN: Duration = Duration::from_secs(10);
/// How long the gateway may be away before anything has come.
const AWAY: Duration = Duration::from_secs(5);
/// How long the answer to a resumption may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long nodes may take to end a job that is suspended.
const ENDING: Duration = Duration::from_secs(12);
/// Nodes that are named one by one while they run.
const NAMED: usize = 4;

/// A job's stream. Dropping it leaves the job as it is.
pub(crate) struct Watch {
    cluster: Arc<Cluster>,
    name: JobName,
    tracer: &'static str,
    query: Query,
    stopper: Stopper,
    looks: Looks,
    follow: Follow,
    /// What comes; none between two streams.
    body: Option<Body>,
    frames: Frames,
    /// Where the next stream goes on.
    resume: Vec<u8>,
    /// Of a stream that goes on: its schema has not come yet.
    bare: bool,
    /// How often it broke off since it last told something.
    tries: u32,
    why: String,
    /// When the next one is opened.
    again: Instant,
    resumed: bool,
    /// Whether all is asked for that there is, and no more.
    last: bool,
    /// Updates of the last message that are not yet taken.
    ready: VecDeque<Update>,
    started: Instant,
    /// When the first node ran it.
    begun: Option<Instant>,
    deadline: Duration,
}

impl Watch {
    /// Reads a job; its schema has come when this returns.
    ///
    /// # Errors
    /// Where it is not there, or may not be read.
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
        let nonsense = |what: String| Error::Nonsense { what };
        let first = cluster.wait(message(&mut body, &mut frames))?;
        let told = match first.map_err(Cut::error)?.item {
            Some(Item::Schema(told)) => told,
            _ => {
                let what = "the stream does not begin with a schema";
                return Err(nonsense(what.to_owned()));
            }
        };
        let schema = Schema::read(told, tracer).map_err(nonsense)?;
        let interval = query.interval.unwrap_or(Duration::from_secs(1));
        let deadline = job.spec.active_deadline_seconds;
        Ok(Self {
            follow: Follow::new(schema, interval),
            looks: Looks::start(&cluster, job),
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

    /// What its rows are.
    pub(crate) fn schema(&self) -> &Schema {
        self.follow.schema()
    }

    /// Something that ends it from any thread.
    pub(crate) fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// The next thing that happened; `None` when `timeout` is over first, and always after [`Update::Done`].
    ///
    /// # Errors
    /// Where the gateway is gone for good or sends what it should not: it is over then.
    pub(crate) fn next(&mut self, timeout: Duration) -> Result<Option<Update>, Error> {
        if let Some(update) = self.ready.pop_front() {
            return Ok(Some(update));
        }
        if self.follow.over {
            return Ok(None);
        }
        match self.stopper.since() {
            Some((How::Detach, _)) => return Ok(Some(self.leave())),
            Some((How::Suspend, asked)) if !self.last && self.is_still(asked) => self.read_last(),
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
            Ok(Err(Cut::Nonsense(what))) => Err(Error::Nonsense { what }),
            Ok(Err(Cut::Broken(why))) => {
                self.cut(why)?;
                Ok(None)
            }
        }
    }

    fn take(&mut self, message: v1::StreamEventsResponse) -> Result<(), Error> {
        let nonsense = |what| Error::Nonsense { what };
        if !message.resume.is_empty() {
            self.resume.clone_from(&message.resume);
        }
        if self.bare {
            let Some(Item::Schema(told)) = message.item else {
                let what = "the resumed stream does not begin with a schema".to_owned();
                return Err(nonsense(what));
            };
            let schema = Schema::read(told, self.tracer).map_err(nonsense)?;
            self.bare = false;
            return self.follow.resume(schema).map_err(nonsense);
        }
        // It is well again when it goes on where it was, and not before.
        if matches!(message.item, Some(Item::Batch(_) | Item::Further(_))) {
            self.tries = 0;
        }
        let elapsed = self.started.elapsed();
        self.follow
            .take(message, elapsed, &mut self.ready)
            .map_err(nonsense)?;
        let mut nodes = self.follow.beside.nodes.iter();
        if self.begun.is_none() && nodes.any(|node| node.state == State::Running) {
            self.begun = Some(Instant::now());
        }
        if self.follow.over {
            // What its controller says is the last word on whether it failed.
            self.looks.look(&self.cluster, &self.name);
        }
        Ok(())
    }

    /// Takes note of a stream that ended before its time.
    fn cut(&mut self, why: String) -> Result<(), Error> {
        self.tries += 1;
        if self.tries > TRIES {
            return Err(Error::Broken {
                job: self.name.object(),
                short: self.name.short(),
                tries: TRIES,
                why,
            });
        }
        self.body = None;
        self.frames = Frames::default();
        self.bare = true;
        self.resumed = true;
        self.why = why;
        self.again = Instant::now() + PAUSE * 2u32.pow(self.tries - 1);
        Ok(())
    }

    /// Opens the next stream when it is time; whether it is open.
    fn reopen(&mut self, timeout: Duration) -> Result<bool, Error> {
        let wait = self.again.saturating_duration_since(Instant::now());
        std::thread::sleep(wait.min(timeout));
        if wait > timeout {
            return Ok(false);
        }
        let path = stream::path(&self.name, &self.query, &self.resume, self.last);
        let cluster = Arc::clone(&self.cluster);
        let opened = stream::open(&cluster.client, &cluster.url, &self.name, &path);
        let opened = async { tokio::time::timeout(ANSWER, opened).await };
        match cluster.runtime.block_on(opened) {
            Ok(Ok(body)) => self.body = Some(body),
            Ok(Err(error)) if !is_passing(&error) => return Err(error),
            Ok(Err(error)) => self.cut(error.to_string())?,
            Err(_) => self.cut("timeout".to_owned())?,
        }
        Ok(self.body.is_some())
    }

    /// Whether no node runs it any more, or will not say so.
    fn is_still(&self, asked: Instant) -> bool {
        let nodes = &self.follow.beside.nodes;
        let running = nodes.iter().any(|node| node.state == State::Running);
        let known = !nodes.is_empty() || asked.elapsed() > ENDING / 4;
        (known && !running && asked.elapsed() > Duration::from_secs(1)) || asked.elapsed() > ENDING
    }

    /// Of a job that is suspended: the stream goes on, as the job might. What there is by now is all.
    fn read_last(&mut self) {
        self.last = true;
        self.body = None;
        self.frames = Frames::default();
        self.bare = true;
        self.again = Instant::now();
    }

    /// Leaves it as it is.
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

    /// How far it is.
    pub(crate) fn progress(&self) -> Progress {
        let nodes = &self.follow.beside.nodes;
        let running = nodes.iter().filter(|node| node.state == State::Running);
        let said = match nodes.len() {
            0 => self.looks.state().to_lowercase(),
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
        let asked = match self.stopper.since() {
            Some(_) => "ending  ",
            None => "",
        };
        Progress {
            nodes: format!("{broken}{asked}{said}"),
            left: self
                .begun
                .map(|begun| self.deadline.saturating_sub(begun.elapsed())),
        }
    }

    /// What there is to say beside an account.
    pub(crate) fn beside(&self) -> Beside {
        let mut beside = self.follow.beside.clone();
        beside.desired = self.looks.desired();
        beside.failed = self.looks.failed();
        let asked = self.stopper.since().is_some();
        if asked && beside.ended.is_some() && beside.failed.is_none() {
            // Deleted, or read without waiting for more: that is how we ended it.
            beside.ended = Some("stopped".to_owned());
        }
        if self.resumed {
            beside
                .said
                .push("The stream was interrupted and resumed without loss.");
        }
        beside
    }

    /// What is known where the account never comes, with the last table that came.
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

/// Why no message comes.
enum Cut {
    /// The stream is over.
    Broken(String),
    /// What comes is none.
    Nonsense(String),
}

impl Cut {
    /// Of a stream of which nothing has come.
    fn error(self) -> Error {
        match self {
            Self::Broken(why) => Error::GatewayAway { why },
            Self::Nonsense(what) => Error::Nonsense { what },
        }
    }
}

/// The next message. Bytes that have come are kept where nobody waits any more.
async fn message(body: &mut Body, frames: &mut Frames) -> Result<v1::StreamEventsResponse, Cut> {
    loop {
        if let Some(message) = frames.next().map_err(Cut::Nonsense)? {
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

/// The first stream. A job that was made a moment ago may not be known to every replica.
fn first(cluster: &Cluster, name: &JobName, path: &str, stopper: &Stopper) -> Result<Body, Error> {
    let began = Instant::now();
    loop {
        let opened = cluster.wait(stream::open(&cluster.client, &cluster.url, name, path))?;
        let error = match opened {
            Ok(body) => return Ok(body),
            Err(error) => error,
        };
        let patience = match error {
            // It is gone because we said so.
            Error::NotFound { .. } if stopper.since().is_some() => Duration::ZERO,
            Error::NotFound { .. } => UNKNOWN,
            _ if is_passing(&error) => AWAY,
            _ => Duration::ZERO,
        };
        if began.elapsed() >= patience {
            return Err(error);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether it may be well again in a moment.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::GatewayAway { .. } | Error::Unreachable { .. } => true,
        Error::Refused { invalid, .. } => !invalid,
        _ => false,
    }
}

/// When something began that began at a time of the clock.
fn since(time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time) -> Option<Instant> {
    let ago = jiff::Timestamp::now().as_second() - time.0.as_second();
    let ago = Duration::from_secs(u64::try_from(ago).unwrap_or(0));
    Instant::now().checked_sub(ago)
}

#[cfg(test)]
mod tests;
