//! Requests that are being received: whole messages only, within limits of memory and time.

use super::{
    caller::Share,
    limits::{ARRIVING, ARRIVING_BYTES, REQUEST_BYTES},
    parts::Kind,
    refuse::Refusal,
};
use http_body::Frame;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::Sleep;
use tonic::{
    Status,
    body::Body,
    codegen::{Bytes, http::Uri},
};

/// Bytes before each message of gRPC: whether it is compressed, and its length.
const HEAD: usize = 5;

/// The body of a request.
pub(crate) struct Arriving {
    body: Body,
    kind: Kind,
    /// The received part of the next message.
    begun: Vec<u8>,
    share: Share,
    /// Timeout of the request.
    patience: Duration,
    /// When it must be whole.
    until: Option<Pin<Box<Sleep>>>,
}

impl Arriving {
    /// Wraps the body of a request with this path. Its received bytes count towards this share until they are decoded.
    pub(crate) fn new(body: Body, uri: &Uri, share: Share) -> Self {
        Self {
            body,
            kind: Kind::of(uri.path()),
            begun: Vec::new(),
            share,
            patience: ARRIVING,
            until: None,
        }
    }

    /// Returns the next message if it is complete.
    fn whole(&mut self) -> Option<Result<Bytes, Status>> {
        let (head, message) = self.begun.split_first_chunk::<HEAD>()?;
        let [_, length @ ..] = *head;
        let length = u32::from_be_bytes(length) as usize;
        if length > REQUEST_BYTES {
            // The decoder rejects it by its header.
            return Some(Ok(self.take(HEAD)));
        }
        let message = message.get(..length)?;
        if let Err(violation) = self.kind.check(message) {
            return Some(Err(Refusal::Invalid(violation).into()));
        }
        Some(Ok(self.take(HEAD + length)))
    }

    fn take(&mut self, bytes: usize) -> Bytes {
        let rest = self.begun.split_off(bytes);
        let taken = std::mem::replace(&mut self.begun, rest);
        self.share.give_back(bytes);
        self.until = None;
        taken.into()
    }

    fn add(&mut self, data: &[u8]) -> Result<(), Status> {
        if !self.share.take(data.len()) {
            let why = format!(
                "incomplete requests of this caller exceed {ARRIVING_BYTES} bytes: send requests one after the other"
            );
            return Err(Refusal::TooMuchAtOnce {
                what: "requests",
                why,
            }
            .into());
        }
        self.begun.extend_from_slice(data);
        Ok(())
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            if let Some(message) = this.whole() {
                return Poll::Ready(Some(message.map(Frame::data)));
            }
            if !this.begun.is_empty() {
                let sleep = || Box::pin(tokio::time::sleep(this.patience));
                let until = this.until.get_or_insert_with(sleep);
                if until.as_mut().poll(context).is_ready() {
                    let why = "a message has not arrived in time";
                    return Poll::Ready(Some(Err(Status::deadline_exceeded(why))));
                }
            }
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        if let Err(refused) = this.add(&data) {
                            return Poll::Ready(Some(Err(refused)));
                        }
                    }
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                // The decoder reports an incomplete message as an error.
                None if !this.begun.is_empty() => {
                    let rest = this.take(this.begun.len());
                    return Poll::Ready(Some(Ok(Frame::data(rest))));
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{Identity, Shares};

    #[tokio::test]
    async fn a_message_that_does_not_arrive_is_given_up_and_gives_its_share_back() {
        use http_body_util::{BodyExt, StreamBody};
        let shares = Shares::new(100);
        let head = Bytes::from_static(&[0, 0, 0, 0, 10, 1]);
        let begun = tokio_stream::once(Ok::<_, Status>(Frame::data(head)));
        let silent = tokio_stream::StreamExt::chain(begun, tokio_stream::pending());
        let uri = Uri::from_static("/tracejob.v1.Agent/GetCapabilities");
        let share = shares.of(Identity::User(1));
        let mut arriving = Arriving::new(Body::new(StreamBody::new(silent)), &uri, share);
        arriving.patience = Duration::from_millis(1);
        let error = arriving.frame().await.unwrap().unwrap_err();
        assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
        assert!(!shares.of(Identity::User(1)).take(95));
        drop(arriving);
        assert!(shares.of(Identity::User(1)).take(100));
    }
}
