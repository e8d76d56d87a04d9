//! A stream that is closed with its place, and that is read at a limited rate.

use super::{Class, Place};
use crate::limits::{BURST_BYTES, BYTES_PER_SECOND, RESERVED_BYTES_PER_SECOND, STEP_BYTES};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};

/// A connection with a place. Reads and writes fail after the place is lost or the time limit is exceeded.
pub struct Connection<S> {
    stream: S,
    place: Place,
    closed: oneshot::Receiver<()>,
    /// Signal that the connection was closed.
    over: Option<io::ErrorKind>,
    /// Time of the next check of the time limit.
    check_at: Pin<Box<Sleep>>,
    /// Bytes that the peer can send now.
    allowance: i64,
    refilled: Instant,
    /// Pause in reading.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S> Connection<S> {
    pub(super) fn new(
        stream: S,
        place: Place,
        closed: oneshot::Receiver<()>,
        check_at: Instant,
    ) -> Self {
        Self {
            stream,
            place,
            closed,
            over: None,
            check_at: Box::pin(sleep_until(check_at)),
            allowance: BURST_BYTES,
            refilled: Instant::now(),
            pause: None,
        }
    }

    /// Returns an error after the connection was closed; otherwise wakes the task when that may have changed.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.over.is_none() && Pin::new(&mut self.closed).poll(context).is_ready() {
            self.over = Some(io::ErrorKind::ConnectionAborted);
        }
        while self.over.is_none() && self.check_at.as_mut().poll(context).is_ready() {
            match self.place.next_check(Instant::now()) {
                Some(next) => self.check_at.as_mut().reset(next),
                None => self.over = Some(io::ErrorKind::TimedOut),
            }
        }
        self.over.map_or(Ok(()), |kind| Err(kind.into()))
    }

    /// Waits until the peer can send again.
    fn poll_allowance(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        if self.allowance > 0 {
            return Poll::Ready(());
        }
        let now = Instant::now();
        let elapsed = now.duration_since(self.refilled).as_micros();
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        let rate = match self.place.class() {
            Class::Ordinary => BYTES_PER_SECOND,
            Class::Reserved => RESERVED_BYTES_PER_SECOND,
        };
        let more = elapsed.saturating_mul(rate) / 1_000_000;
        self.allowance = self.allowance.saturating_add(more).min(BURST_BYTES);
        self.refilled = now;
        if self.allowance > 0 {
            return Poll::Ready(());
        }
        let micros = (STEP_BYTES - self.allowance) * 1_000_000 / rate;
        let until = now + std::time::Duration::from_micros(micros.unsigned_abs());
        let mut pause = Box::pin(sleep_until(until));
        let _ = pause.as_mut().poll(context);
        self.pause = Some(pause);
        Poll::Pending
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        let mut state = self.place.shared.state();
        self.place.free(&mut state);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        ready!(self.poll_allowance(context));
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.allowance -= (buffer.filled().len() - before) as i64;
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
