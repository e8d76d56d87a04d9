//! Limits on the reviews of tokens and of permissions that callers cause at the API server.

use crate::{
    limits::{
        BAD_PER_SOURCE, BAD_TIME, BAD_TOKENS, RIGHTS_AT_ONCE, SOURCES, TOKENS_AT_ONCE,
        TOKENS_AT_ONCE_PER_SOURCE, WAITING_PER_SOURCE, WINDOW,
    },
    refused::Refused,
};
use listen::places::Source;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// All reviews of a replica.
pub(crate) struct Reviews {
    tokens: Semaphore,
    rights: Semaphore,
    /// Random keys of digests, so that callers cannot predict a digest: 128 bits.
    keys: [RandomState; 2],
    state: Mutex<State>,
}

type Digest = [u64; 2];

#[derive(Default)]
struct State {
    bad: HashMap<Digest, Instant>,
    sources: HashMap<Source, Share>,
}

/// Current and recent reviews of one source.
struct Share {
    at_once: Arc<Semaphore>,
    /// Number of tokens that wait or are reviewed.
    waiting: usize,
    /// Times at which recent bad tokens were reviewed.
    bad: Vec<Instant>,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            at_once: Arc::new(Semaphore::new(TOKENS_AT_ONCE_PER_SOURCE)),
            waiting: 0,
            bad: Vec::new(),
        }
    }
}

impl Share {
    fn is_over(&self, now: Instant) -> bool {
        self.waiting == 0 && self.bad.iter().all(|at| *at + WINDOW <= now)
    }
}

/// A permit for the review of a token.
pub(crate) struct Review<'a> {
    reviews: &'a Reviews,
    source: Source,
    digest: Digest,
    _one_of_all: SemaphorePermit<'a>,
    /// `None` for a token that was valid before.
    _of_source: Option<(OwnedSemaphorePermit, Waiting<'a>)>,
}

/// A waiting token of a source.
struct Waiting<'a>(&'a Reviews, Source);

