//! Traces on an agent: one call, whose messages become updates.

use super::{Agent, Beside, Error, follow::Follow};
use crate::source::{Feed, Progress};
use client::Schema;
use engine::{Account, Update};
use proto::v1::{self, stream_events_response::Item, trace_request::Request};
use rows::Wall;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracers::Batch;

/// Running trace on an agent. Dropping it ends the call and the trace.
pub(crate) struct Trace {
    agent: Agent,
    stream: Streaming<v1::StreamEventsResponse>,
    stopper: Stopper,
    follow: Follow,
    /// Updates of the last message, not yet returned.
    ready: VecDeque<Update>,
    started: Instant,
    /// Whether the request has a duration.
    bounded: bool,
}

/// Handle that ends a trace from any thread.
#[derive(Clone)]
pub(crate) struct Stopper {
    requests: mpsc::Sender<v1::TraceRequest>,
    requested: Arc<AtomicBool>,
}

impl Stopper {
    /// Requests the end of the trace; the remaining rows and the account follow.
    pub(crate) fn stop(&self) {
        self.requested.store(true, Ordering::Relaxed);
        let stop = v1::TraceRequest {
            request: Some(Request::Stop(v1::Stop {})),
        };
        // If the channel is full, the request was already sent; if it is closed, the trace is over.
        let _ = self.requests.try_send(stop);
    }
}

impl Trace {
    /// Starts a trace; its programs are attached when this returns.
    ///
    /// # Errors
    /// If the agent rejects the request, or the connection is lost.
    pub(crate) fn start(agent: Agent, spec: v1::TraceSpec) -> Result<Self, Error> {
        let (tracer, filter) = (spec.tracer.clone(), spec.filter.clone());
        let bounded = spec.duration.is_some();
        let interval = spec
            .interval
            .and_then(|reply| Duration::try_from(reply).ok());
        // The start and the stop.
        let (requests, receiver) = mpsc::channel(2);
        let start = v1::TraceRequest {
            request: Some(Request::Start(spec)),
        };
        // There is room for two.
        let _ = requests.try_send(start);
        let mut client = agent.client.clone();
        let opened = agent.runtime.block_on(async move {
            let answer = client.trace(ReceiverStream::new(receiver)).await?;
            let mut stream = answer.into_inner();
            let first = stream.message().await?;
            Ok((stream, first))
        });
        let (stream, first) = opened.map_err(|status| agent.refused_at_first(&status))?;
        let invalid_message = |what| Error::InvalidMessage {
            url: agent.url().to_owned(),
            what,
        };
        let Some(Item::Schema(reply)) = first.and_then(|first| first.item) else {
            return Err(invalid_message(
                "the stream does not begin with a schema".to_owned(),
            ));
        };
        if reply.filter != filter {
            // The call ends here, and the trace with it.
            let url = agent.url().to_owned();
            return Err(Error::NoFilter { url });
        }
        let schema = Schema::read(reply, &tracer).map_err(invalid_message)?;
        Ok(Self {
            follow: Follow::new(schema, interval.unwrap_or_default()),
            agent,
            stream,
            stopper: Stopper {
                requests,
                requested: Arc::default(),
            },
            ready: VecDeque::new(),
            started: Instant::now(),
            bounded,
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
    /// If the connection is lost or a message is invalid: the trace is over then.
    pub(crate) fn next(&mut self, timeout: Duration) -> Result<Option<Update>, Error> {
        if let Some(update) = self.ready.pop_front() {
            return Ok(Some(update));
        }
        if self.follow.over {
            return Ok(None);
        }
        let stream = &mut self.stream;
        let message = async move { tokio::time::timeout(timeout, stream.message()).await };
        let message = match self.agent.runtime.block_on(message) {
            Err(_) => return Ok(None),
            Ok(Err(status)) => return Err(self.agent.refused(&status)),
            Ok(Ok(None)) => {
                return Err(Error::Gone {
                    url: self.agent.url().to_owned(),
                    why: "the agent ended the stream without an account".to_owned(),
                });
            }
            Ok(Ok(Some(message))) => message,
        };
        let taken = self
            .follow
            .take(message, self.started.elapsed(), &mut self.ready);
        taken.map_err(|what| Error::InvalidMessage {
            url: self.agent.url().to_owned(),
            what,
        })?;
        Ok(self.ready.pop_front())
    }

    /// Returns details beside an account.
    pub(crate) fn beside(&self, account: &Account) -> Beside {
        let mut beside = self.follow.beside.clone();
        let requested = self.stopper.requested.load(Ordering::Relaxed);
        match &account.ended {
            Some(engine::Ended::Stopped) if !requested => {
                beside
                    .notes
                    .push("The agent ended the trace because the agent was shut down.");
            }
            Some(engine::Ended::Duration) if !self.bounded => {
                beside
                    .notes
                    .push("The node limits the duration of traces (policy.maxDurationSeconds).");
            }
            _ => {}
        }
        beside
    }

    /// Returns a provisional account and the last tables, if no account was received.
    pub(crate) fn cut_off(&mut self) -> (Account, Vec<Batch>) {
        self.follow.cut_off(self.started.elapsed())
    }
}

impl Feed for Trace {
    fn next(&mut self, timeout: Duration) -> anyhow::Result<Option<Update>> {
        Ok(Self::next(self, timeout)?)
    }

    fn wall(&self) -> Wall {
        // The agent's times are those of the wall clock already.
        rows::wall(0)
    }

    fn stop(&self) {
        self.stopper().stop();
    }

    fn beside(&self, account: &Account) -> Beside {
        Self::beside(self, account)
    }

    fn progress(&self) -> Option<Progress> {
        None
    }

    fn cut_off(&mut self) -> Option<(Account, Vec<Batch>)> {
        Some(Self::cut_off(self))
    }
}
