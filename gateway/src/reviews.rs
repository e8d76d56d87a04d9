//! Bounds of what callers make the API server work: reviews of tokens and of rights.

use crate::caller::Refused;
use listen::places::Source;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Reviews of tokens at the same time: some 5 ms each, so about 6,000 each second, which is more than all readers of a replica need.
const TOKENS_AT_ONCE: usize = 32;
/// The same of one source: one address cannot have them all.
const TOKENS_AT_ONCE_PER_SOURCE: usize = 8;
/// Bad tokens of one source in [`WINDOW`]. A program whose token has expired sends a few until it has the next.
const BAD_PER_SOURCE: usize = 20;
/// How long a source's bad tokens count.
const WINDOW: Duration = Duration::from_secs(10);
/// How long a token that was bad is refused without another review. A token does not become good; its account may be made anew.
const BAD_TIME: Duration = Duration::from_secs(10);
/// Bad tokens that are remembered, 40 bytes each. Further ones take a review each, within the bounds above.
const BAD_TOKENS: usize = 10_000;
/// Sources that are remembered, 50 bytes each. One too many is refused while all of them have recent bad tokens or a review.
const SOURCES: usize = 10_000;
/// Reviews of rights at the same time, for callers who are known.
const RIGHTS_AT_ONCE: usize = 64;

/// All reviews of a replica.
pub(crate) struct Reviews {
    tokens: Semaphore,
    rights: Semaphore,
    /// Makes digests that nobody else can predict: 128 bits of two keys.
    keys: [RandomState; 2],
    state: Mutex<State>,
}

type Digest = [u64; 2];

#[derive(Default)]
struct State {
    bad: HashMap<Digest, Instant>,
    sources: HashMap<Source, Share>,
}

/// What one source has had of late.
#[derive(Default)]
struct Share {
    running: usize,
    /// When the source's recent bad tokens were reviewed.
    bad: Vec<Instant>,
}

impl Share {
    fn is_over(&self, now: Instant) -> bool {
        self.running == 0 && self.bad.iter().all(|at| *at + WINDOW <= now)
    }
}

/// A review of a token that may run now.
pub(crate) struct Review<'a> {
    reviews: &'a Reviews,
    source: Source,
    digest: Digest,
    _one_of_all: SemaphorePermit<'a>,
    _one_of_source: Running<'a>,
}

/// One of a source's reviews.
struct Running<'a>(&'a Reviews, Source);

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
    /// Where it was bad a moment ago, or its source has had its share.
    pub(crate) async fn token(&self, source: Source, token: &str) -> Result<Review<'_>, Refused> {
        let digest = [0, 1].map(|n: usize| self.keys[n].hash_one(token));
        let one_of_source = self.enter(source, digest)?;
        let one_of_all = self.tokens.acquire().await;
        Ok(Review {
            reviews: self,
            source,
            digest,
            _one_of_all: one_of_all.expect("nobody closes it"),
            _one_of_source: one_of_source,
        })
    }

    fn enter(&self, source: Source, digest: Digest) -> Result<Running<'_>, Refused> {
        let now = Instant::now();
        let mut state = self.state();
        if state
            .bad
            .get(&digest)
            .is_some_and(|at| now < *at + BAD_TIME)
        {
            return Err(Refused::BAD_TOKEN);
        }
        if state.sources.len() >= SOURCES {
            state.sources.retain(|_, share| !share.is_over(now));
        }
        if state.sources.len() >= SOURCES && !state.sources.contains_key(&source) {
            return Err(Refused::Busy("too many addresses send bad tokens"));
        }
        let share = state.sources.entry(source).or_default();
        share.bad.retain(|at| now < *at + WINDOW);
        if share.bad.len() >= BAD_PER_SOURCE {
            return Err(Refused::Busy("too many bad tokens came from this address"));
        }
        if share.running >= TOKENS_AT_ONCE_PER_SOURCE {
            return Err(Refused::Busy(
                "too many tokens of this address are being reviewed",
            ));
        }
        share.running += 1;
        Ok(Running(self, source))
    }

    /// Waits until a right may be reviewed.
    pub(crate) async fn right(&self) -> SemaphorePermit<'_> {
        self.rights.acquire().await.expect("nobody closes it")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Review<'_> {
    /// Remembers that the token was bad.
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

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Self(reviews, source) = self;
        let mut state = reviews.state();
        if let Some(share) = state.sources.get_mut(source) {
            share.running -= 1;
            if share.is_over(Instant::now()) {
                state.sources.remove(source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    async fn reviews_at_the_same_time_are_bounded_per_source_and_in_all() {
        let reviews = Reviews::new();
        let mut running = Vec::new();
        for from in 1..=4 {
            for n in 0..TOKENS_AT_ONCE_PER_SOURCE {
                running.push(
                    reviews
                        .token(source(from), &format!("{from} {n}"))
                        .await
                        .ok(),
                );
            }
            assert!(reviews.token(source(from), "more").await.is_err());
        }
        let waits = reviews.token(source(5), "waits");
        let waits = tokio::time::timeout(Duration::from_millis(20), waits);
        assert!(waits.await.is_err());
        running.pop();
        assert!(reviews.token(source(5), "waits").await.is_ok());
    }
}