impl Reviews {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            tokens: Semaphore::new(TOKENS_AT_ONCE),
            rights: Semaphore::new(RIGHTS_AT_ONCE),
            keys: [RandomState::new(), RandomState::new()],
            state: Mutex::default(),
        })
    }

    /// Waits until a token may be reviewed.
    ///
    /// # Errors
    /// If the token was invalid recently, or its source has reached a limit.
    pub(crate) async fn token(&self, source: Source, token: &str) -> Result<Review<'_>, Refused> {
        let digest = [0, 1].map(|n: usize| self.keys[n].hash_one(token));
        let (waiting, at_once) = self.wait(source, digest)?;
        let one_of_source = at_once.acquire_owned().await;
        let one_of_all = self.tokens.acquire().await;
        // The token, or others of its source, may have been reviewed meanwhile.
        self.check(&mut self.state(), source, digest)?;
        Ok(Review {
            reviews: self,
            source,
            digest,
            _one_of_all: one_of_all.expect("the semaphore is never closed"),
            _of_source: Some((
                one_of_source.expect("the semaphore is never closed"),
                waiting,
            )),
        })
    }

    /// Waits until a token that was valid before may be reviewed again. The limits of its source do not apply: otherwise a reader could
    /// prevent the review that ends its stream.
    pub(crate) async fn again(&self, source: Source, token: &str) -> Review<'_> {
        let digest = [0, 1].map(|n: usize| self.keys[n].hash_one(token));
        Review {
            reviews: self,
            source,
            digest,
            _one_of_all: self
                .tokens
                .acquire()
                .await
                .expect("the semaphore is never closed"),
            _of_source: None,
        }
    }

    fn wait(
        &self,
        source: Source,
        digest: Digest,
    ) -> Result<(Waiting<'_>, Arc<Semaphore>), Refused> {
        let mut state = self.state();
        if state.sources.len() >= SOURCES {
            let now = Instant::now();
            state.sources.retain(|_, share| !share.is_over(now));
        }
        if state.sources.len() >= SOURCES && !state.sources.contains_key(&source) {
            return Err(Refused::Busy("too many addresses send bad tokens"));
        }
        self.check(&mut state, source, digest)?;
        let share = state.sources.entry(source).or_default();
        if share.waiting >= WAITING_PER_SOURCE {
            return Err(Refused::Busy(
                "too many tokens from this address wait for review",
            ));
        }
        share.waiting += 1;
        Ok((Waiting(self, source), Arc::clone(&share.at_once)))
    }

    /// Checks that earlier reviews allow a review of the token.
    fn check(&self, state: &mut State, source: Source, digest: Digest) -> Result<(), Refused> {
        let now = Instant::now();
        let bad = state.bad.get(&digest);
        if bad.is_some_and(|at| now < *at + BAD_TIME) {
            return Err(Refused::BAD_TOKEN);
        }
        let Some(share) = state.sources.get_mut(&source) else {
            return Ok(());
        };
        share.bad.retain(|at| now < *at + WINDOW);
        match share.bad.len() < BAD_PER_SOURCE {
            true => Ok(()),
            false => Err(Refused::Busy("too many bad tokens came from this address")),
        }
    }

    /// Waits until a permission may be reviewed.
    pub(crate) async fn right(&self) -> SemaphorePermit<'_> {
        self.rights
            .acquire()
            .await
            .expect("the semaphore is never closed")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Review<'_> {
    /// Records that the token is invalid.
    pub(crate) fn was_bad(&self) {
        let now = Instant::now();
        let mut state = self.reviews.state();
        if state.bad.len() >= BAD_TOKENS {
            state.bad.retain(|_, at| now < *at + BAD_TIME);
        }
        if state.bad.len() < BAD_TOKENS {
            state.bad.insert(self.digest, now);
        }
        state.sources.entry(self.source).or_default().bad.push(now);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Self(reviews, source) = self;
        let mut state = reviews.state();
        if let Some(share) = state.sources.get_mut(source) {
            share.waiting -= 1;
            if share.is_over(Instant::now()) {
                state.sources.remove(source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn source(last: u8) -> Source {
        Source::V4([192, 0, 2, last].into())
    }

    async fn outcome(reviews: &Reviews, from: Source, token: &str) -> &'static str {
        match reviews.token(from, token).await {
            Ok(review) => {
                review.was_bad();
                "reviewed"
            }
            Err(Refused::Busy(_)) => "busy",
            Err(_) => "refused",
        }
    }

    #[tokio::test]
    async fn a_bad_token_is_reviewed_once_and_refused_from_everywhere() {
        let reviews = Reviews::new();
        assert_eq!(outcome(&reviews, source(1), "bad").await, "reviewed");
        assert_eq!(outcome(&reviews, source(1), "bad").await, "refused");
        assert_eq!(outcome(&reviews, source(2), "bad").await, "refused");
        assert_eq!(outcome(&reviews, source(2), "other").await, "reviewed");
    }

    #[tokio::test]
    async fn a_source_of_many_bad_tokens_gets_no_further_reviews_and_another_does() {
        let reviews = Reviews::new();
        let mut outcomes = Vec::new();
        for n in 0..1000 {
            outcomes.push(outcome(&reviews, source(1), &format!("bad {n}")).await);
        }
        let reviewed = outcomes.iter().filter(|one| **one == "reviewed");
        assert_eq!(reviewed.count(), BAD_PER_SOURCE);
        assert_eq!(outcomes.last(), Some(&"busy"));
        assert_eq!(outcome(&reviews, source(2), "bad").await, "reviewed");
    }

    #[tokio::test]
    async fn bad_tokens_of_a_reader_do_not_prevent_the_review_of_its_own_token() {
        let reviews = Reviews::new();
        for n in 0..100 {
            outcome(&reviews, source(1), &format!("bad {n}")).await;
        }
        assert_eq!(outcome(&reviews, source(1), "own").await, "busy");
        reviews.again(source(1), "own").await.was_bad();
        assert_eq!(outcome(&reviews, source(2), "own").await, "refused");
    }

    /// Returns whether the review waits.
    async fn waits(reviews: &Reviews, from: Source) -> bool {
        let review = reviews.token(from, "one more");
        let review = tokio::time::timeout(Duration::from_millis(20), review);
        review.await.is_err()
    }

    #[tokio::test]
    async fn reviews_at_the_same_time_are_bounded_per_source_and_in_all() {
        let reviews = Reviews::new();
        let mut running = Vec::new();
        for from in 1..=4 {
            for n in 0..TOKENS_AT_ONCE_PER_SOURCE {
                let token = format!("{from} {n}");
                running.push(reviews.token(source(from), &token).await.ok());
            }
            assert!(waits(&reviews, source(from)).await);
        }
        assert!(waits(&reviews, source(5)).await);
        running.pop();
        assert!(!waits(&reviews, source(5)).await);
        drop(running);
        assert!(reviews.state().sources.is_empty());
    }

    #[tokio::test]
    async fn bad_tokens_that_wait_are_not_all_reviewed() {
        let reviews = Reviews::new();
        let tokens: Vec<String> = (0..500).map(|n| format!("bad {n}")).collect();
        let outcomes = tokens
            .iter()
            .map(|token| outcome(&reviews, source(1), token));
        let outcomes = futures::future::join_all(outcomes).await;
        let reviewed = outcomes.iter().filter(|one| **one == "reviewed");
        assert!(reviewed.count() < BAD_PER_SOURCE + TOKENS_AT_ONCE_PER_SOURCE);
    }
}
